"""Distances of sets that no leader has saturated: FD on DINOv2, KID and CMMD, all against the test targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch

from pgpis.evaluate.features import Advance, ComputeFeatures, FeatureNet, KeptFeatures, RealSets, too_few
from pgpis.evaluate.intervals import RESAMPLES, Interval, percentiles
from pgpis.evaluate.protocols import EvaluationOptions
from pgpis.metrics import FeatureStatistics, InceptionFeatures, frechet_distance
from pgpis.metrics.discrepancy import KERNELS, squared_mmd
from pgpis.metrics.vision import VisionFeatures

SCALE = 1000
"""KID and CMMD are told in thousandths."""
FRECHET_RESAMPLES = 100
"""Each is a decomposition of a matrix of 1,024 x 1,024."""
LEFT_OUT = 10
"""One picture in so many is left out of each sample."""

Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Gives the distances of samples of generated ``(N, D)`` from real features ``(M, D)``, float64 ``(R,)``, by which of
the N are in each sample, bool ``(R, N)``."""


def _frechet(ours: torch.Tensor, others: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = FeatureStatistics(features.shape[1])
        statistics.update(features)
        return statistics.compute()

    real = moments(others)
    return torch.tensor([frechet_distance(*moments(ours[kept]), *real) for kept in samples], dtype=torch.float64)


def _discrepancy(
    name: Literal["kid", "cmmd"], ours: torch.Tensor, others: torch.Tensor, samples: torch.Tensor
) -> torch.Tensor:
    kernel, unbiased = KERNELS[name]
    return SCALE * squared_mmd(ours, others, samples, kernel, unbiased=unbiased)


DISTANCES: dict[str, tuple[Distance, int]] = {
    "fd_dinov2": (_frechet, FRECHET_RESAMPLES),
    "kid": (partial(_discrepancy, "kid"), RESAMPLES),
    "cmmd": (partial(_discrepancy, "cmmd"), RESAMPLES),
}
"""By name, with the number of samples."""


class ModernDistances:
    """FD on DINOv2, KID and CMMD of generated pictures; see :class:`pgpis.evaluate.features.SetDistances`.

    Source: Stein et al. 2023; Bińkowski et al. 2018, over all pictures at once instead of the mean over subsets, which
    has the same expectation; Jayasumana et al. 2024.
    """

    def __init__(self, options: EvaluationOptions, nets: Mapping[str, FeatureNet]) -> None:
        self.options = options
        self.nets = nets
        self.features: dict[str, list[torch.Tensor]] = {name: [] for name in nets}
        self.failures: list[tuple[str, str]] = []
        """Real pictures that could not be read, and why."""
        self.intervals: dict[str, Interval] = {}
        """Of the distances, by name; see :func:`distance_interval`."""

    @staticmethod
    def nets_of(options: EvaluationOptions) -> dict[str, FeatureNet]:
        """Return the nets whose features are compared, by name."""
        return {
            "fd_dinov2": VisionFeatures("dinov2", options.weights, options.device),
            "kid": InceptionFeatures("standard", options.weights, options.device),
            "cmmd": VisionFeatures("clip", options.weights, options.device),
        }

    @staticmethod
    def count(reals: RealSets) -> int:
        """Return how many real pictures :meth:`distances` goes through."""
        return len(DISTANCES) * len(reals.targets)

    def add(self, features: Mapping[str, torch.Tensor]) -> None:
        """Add generated pictures: of each net that computes any, features ``(B, D)``."""
        for name, values in features.items():
            self.features[name].append(values)

    def distances(self, reals: RealSets, compute: ComputeFeatures, advance: Advance) -> dict[str, float | str]:
        """Return each distance from the distinct test targets, or why there is none."""
        distances: dict[str, float | str] = {}
        for name, net in self.nets.items():
            count = sum(map(len, self.features[name]))
            if net.not_computed is not None or min(len(reals.targets), count) < 2:
                distances[name] = net.not_computed or too_few(len(reals.targets), count)
                advance(len(reals.targets))
                continue
            kept = KeptFeatures(name, net, self.options, compute)
            real = torch.cat(list(kept(reals.targets, advance)))
            self.failures += [failure for failure in kept.failures if failure not in self.failures]
            if len(real) < 2:
                distances[name] = too_few(len(real), count)
                continue
            distance, samples = DISTANCES[name]
            kept_of = kept_pictures(count, samples)
            values = distance(torch.cat(self.features[name]), real, kept_of)
            distances[name] = float(values[0])
            if len(values) > 1:
                low, high = distance_interval(values, kept_of)
                least = -math.inf if name == "kid" else 0.0  # an unbiased estimate may be negative, others cannot
                self.intervals[name] = max(low, least), max(high, least)
        return distances


def kept_pictures(size: int, samples: int) -> torch.Tensor:
    """Return which pictures are in the set itself and in each sample, which lacks others, bool ``(1 + samples, size)``.

    Where two pictures would not be left, as a covariance and KID need, there is the set alone.
    """
    left_out = max(1, size // LEFT_OUT)
    kept = torch.ones(1 + samples if size - left_out >= 2 else 1, size, dtype=torch.bool)
    rng = np.random.default_rng(0)
    for row in kept[1:]:
        row[rng.permutation(size)[:left_out]] = False
    return kept


def distance_interval(values: torch.Tensor, kept: torch.Tensor) -> Interval:
    """Return the interval of the first distance by the scatter of the others, those of samples of the pictures.

    They leave out a part of the pictures instead of drawing them anew. A bootstrap sample holds 63 % of the pictures,
    many of them several times, which lifts any distance. While pictures do not greatly outnumber features, or are close
    to the real ones, it also depends on which these are far more than the distance of new pictures does.

    Source: Shao and Wu 1989, the jackknife that leaves out d pictures at a time.

    Args:
        values: ``(1 + R,)``.
        kept: See :func:`kept_pictures`.
    """
    value, others = float(values[0]), values[1:].numpy()
    left = int(kept[1].sum())
    return percentiles(value + math.sqrt(left / (kept.shape[1] - left)) * (others - others.mean()))
