"""How much a video flickers: what moves should keep its colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError


def warp_error(first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how much the colours of a frame differ from those of the next one, where what it shows has moved to.

    Args:
        first: ``(H, W, 3)``.
        second: Same.
        flow: Of the first frame, x and y in pixels, ``(H, W, 2)``; NaN where it is not known.

    Returns:
        Mean absolute difference by pixel of the first frame, 0..255, ``(H, W)``; NaN where the flow is not known, or
        leads out of the frame.

    Raises:
        PgpisError: The sizes differ.

    Source: Lai et al. 2018, "Learning Blind Video Temporal Consistency", equation 11.
    Deviation: Absolute differences in place of squared ones, which a few outlines would decide.
    """
    size = first.shape[:2]
    if second.shape[:2] != size or flow.shape != (*size, 2):
        raise PgpisError(f"warp error: frames of {size} and {second.shape[:2]}, flow of {flow.shape[:2]}")
    rows, columns = np.indices(size, np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    known = (x >= -0.5) & (x < size[1] - 0.5) & (y >= -0.5) & (y < size[0] - 0.5)
    x, y = (np.where(known, place, 0).astype(np.float32) for place in (x, y))
    moved = cv2.remap(second.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error: NDArray[np.float32] = np.abs(moved - first).mean(axis=-1)
    error[~known] = np.nan
    return error
