"""DensePose's map of a photograph without DensePose: from BlazePose's points and silhouette, by a net that ships."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.models.lifter import SurfaceLifter, lift
from pgpis.pictures.images import tensor_to_images
from pgpis.pictures.iuv import part_u_v
from pgpis.preprocess.blazepose.estimator import PERSON, Sighting, see
from pgpis.preprocess.blazepose.regions import Pixels
from pgpis.preprocess.settings import Box, NothingFoundError

FOLDER = Path(__file__).resolve().parent.parent / "bundles" / "surface_lifter"
POINTS = (
    *(0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7),
    *(31, 29, 32, 30, 19, 17, 20, 18),
)
"""BlazePose's point for each of the net's; the neck lies between the shoulders."""
NECK, SHOULDERS = 1, (2, 5)
MARGIN = 0.06
"""Around the person, in shares of the longer side."""
CERTAIN = 0.3
"""Least probability of a point that the net is told."""


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
    """The part of a picture that the net sees, in its aspect ratio, and maybe partly outside."""

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
    is_person = sighting.silhouette >= PERSON
    if not is_person.any():
        raise NothingFoundError("no people found")
    rows, columns = np.flatnonzero(is_person.any(axis=1)), np.flatnonzero(is_person.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    lifter = load_lifter()
    size = (int(lifter.config.width), int(lifter.config.height))
    window = _window(box, size)
    height, width = picture.shape[:2]
    silhouette = cv2.warpAffine(sighting.silhouette, window.matrix, size, flags=cv2.INTER_AREA) >= PERSON
    points = _points(sighting, window) / np.array([*size, 1], np.float32)
    tensors = torch.from_numpy(points)[None], torch.from_numpy(silhouette).float()[None, None]
    with torch.inference_mode():
        small = part_u_v(tensor_to_images(lift(lifter, *tensors))[0])
    back = cv2.invertAffineTransform(window.matrix)
    iuv = cv2.warpAffine(small, back, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(iuv * is_person[..., None], np.uint8), box, sighting.doubt


def _window(box: Box, size: tuple[int, int]) -> Window:
    """Return the window around a person that fills a picture of so many columns and rows."""
    width, height = size
    across, down = box[2] - box[0], box[3] - box[1]
    scale = (1 - 2 * MARGIN) * min(width / across, height / down)
    return Window((box[0] + box[2] - width / scale) / 2, (box[1] + box[3] - height / scale) / 2, scale)


def _points(sighting: Sighting, window: Window) -> NDArray[np.float32]:
    """Return the net's points in pixels of its picture, and 1 where they are known, ``(26, 3)``."""
    body = sighting.body
    known = sighting.seen & (np.minimum(body.visibility, body.presence) >= CERTAIN)
    order = [0 if point is None else point for point in POINTS]
    points = np.column_stack([body.points[order], known[order]])
    shoulders = points[list(SHOULDERS)]
    points[NECK] = [*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()]
    points[:, :2] = (points[:, :2] - [window.left, window.top]) * window.scale
    return points.astype(np.float32)
