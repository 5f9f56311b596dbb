"""Distances of sets that no leader has saturated: FD on DINOv2, KID and CMMD, all against the test targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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
"""One picture in so many is left out of each of these samples."""

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Gives of generated ``(N, D)`` and real features ``(M, D)`` the distance, and R that scatter as it does, ``(1 + R,)``;
it alone where N is too small for them."""


def _frechet(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Leave out a part of the pictures instead of drawing them anew.

    A bootstrap sample holds 63 % of the pictures, many of them several times. While pictures do not greatly outnumber
    features, its distance depends on which these are up to four times as much as the distance of new pictures does.

    Source: Shao and Wu 1989, the jackknife that leaves out d pictures at a time.
    """

    def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = FeatureStatistics(features.shape[1])
        statistics.update(features)
        return statistics.compute()

    real = moments(others)
    value = frechet_distance(*moments(ours), *real)
    kept = len(ours) - max(1, len(ours) // LEFT_OUT)
    if kept < 2:  # pictures, as a covariance needs
        return torch.tensor([value], dtype=torch.float64)
    rng = np.random.default_rng(0)
    samples = (ours[rng.permutation(len(ours))[:kept]] for _ in range(FRECHET_RESAMPLES))
    distances = np.array([frechet_distance(*moments(sample), *real) for sample in samples])
    scattered = value + math.sqrt(kept / (len(ours) - kept)) * (distances - distances.mean())
    return torch.tensor([value, *scattered], dtype=torch.float64)


def _kid(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    kernel, unbiased = KERNELS["kid"]
    return SCALE * squared_mmd(ours, others, sample_counts(len(ours)), kernel, unbiased=unbiased)


def _cmmd(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    kernel, unbiased = KERNELS["cmmd"]
    return SCALE * squared_mmd(ours, others, sample_counts(len(ours)), kernel, unbiased=unbiased)


DISTANCES: dict[str, Distance] = {"fd_dinov2": _frechet, "kid": _kid, "cmmd": _cmmd}


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
            values = DISTANCES[name](torch.cat(self.features[name]), real)
            distances[name] = float(values[0])
            if len(values) > 1:
                self.intervals[name] = distance_interval(values)
        return distances


def sample_counts(size: int, seed: int = 0) -> torch.Tensor:
    """Return how often each of ``size`` pictures is in the set itself and in its bootstrap samples, ``(R, N)``."""
    rng = np.random.default_rng(seed)
    samples = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return torch.from_numpy(np.vstack([np.ones(size, samples.dtype), samples]))


def distance_interval(values: torch.Tensor) -> Interval:
    """Return the interval of the first value by the scatter of the others, those of samples of the pictures.

    A sample holds pictures more than once, or fewer, which lifts any distance; the mean lift is taken out.
    """
    value, *resampled = values.tolist()
    return percentiles(np.array(resampled) - np.mean(resampled) + value)
