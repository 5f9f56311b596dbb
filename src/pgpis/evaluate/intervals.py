"""Intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 2**13
"""Of samples that are drawn together: few large ones, many small ones."""
Interval = tuple[float, float]
People = Sequence[Hashable] | None
"""Whom each pair shows; None: intervals are over pairs."""


def percentiles(resampled: NDArray[np.float64]) -> Interval:
    """Return the two ends between which the values of samples lie with :data:`CONFIDENCE`."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_interval(values: NDArray[np.float64], people: People = None, seed: int = 0) -> Interval:
    """Return the percentile interval of the mean; the same for the same values.

    Args:
        values: One a pair; or one a run and pair ``(R, N)``, in which case runs are drawn anew as well. What is not
            finite does not count.
        people: Whom each pair shows, ``(N,)``: people are drawn anew, each with all their pairs. None: pairs are.
        seed: Of the draws.

    Returns:
        Both ends; NaN of fewer than two values, or people.
    """
    if people is not None or (values.ndim == 2 and len(values) > 1):
        return _interval_of_groups(np.atleast_2d(values), people, np.random.default_rng(seed))
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    rows = max(1, NUMBERS_AT_ONCE // len(finite))
    sizes = [min(rows, RESAMPLES - first) for first in range(0, RESAMPLES, rows)]
    means = [finite.take(rng.integers(0, len(finite), (size, len(finite)))).mean(axis=1) for size in sizes]
    return percentiles(np.concatenate(means))


def _interval_of_groups(values: NDArray[np.float64], people: People, rng: np.random.Generator) -> Interval:
    """Draw runs anew, and pairs or people, of ``(R, N)`` values."""
    runs, pairs = values.shape
    has_value = np.isfinite(values)
    shown = range(pairs) if people is None else people
    number = {person: place for place, person in enumerate(dict.fromkeys(shown))}
    with_value = {shown[place] for place in np.flatnonzero(has_value.any(axis=0)).tolist()}
    if has_value.sum() < 2 or (people is not None and len(with_value) < 2):
        return (float("nan"), float("nan"))
    run_counts = rng.multinomial(runs, np.full(runs, 1 / runs), RESAMPLES).astype(float)
    counts = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), RESAMPLES).astype(float)
    pair_counts = counts[:, [number[person] for person in shown]]
    sums = ((run_counts @ np.where(has_value, values, 0.0)) * pair_counts).sum(axis=1)
    numbers = ((run_counts @ has_value) * pair_counts).sum(axis=1)
    return percentiles(sums[numbers > 0] / numbers[numbers > 0])
