"""The person's silhouette at the picture's own resolution: the net's coarse one, moved to the picture's edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.preprocess.blazepose.body import Body
from pgpis.preprocess.blazepose.regions import Pixels

LONGEST = 320
"""Pixels of the longer side at which the filter's coefficients are computed."""
RADIUS = 0.006
"""Of the filter's window, in sides of the person's region."""
SMOOTHNESS = 1e-4
"""Variances of colour below this are no edge; colours lie in [0, 1]."""
STRIP = 2**20
"""Pixels at which the coefficients are there at once: 40 bytes each."""

Mask = NDArray[np.float32]


def silhouette(picture: Pixels, body: Body) -> Mask:
    """Return the probability that a pixel shows the person, ``(H, W)``.

    Args:
        picture: ``(H, W, 3)`` RGB.
        body: What the net saw in it.

    Source: the segmentation of BlazePose's landmark net, after a guided filter (He et al., 2010) with the picture's
        colours, whose coefficients are computed on a smaller copy (He and Sun, 2015).
    """
    height, width = picture.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    guide = cv2.resize(picture, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask = cv2.resize(body.region.paste(body.segmentation, height, width), small, interpolation=cv2.INTER_AREA)
    wide = [
        cv2.resize(part, (width, small[1]), interpolation=cv2.INTER_LINEAR)
        for part in _coefficients(guide, mask, max(1, round(RADIUS * body.region.side * scale)))
    ]
    refined = np.empty((height, width), np.float32)
    columns = max(1, STRIP // height)
    for left in range(0, width, columns):
        strip = slice(left, min(left + columns, width))
        size = (strip.stop - left, height)
        slopes, offsets = (cv2.resize(part[:, strip], size, interpolation=cv2.INTER_LINEAR) for part in wide)
        refined[:, strip] = np.einsum("hwc,hwc->hw", slopes, picture[:, strip].astype(np.float32) / 255) + offsets
    return np.clip(refined, 0, 1, out=refined)


def _coefficients(guide: Mask, mask: Mask, radius: int) -> tuple[Mask, Mask]:
    """Return the local linear model of the mask by the colours of the guide: ``(H, W, 3)`` and ``(H, W)``."""
    window = (2 * radius + 1, 2 * radius + 1)
    colour, level = cv2.blur(guide, window), cv2.blur(mask, window)
    red, green, blue = np.moveaxis(guide, -1, 0)
    pairs = cv2.blur(np.stack([red * red, red * green, red * blue], axis=-1), window)
    others = cv2.blur(np.stack([green * green, green * blue, blue * blue], axis=-1), window)
    a, b, c = np.moveaxis(pairs - colour[..., :1] * colour, -1, 0)
    d, e = np.moveaxis(others[..., :2] - colour[..., 1:2] * colour[..., 1:], -1, 0)
    f = others[..., 2] - colour[..., 2] ** 2
    a, d, f = (variance + SMOOTHNESS for variance in (a, d, f))
    # the inverse of the symmetric matrix (a b c; b d e; c e f) by its cofactors
    ab, ac, bc = c * e - b * f, b * e - c * d, b * c - a * e
    rows = ((d * f - e * e, ab, ac), (ab, a * f - c * c, bc), (ac, bc, a * d - b * b))
    scale = a * rows[0][0] + b * rows[0][1] + c * rows[0][2]
    shared = np.moveaxis(cv2.blur(guide * mask[..., None], window) - colour * level[..., None], -1, 0)
    slopes = np.stack([sum(x * y for x, y in zip(row, shared, strict=True)) / scale for row in rows], axis=-1)
    offsets = level - np.einsum("hwc,hwc->hw", slopes, colour)
    return cv2.blur(slopes.astype(np.float32), window), cv2.blur(offsets.astype(np.float32), window)
