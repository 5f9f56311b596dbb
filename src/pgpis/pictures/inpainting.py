"""Small holes of a chart, between texels that a picture shows, filled from what is around them."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError, nearest
from pgpis.pictures.kinds import Inpainting

INPAINT_RADIUS = 3.0
REACH = np.ones((10, 10), np.uint8)
"""Texels that lie this near to a seen one are filled."""
WINDOW, SIGMA = 11, 2.0
"""Of the weights of ``fast``, in texels; the window holds all of ``REACH``."""

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def check_inpainting(method: str) -> None:
    """Refuse what is not a way to fill holes.

    Raises:
        PgpisError: It is none of :data:`pgpis.pictures.kinds.Inpainting`.
    """
    if method not in get_args(Inpainting):
        hint = f"one of {', '.join(get_args(Inpainting))}"
        raise PgpisError(f"--inpaint: unknown '{method}'{nearest(method, get_args(Inpainting))}", hint=hint)


def inpaint(chart: Bytes, mask: Mask, method: Inpainting = "exact") -> Bytes:
    """Fill the holes of a chart near what is seen; exact black counts as a hole.

    Args:
        chart: ``(H, W, 3)``, of which something is seen.
        mask: ``(H, W)``: where the chart has texels.
        method: ``exact`` as published; ``fast`` differs from it in the holes alone.
    """
    seen = (chart[..., 0] | chart[..., 1] | chart[..., 2] > 0).astype(np.uint8)  # eight times as fast as ``any``
    inside = seen | (mask & (cv2.dilate(seen, REACH) > 0))
    # The official code stretches the chart's values to 0..255 and back, and truncates twice.
    low, high = float(chart.min()), float(chart.max())
    values = np.arange(256)
    forth = back = values.astype(np.uint8)
    if high > low:
        forth = ((values - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        back = (values / 255 * (high - low) + low).astype(np.uint8)
    stretched = cv2.LUT(chart, forth)
    if method == "exact":
        filled = cv2.inpaint(stretched, (mask & (seen == 0)).astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
    else:
        filled = _mean_of_seen(stretched, seen)
    result = cv2.LUT(filled, back)
    return np.asarray(cv2.bitwise_and(result, result, mask=inside), np.uint8)


def _mean_of_seen(chart: Bytes, seen: Bytes) -> Bytes:
    """Give each hole the mean of what is seen in the window around it, the nearer the heavier; holes must be black.

    Source: Knutsson and Westin, Normalized and differential convolution (1993).
    Deviation from the published procedure: what lies outside the chart does not count; there it counts as black.
    """
    half = WINDOW // 2
    left, top, width, height = cv2.boundingRect(seen)
    near = np.s_[max(0, top - half) : top + height + half, max(0, left - half) : left + width + half]
    colours, weights = (
        cv2.GaussianBlur(values[near].astype(np.float32), (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_CONSTANT)
        for values in (chart, seen)
    )
    share = 1 / np.maximum(weights, 1e-12)
    mean = cv2.multiply(colours, cv2.merge([share, share, share]), dtype=cv2.CV_8U)  # rounds and saturates
    result = np.zeros_like(chart)
    result[near] = cv2.copyTo(chart[near], seen[near], mean)
    return result
