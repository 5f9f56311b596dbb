"""Absolute differences of pairs, as the field's scripts report them."""

from __future__ import annotations

import torch

from pgpis.metrics.image import PairMetric, unit_range


class MAE(PairMetric):
    """``sum |g - t| / sum (g + t)``: what the field's scripts call MAE; 0 for two black pictures.

    Source: official FPDM script ``compare_mae``.
    """

    higher_is_better = False

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the ratio of each pair; see :meth:`PairMetric.pair_values`."""
        ours, reference = unit_range(generated, target)
        total = (ours + reference).flatten(1).sum(1)
        return (ours - reference).abs().flatten(1).sum(1) / total.clamp(min=torch.finfo(torch.float64).tiny)


class L1(PairMetric):
    """Mean absolute difference of pictures in [0, 1]."""

    higher_is_better = False

    def pair_values(self, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the difference of each pair; see :meth:`PairMetric.pair_values`."""
        ours, reference = unit_range(generated, target)
        return (ours - reference).abs().flatten(1).mean(1)
