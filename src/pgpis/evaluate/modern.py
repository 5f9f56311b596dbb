"""Distances of sets that no leader has saturated: FD on DINOv2, KID and CMMD, all against the test targets."""

from __future__ import annotations

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

Distance = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Gives ``(R,)`` of generated ``(N, D)`` and real features ``(M, D)``, and R samples of the generated, ``(R, N)``."""


def _frechet(ours: torch.Tensor, others: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = FeatureStatistics(features.shape[1])
        statistics.update(features)
        return statistics.compute()

    real = moments(others)
    samples = (ours.repeat_interleave(times.long(), dim=0) for times in counts[: FRECHET_RESAMPLES + 1])
    return torch.tensor([frechet_distance(*moments(sample), *real) for sample in samples], dtype=torch.float64)


def _kid(ours: torch.Tensor, others: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    kernel, unbiased = KERNELS["kid"]
    return SCALE * squared_mmd(ours, others, counts, kernel, unbiased=unbiased)


def _cmmd(ours: torch.Tensor, others: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    kernel, unbiased = KERNELS["cmmd"]
    return SCALE * squared_mmd(ours, others, counts, kernel, unbiased=unbiased)


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
            values = DISTANCES[name](torch.cat(self.features[name]), real, sample_counts(count))
            distances[name] = float(values[0])
            self.intervals[name] = distance_interval(values)
        return distances


def sample_counts(size: int, seed: int = 0) -> torch.Tensor:
    """Return how often each of ``size`` pictures is in the set itself and in its bootstrap samples, ``(R, N)``."""
    rng = np.random.default_rng(seed)
    samples = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return torch.from_numpy(np.vstack([np.ones(size, samples.dtype), samples]))


def distance_interval(values: torch.Tensor) -> Interval:
    """Return the interval of the first value by the scatter of the others, those of bootstrap samples.

    A sample holds pictures more than once, which lifts any distance; the mean lift is taken out.
    """
    value, *resampled = values.tolist()
    return percentiles(np.array(resampled) - np.mean(resampled) + value)
