"""DensePose's map without DensePose, by a net that ships: from points and a silhouette, or from points alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from pgpis.errors import PgpisError
from pgpis.models.lifter import BODY18_COUNT, LIFTED_POINTS, SurfaceLifter, lift
from pgpis.pictures.images import tensor_to_images
from pgpis.pictures.iuv import part_u_v
from pgpis.pictures.keypoints import FEET_AND_HANDS, Frame, Keypoints
from pgpis.preprocess.blazepose.estimator import PERSON, Sighting, see
from pgpis.preprocess.blazepose.regions import Pixels
from pgpis.preprocess.outline import silhouette_of
from pgpis.preprocess.settings import Box, NothingFoundError, box_of

FOLDER = Path(__file__).resolve().parent.parent / "bundles" / "surface_lifter"
POINTS = (
    *(0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7),
    *(31, 29, 32, 30, 19, 17, 20, 18),
)
"""BlazePose's point for each of the net's; the neck lies between the shoulders."""
NECK, SHOULDERS, HIPS = 1, (2, 5), (8, 11)
MARGIN = 0.06
"""Around the person, in shares of the longer side."""
CERTAIN = 0.3
"""Least probability of a point that the net is told."""
MOST_LEAN = 30
"""Degrees by which a trunk may lean; the net has seen hardly anybody who leans more."""
LONGER_SIDE = (256, 1024)
"""Least and most pixels of a map of key points."""


class LiftedDensePose:
    """The lifter in the place of DensePose's net."""

    def __call__(
        self, pictures: Sequence[Image.Image], _overflow: str = "clamp", person: int | None = None
    ) -> list[tuple[Pixels, LiftedPerson] | None]:
        """Return part, U, V ``(H, W, 3)`` of each picture and where the person is; None where nobody is found."""
        results: list[tuple[Pixels, LiftedPerson] | None] = []
        for picture in pictures:
            try:
                iuv, box, doubt = lifted_map(np.asarray(picture.convert("RGB")), person or 0)
            except NothingFoundError:
                results.append(None)
            else:
                results.append((iuv, LiftedPerson(box, doubt)))
        return results


@dataclass(frozen=True)
class LiftedPerson:
    """Where a person is, and why the map is uncertain."""

    box: Box
    doubt: str


@dataclass(frozen=True)
class Window:
    """The part of a picture that the net sees, the person upright, in its aspect ratio, and maybe partly outside."""

    left: float
    top: float
    scale: float
    """Pixels of the net's picture by pixels of the photograph."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """``(2, 3)``: from the photograph to the net's picture."""
        return np.array([[self.scale, 0, -self.left * self.scale], [0, self.scale, -self.top * self.scale]])


@functools.cache
def load_lifter(folder: Path = FOLDER) -> SurfaceLifter:
    """Load the net that ships, once in a process."""
    lifter: SurfaceLifter = SurfaceLifter.from_pretrained(folder)
    return lifter.float().eval()


def lifted_map(picture: Pixels, person: int = 0) -> tuple[Pixels, Box, str]:
    """Make the map of a person.

    Args:
        picture: ``(H, W, 3)`` RGB.
        person: The ``person``-th largest one.

    Returns:
        uint8 ``(H, W, 3)`` of part, U, V; the person's box; why the pose is uncertain, or nothing.

    Raises:
        NothingFoundError: There is nobody.
        PgpisError: There are people, but not so many.
    """
    sighting = see(picture, person)
    if not (sighting.silhouette >= PERSON).any():
        raise NothingFoundError("no people found")
    points = _points(sighting)
    iuv, box = _lifted(sighting.silhouette, points, _uprighting(points[:, :2]))
    return iuv, box, sighting.doubt


def map_of_points(keypoints: Keypoints, size: tuple[int, int] | None = None) -> Pixels:
    """Make the map of a person of whom only key points are known: a body of average build is drawn around them.

    It is an estimate. Clothes, hair and build are unknown, and of two limbs that cross, which one is in front.

    Args:
        keypoints: Body-18, or whole-body-133, of which the feet and hands are used too. They may lie outside the frame.
        size: Rows and columns of the map, which shows the frame; by default those of the frame, enlarged or reduced
            until the longer side has 256 to 1024 pixels.

    Returns:
        uint8 ``(H, W, 3)`` of part, U, V.

    Raises:
        PgpisError: Neither both shoulders, nor both hips, nor one of each are known, or nothing of the person lies in
            the frame.
    """
    frame = keypoints.frame
    longer = max(frame.height, frame.width)
    scale = float(np.clip(longer, *LONGER_SIDE)) / longer
    size = size or (max(round(frame.height * scale), 1), max(round(frame.width * scale), 1))
    placed = keypoints.to(Frame(*size))
    body = placed.to_body18()
    points = np.full((LIFTED_POINTS, 2), np.nan)
    points[:BODY18_COUNT] = np.where(body.seen[:, None], body.points, np.nan)
    if placed.skeleton == "wholebody133":
        ends = list(FEET_AND_HANDS)
        points[BODY18_COUNT:] = np.where(placed.seen[ends, None], placed.points[ends], np.nan)
    silhouette = silhouette_of(points, size)
    inside: NDArray[np.bool_] = np.all(
        (points >= 0) & (points < size[::-1]), axis=1
    )  # in training, what lay outside was unknown
    if not silhouette.any() or not inside.any():
        raise PgpisError(f"no known part of the body lies in the picture of {frame.size}")
    told = np.column_stack([np.where(inside[:, None], points, 0.0), inside])
    iuv, _ = _lifted(silhouette.astype(np.float32), told, _uprighting(points))
    if not iuv.any():
        raise PgpisError("the person is too small in their picture for a map")
    # the net takes edges for background
    nearest = distance_transform_edt(iuv[..., 0] == 0, return_distances=False, return_indices=True)
    return np.asarray(iuv[tuple(nearest)] * silhouette[..., None], np.uint8)


def _uprighting(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what turns people upright, ``(2, 3)``, whose trunk leans by more than the net has seen.

    Others stay as they are, and so do those of whom only shoulders or only hips are known.
    """
    x, y = points[list(HIPS)].mean(axis=0) - points[list(SHOULDERS)].mean(axis=0)
    lean = np.degrees(np.arctan2(x, y))  # 0 is upright; counter-clockwise
    return cv2.getRotationMatrix2D((0, 0), -lean, 1) if abs(lean) > MOST_LEAN else np.eye(2, 3)


def _lifted(
    silhouette: NDArray[np.float32], points: NDArray[np.float64], turn: NDArray[np.float64]
) -> tuple[Pixels, Box]:
    """Make the map of a person, and tell the box around them.

    Args:
        silhouette: ``(H, W)`` probability that a pixel shows the person; at least one does.
        points: ``(26, 3)`` the net's points in pixels, and 1 where they are known, else 0.
        turn: ``(2, 3)`` what turns the person upright.
    """
    is_person = silhouette >= PERSON
    rows = np.flatnonzero(is_person.any(axis=1))
    left, right = is_person[rows].argmax(axis=1), is_person.shape[1] - is_person[rows, ::-1].argmax(axis=1)
    ends = np.column_stack([np.concatenate([left, right] * 2), np.concatenate([rows, rows, rows + 1, rows + 1])])
    lifter = load_lifter()
    size = (int(lifter.config.width), int(lifter.config.height))
    window = _window(_around(_turned(ends, turn)), size)
    matrix = (np.vstack([window.matrix, [0, 0, 1]]) @ np.vstack([turn, [0, 0, 1]]))[:2]
    near = cv2.warpAffine(silhouette, matrix, size, flags=cv2.INTER_AREA) >= PERSON
    placed = (_turned(points[:, :2], turn) - [window.left, window.top]) * window.scale
    shares = np.column_stack([placed, points[:, 2]]).astype(np.float32) / np.array([*size, 1], np.float32)
    tensors = torch.from_numpy(shares)[None], torch.from_numpy(near).float()[None, None]
    with torch.inference_mode():
        small = part_u_v(tensor_to_images(lift(lifter, *tensors))[0])
    back = cv2.invertAffineTransform(matrix)
    iuv = cv2.warpAffine(small, back, silhouette.shape[::-1], flags=cv2.INTER_NEAREST)
    return np.asarray(iuv * is_person[..., None], np.uint8), _around(ends)


def _turned(points: NDArray[Any], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ turn[:, :2].T + turn[:, 2], np.float64)


def _around(points: NDArray[Any]) -> Box:
    return box_of(float(corner) for corner in (*points.min(axis=0), *points.max(axis=0)))


def _window(box: Box, size: tuple[int, int]) -> Window:
    """Return the window around a person that fills a picture of so many columns and rows."""
    width, height = size
    across, down = box[2] - box[0], box[3] - box[1]
    scale = (1 - 2 * MARGIN) * min(width / across, height / down)
    return Window((box[0] + box[2] - width / scale) / 2, (box[1] + box[3] - height / scale) / 2, scale)


def _points(sighting: Sighting) -> NDArray[np.float64]:
    """Return the net's points in pixels, and 1 where they are known, ``(26, 3)``."""
    body = sighting.body
    known = sighting.seen & (np.minimum(body.visibility, body.presence) >= CERTAIN)
    order = [0 if point is None else point for point in POINTS]
    points = np.column_stack([body.points[order], known[order]])
    shoulders = points[list(SHOULDERS)]
    points[NECK] = [*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()]
    return points
