"""Intervals by bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 2**13
"""Of samples that are drawn together: few large ones, many small ones."""
Interval = tuple[float, float]


def percentiles(resampled: NDArray[np.float64]) -> Interval:
    """Return the two ends between which the values of bootstrap samples lie with :data:`CONFIDENCE`."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the percentile interval of the mean; the same for the same values."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    rows = max(1, NUMBERS_AT_ONCE // len(finite))
    sizes = [min(rows, RESAMPLES - first) for first in range(0, RESAMPLES, rows)]
    means = [finite.take(rng.integers(0, len(finite), (size, len(finite)))).mean(axis=1) for size in sizes]
    return percentiles(np.concatenate(means))
