"""What a picture shows of a body's surface: its colours in SMPL's layout, beside what is known of them.

A surface is a picture of 512 x 1024 (height x width): the texture, and beside it 255 where a texel or one beside it was
seen, 128 where its colour is that of the nearest texel seen of its part, 0 where nothing is seen of the part.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from pgpis.pictures.uv_texture import CHART_SIZE, TEXTURE_SIZE, scatter, texel_table

OUTLINE = 2
"""Pixels inside the outline that are not taken."""
SEEN, FILLED = 255, 128
BESIDE = 5
"""Texels: pixels of a picture lie so far apart in a chart."""
SURFACE_SIZE = (TEXTURE_SIZE, 2 * TEXTURE_SIZE)
"""(height, width)."""

Bytes = NDArray[np.uint8]


def seen_charts(picture: Bytes, iuv: Bytes) -> tuple[Bytes, NDArray[np.bool_]]:
    """Write what a picture shows into the charts.

    Args:
        picture: ``(H, W, 3)`` RGB.
        iuv: ``(H, W, 3)`` part, U, V.

    Returns:
        Colours ``(24, 200, 200, 3)``; which of them are seen ``(24, 200, 200)``.
    """
    # at its outline the person's colours are mixed with the background's
    inner = binary_erosion(iuv[..., 0] > 0, iterations=OUTLINE)
    return scatter(picture, np.where(inner[..., None], iuv, 0).astype(np.uint8))


def fill_charts(charts: Bytes, seen: NDArray[np.bool_]) -> None:
    """Give each texel of a chart of which something is seen the colour of the nearest one that is, in place.

    Args:
        charts: ``(24, 200, 200, 3)``; one of which nothing is seen stays as it is.
        seen: ``(24, 200, 200)``.
    """
    for chart, known in zip(charts, seen, strict=True):
        if known.any():
            rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
            chart[:] = np.take(chart.reshape(-1, 3), rows * CHART_SIZE + columns, axis=0)


def surface_of(picture: Bytes, iuv: Bytes) -> Bytes:
    """Return the surface ``(512, 1024, 3)`` that a picture shows; arguments as for :func:`seen_charts`."""
    charts, seen = seen_charts(picture, iuv)
    fill_charts(charts, seen)
    beside = np.hypot(*np.mgrid[-BESIDE : BESIDE + 1, -BESIDE : BESIDE + 1]) <= BESIDE
    texels = np.zeros((1 + seen.size, 4), np.uint8)  # number 0 stands for what no chart covers
    texels[1:, :3] = charts.reshape(-1, 3)
    for known, chart in zip(texels[1:, 3].reshape(seen.shape), seen, strict=True):
        if chart.any():
            known[:] = np.where(cv2.dilate(chart.astype(np.uint8), beside.astype(np.uint8)), SEEN, FILLED)
    both = np.take(texels, texel_table(), axis=0)
    colours, known = cv2.cvtColor(both, cv2.COLOR_RGBA2RGB), cv2.cvtColor(both[..., 3], cv2.COLOR_GRAY2RGB)
    return np.concatenate([colours, known], axis=1)


def whole_surface(texture: Bytes) -> Bytes:
    """Return the surface ``(512, 1024, 3)`` of somebody all of whose texture ``(512, 512, 3)`` is known."""
    return np.concatenate([texture, np.full_like(texture, SEEN)], axis=1)


def paint(picture: Bytes, charts: Bytes, iuv: Bytes) -> None:
    """Paint a person with the colours of charts at the places of a map ``(H, W, 3)``, in place."""
    shown = iuv[..., 0] > 0
    parts, u, v = (iuv[shown, channel].astype(np.int64) for channel in range(3))
    last = CHART_SIZE - 1
    picture[shown] = charts[parts - 1, (255 - v) * last // 255, u * last // 255]
