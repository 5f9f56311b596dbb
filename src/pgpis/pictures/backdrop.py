"""What lies behind a person: the picture without them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MARGIN = 0.012
"""Around the silhouette, in shares of the picture's height: hair and shadows of contact belong to the person."""
DILATED = 2000
"""Rows up to which a silhouette is dilated, whose cost per pixel grows with the square of the rows."""


def backdrop_of(picture: NDArray[np.uint8], person: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill the place of a person with what is around it.

    Args:
        picture: ``(H, W, 3)`` RGB.
        person: ``(H, W)``.

    Returns:
        ``(H, W, 3)``; the picture's median colour where a person fills all of it.

    Source: Gortler et al., The Lumigraph (1996), pull-push: means of ever larger cells, where the smaller hold nothing.
    """
    hole = with_margin(person)
    if hole.all():
        return np.broadcast_to(np.median(picture, axis=(0, 1)).astype(np.uint8), picture.shape).copy()
    known = picture.astype(np.float32)
    known[hole] = 0
    levels = [(known, (~hole).astype(np.float32))]
    while max(levels[-1][1].shape) > 1:
        height, width = levels[-1][1].shape
        small = (max(1, width // 2), max(1, height // 2))
        levels.append(tuple(cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in levels[-1]))
    colours, weight = levels.pop()
    filled = colours / np.maximum(weight, 1e-6)[..., None]
    while levels:
        colours, weight = levels.pop()
        filled = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(colours.shape)
        filled *= (1 - weight)[..., None]  # in place, as below: a large photograph is there often enough
        filled += colours
    return np.clip(np.round(filled, out=filled), 0, 255, out=filled).astype(np.uint8)


def with_margin(person: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a silhouette ``(H, W)`` and what is so close to it that the person may change it."""
    reach = max(1, round(MARGIN * len(person)))
    if len(person) > DILATED:  # the same but for half a pixel, and linear
        away = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.asarray(away <= reach)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(person.astype(np.uint8), disc) > 0)
