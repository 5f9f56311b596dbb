"""What a model has to beat: pictures made without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import PARTS, read_part_u_v
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.surface import fill_charts, paint, seen_charts

Pixels = NDArray[np.uint8]

TWINS = {
    1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 9, 9: 7, 8: 10, 10: 8, 11: 13, 13: 11,
    12: 14, 14: 12, 15: 17, 17: 15, 16: 18, 18: 16, 19: 21, 21: 19, 20: 22, 22: 20, 23: 24, 24: 23,
}  # fmt: skip
"""The part whose colour a part has where nothing of it is seen: back and front, or left and right."""


def warp(source: Pixels, source_iuv: Pixels, target_iuv: Pixels) -> Pixels:
    """Paint the target's surface with what the source shows of it.

    Surface that the source does not show takes the nearest colour that is seen of its part; a part of which nothing is
    seen takes the mean colour of its twin (back and front, or left and right), else of the person. The background is
    the source's median background.

    Args:
        source: ``(H, W, 3)`` RGB.
        source_iuv: ``(H, W, 3)`` part, U, V.
        target_iuv: ``(H, W, 3)``; also the size of the result.
    """
    charts, seen = seen_charts(source, source_iuv)
    person, background = source[source_iuv[..., 0] > 0], source[source_iuv[..., 0] == 0]
    means = {part: charts[part - 1][seen[part - 1]].mean(axis=0) for part in TWINS if seen[part - 1].any()}
    everywhere = person.mean(axis=0) if len(person) else np.full(3, 128.0)
    fill_charts(charts, seen)
    for part, twin in TWINS.items():
        if part not in means:
            charts[part - 1] = means.get(twin, everywhere)
    result = np.empty_like(target_iuv)
    result[:] = np.median(background, axis=0) if len(background) else 255
    paint(result, charts, target_iuv)
    return result


class NearestTraining:
    """The training picture that is nearest in pose to the target, and in colours to the source.

    Pose: mean distance of the points that both show, by the picture's height; a point that only one shows counts as a
    tenth. Colours: mean difference of the parts' mean colours, by 255. Both weigh the same.

    Args:
        training: The training pairs; their targets are the pictures.
    """

    UNSEEN = 0.1

    def __init__(self, training: PairDataset) -> None:
        pairs = {pair.target: pair for pair in training.pairs if pair.target is not None}
        self.known = [
            (path, _unit_points(training.read_pose(pair)), mean_part_colours(path, pair.file("iuv")))
            for path, pair in pairs.items()
        ]

    def __call__(self, pose: Keypoints, source: Path, source_iuv: Path) -> Path:
        """Return the file of the nearest training picture."""
        points, colours = _unit_points(pose), mean_part_colours(source, source_iuv)
        distances = [self._pose(points, theirs) + self._colours(colours, worn) for _, theirs, worn in self.known]
        return self.known[int(np.argmin(distances))][0]

    def _pose(self, ours: Keypoints, theirs: Keypoints) -> float:
        seen, known = (points.visible.all(axis=1) for points in (ours, theirs))
        distance = np.linalg.norm(ours.points - theirs.points, axis=1)
        return _mean(np.where(seen & known, distance, np.where(seen | known, self.UNSEEN, np.nan)), self.UNSEEN)

    @staticmethod
    def _colours(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        return _mean(np.abs(ours - theirs) / 255, 1.0)


def _mean(values: NDArray[np.float64], otherwise: float) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else otherwise


def _unit_points(pose: Keypoints | Image.Image) -> Keypoints:
    if not isinstance(pose, Keypoints):
        raise PgpisError("the nearest pose is found by key points, and this data set has drawn poses")
    frame = pose.frame
    return pose.to(Frame(1.0, frame.width / frame.height, name="picture, by its height"))


def mean_part_colours(picture: Path, iuv: Path | None) -> NDArray[np.float64]:
    """Return the mean colour of each part that a picture shows, ``(24, 3)``; NaN for the others."""
    if iuv is None:
        raise PgpisError(f"{picture} has no DensePose map")
    return part_colours(np.asarray(read_image(picture)), read_part_u_v(iuv)[..., 0])


def part_colours(pixels: Pixels, parts: Pixels) -> NDArray[np.float64]:
    """Return the mean colour of each part ``(24, 3)``, NaN where there is none, of ``(H, W, 3)`` and ``(H, W)``."""
    shown = [parts == part for part in range(1, PARTS + 1)]
    return np.stack([pixels[where].mean(axis=0) if where.any() else np.full(3, np.nan) for where in shown])


def with_twins(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give parts ``(24, 3)`` that are not shown the colour of their twin, where that is shown."""
    twins = colours[[TWINS[part] - 1 for part in range(1, PARTS + 1)]]
    return np.where(np.isfinite(colours), colours, twins)
