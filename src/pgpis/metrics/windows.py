"""Structural similarity over square windows by running sums: each pixel is read twice, whatever the window."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64] | NDArray[np.uint8]
C1, C2 = 0.01**2, 0.03**2


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def box_similarity(generated: Pixels, target: Pixels, size: int, scale: float) -> NDArray[np.float64]:
    """Return the mean similarity of each pair of maps, data range 1, sample covariance.

    Args:
        generated: ``(N, H, W)``, in [0, 1] after scaling.
        target: Same.
        size: Side of the window, not larger than a map.
        scale: What pixels are multiplied by, 1 / 255 for uint8.

    Returns:
        ``(N,)``.

    Source: Wang et al. 2004, eq. 13.
    """
    count, height, width = generated.shape
    result = np.empty(count)
    for number in numba.prange(count):
        columns = np.zeros((4, width))
        for row in range(size):
            _add(columns, generated[number, row], target[number, row], scale, 1.0)
        total = 0.0
        for row in range(height - size + 1):
            total += _row(columns, size)
            if row + size < height:
                _add(columns, generated[number, row + size], target[number, row + size], scale, 1.0)
                _add(columns, generated[number, row], target[number, row], scale, -1.0)
        result[number] = total / ((height - size + 1) * (width - size + 1))
    return result


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _add(columns: NDArray[np.float64], ours: Pixels, others: Pixels, scale: float, sign: float) -> None:
    """Add a row of pixels, or take it away, to the sums of each column: g, t, g^2 + t^2, g t."""
    for x in range(len(ours)):
        a, b = ours[x] * scale, others[x] * scale
        columns[0, x] += sign * a
        columns[1, x] += sign * b
        columns[2, x] += sign * (a * a + b * b)
        columns[3, x] += sign * (a * b)


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _row(columns: NDArray[np.float64], size: int) -> float:
    """Sum the similarity of all windows of one row."""
    pixels = size * size
    share, scale = 1.0 / pixels, pixels / (pixels - 1.0)
    a = b = squares = product = 0.0
    for x in range(size):
        a += columns[0, x]
        b += columns[1, x]
        squares += columns[2, x]
        product += columns[3, x]
    total = 0.0
    last = columns.shape[1] - size
    for x in range(last + 1):
        mean_a, mean_b = a * share, b * share
        both, each = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
        covariance = scale * (product * share - both)
        variances = scale * (squares * share - each)
        total += (2 * both + C1) * (2 * covariance + C2) / ((each + C1) * (variances + C2))
        if x < last:
            a += columns[0, x + size] - columns[0, x]
            b += columns[1, x + size] - columns[1, x]
            squares += columns[2, x + size] - columns[2, x]
            product += columns[3, x + size] - columns[3, x]
    return total
