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
    """Return the percentile interval of the mean; the same for the same values.

    Args:
        values: One a pair; or one a run and pair ``(R, N)``, in which case runs are drawn anew as well as pairs. What
            is not finite does not count.
        seed: Of the draws.
    """
    if values.ndim == 2:
        return _interval_of_runs(values, np.random.default_rng(seed))
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    rows = max(1, NUMBERS_AT_ONCE // len(finite))
    sizes = [min(rows, RESAMPLES - first) for first in range(0, RESAMPLES, rows)]
    means = [finite.take(rng.integers(0, len(finite), (size, len(finite)))).mean(axis=1) for size in sizes]
    return percentiles(np.concatenate(means))


def _interval_of_runs(values: NDArray[np.float64], rng: np.random.Generator) -> Interval:
    runs, pairs = values.shape
    has_value = np.isfinite(values)
    if runs < 2 or has_value.sum() < 2:
        return bootstrap_interval(values.ravel())
    run_counts = rng.multinomial(runs, np.full(runs, 1 / runs), RESAMPLES).astype(float)
    pair_counts = rng.multinomial(pairs, np.full(pairs, 1 / pairs), RESAMPLES).astype(float)
    sums = ((run_counts @ np.where(has_value, values, 0.0)) * pair_counts).sum(axis=1)
    numbers = ((run_counts @ has_value) * pair_counts).sum(axis=1)
    return percentiles(sums[numbers > 0] / numbers[numbers > 0])
