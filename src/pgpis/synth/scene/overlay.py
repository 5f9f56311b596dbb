"""Labels drawn over pictures, to be looked at."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.mesh import UInt8
from pgpis.synth.scene.labels import VISIBLE
from pgpis.synth.scene.render import Picture

Overlay = Literal["none", "keypoints", "iuv", "layers", "face"]
OVERLAYS: tuple[Overlay, ...] = ("none", "keypoints", "iuv", "layers", "face")
LIMBS = (
    *((5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4)),
)
LEFT, RIGHT, MIDDLE, HIDDEN_COLOR = (40, 110, 255), (255, 90, 40), (40, 190, 90), (150, 150, 150)
"""Left limbs are blue, right ones red; hidden points are hollow, limbs with a hidden end grey."""
# by the numbers of the layers: skin, eyes, trousers, top, skirt, shoes, hair, jacket
LAYER_COLORS = (
    (244, 190, 160), (255, 255, 255), (60, 90, 170), (220, 70, 70), (150, 80, 180), (60, 60, 60), (120, 80, 40),
    (60, 150, 100),
)  # fmt: skip
FINENESS = 8
"""Shapes are drawn with coordinates in eighths of a pixel."""


def draw_overlay(picture: Picture, overlay: Overlay, zoom: int = 1) -> UInt8:
    """Return the picture ``(zoom H, zoom W, 3)``, enlarged so that points stay apart, with one kind of labels.

    ``keypoints`` are the 133 points, ``iuv`` DensePose's parts shaded by U with lines of equal V, ``layers`` a colour a
    garment, ``face`` the face's box; ``none`` is the picture alone.
    """
    height, width = picture.rgb.shape[:2]
    pixels = picture.rgb
    if overlay == "iuv":
        pixels = _blend(pixels, _iuv_colors(picture.iuv), picture.iuv[..., 0] > 0)
    elif overlay == "layers":
        colors = np.array(LAYER_COLORS, np.uint8)[np.maximum(picture.layer, 0)]
        pixels = _blend(pixels, colors, picture.layer >= 0)
    canvas = cv2.resize(pixels, (width * zoom, height * zoom), interpolation=cv2.INTER_NEAREST)
    if overlay == "keypoints":
        _draw_keypoints(canvas, picture, zoom)
    elif overlay == "face" and picture.face_box is not None:
        first, second = _at(picture.face_box[:2], zoom), _at(picture.face_box[2:], zoom)
        cv2.rectangle(canvas, first, second, MIDDLE, 1, cv2.LINE_AA, 3)
    return canvas


def _blend(pixels: UInt8, colors: UInt8, where: npt.NDArray[np.bool_], share: float = 0.65) -> UInt8:
    mixed = np.round(pixels * (1 - share) + colors * share).astype(np.uint8)
    return np.where(where[..., None], mixed, pixels)


def _iuv_colors(iuv: UInt8) -> UInt8:
    """Give each part a hue; U makes it lighter, and a dark line is drawn at every eighth of V."""
    hue = (iuv[..., 0].astype(int) * 67 % 180).astype(np.uint8)
    saturation = 255 - iuv[..., 1] // 2
    value = np.where(iuv[..., 2] % 32 < 5, 120, 235).astype(np.uint8)
    colors: UInt8 = cv2.cvtColor(np.stack([hue, saturation, value], axis=-1), cv2.COLOR_HSV2RGB)
    return colors


def _draw_keypoints(canvas: UInt8, picture: Picture, zoom: int) -> None:
    for first, second in LIMBS:
        ends = picture.coco17[[first, second]]
        if (ends[:, 2] > 0).all():
            color = _side_color(second) if (ends[:, 2] == VISIBLE).all() else HIDDEN_COLOR
            cv2.line(canvas, _at(ends[0], zoom), _at(ends[1], zoom), color, 1, cv2.LINE_AA, 3)
    for number, (x, y, visibility) in enumerate(picture.whole133):
        if visibility > 0:
            radius = (1.5 if number < 23 else 0.7) * zoom
            thickness = cv2.FILLED if visibility == VISIBLE else 1
            color = _side_color(number)
            cv2.circle(canvas, _at((x, y), zoom), int(radius * FINENESS), color, thickness, cv2.LINE_AA, 3)


def _side_color(number: int) -> tuple[int, int, int]:
    """Return the colour of a whole-body point."""
    if number == 0 or 23 <= number < 91:
        return MIDDLE
    return LEFT if (number % 2 if number < 17 else number < 20 or 91 <= number < 112) else RIGHT


def _at(point: npt.ArrayLike, zoom: int) -> tuple[int, int]:
    """Return a point in fractions of OpenCV's pixels, whose centres are whole numbers."""
    x, y = np.round((np.asarray(point, np.float64)[:2] * zoom - 0.5) * FINENESS).astype(int)
    return int(x), int(y)
