"""Turned squares of a picture, which nets see upright."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A square around ``centre``, turned clockwise by ``angle`` (radians), in pixels of the picture."""

    centre: tuple[float, float]
    side: float
    angle: float

    @classmethod
    def upright(cls, centre: Points, top: Points, scale: float, shift: float = 0.0) -> Region:
        """Return the region in which ``top`` lies straight above ``centre``.

        Args:
            centre: Its middle.
            top: What is up.
            scale: Side, in distances between the two.
            shift: How far the middle is moved up, in sides.
        """
        x, y = (float(value) for value in top - centre)
        length = float(np.hypot(x, y)) or 1.0
        side = length * scale
        moved = centre + np.array([x, y]) / length * side * shift
        return cls((float(moved[0]), float(moved[1])), side, float(np.arctan2(x, -y)))

    def matrix(self, pixels: int) -> NDArray[np.float64]:
        """Return ``(2, 3)``: from pixels of a crop with so many rows and columns to those of the picture."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * self.side / pixels
        return np.column_stack([turn, np.asarray(self.centre) - turn @ [pixels / 2, pixels / 2]])

    def crop(self, picture: Pixels, pixels: int) -> Pixels:
        """Return the region as a picture; what lies outside is black."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(picture, self.matrix(pixels), (pixels, pixels), flags=flags), np.uint8)

    def paste(self, crop: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """Return a picture of this size which shows the crop at the region, and 0 elsewhere."""
        result = cv2.warpAffine(crop, self.matrix(len(crop)), (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(result, np.float32)

    def to_picture(self, points: NDArray[np.floating], pixels: int) -> Points:
        """Return points of a crop ``(N, 2)`` in pixels of the picture."""
        matrix = self.matrix(pixels)
        return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
