"""Intervals by bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
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
    return percentiles(np.array([finite[rng.integers(0, len(finite), len(finite))].mean() for _ in range(RESAMPLES)]))
