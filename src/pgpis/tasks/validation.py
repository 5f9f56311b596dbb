"""Means of a validation over the pairs of all processes, also of those that have none or can read none."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pgpis.tasks.ranks import gather_rows


class ValidationMeans:
    """Adds up what the batches of a process come to, until all processes put their sums together.

    Lightning puts together what each process has logged by name, and waits forever, or breaks, where one of them has
    logged nothing.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}

    def add(self, values: Mapping[str, torch.Tensor], weight: int) -> None:
        """Add the means of a batch of ``weight`` pairs."""
        for name, value in values.items():
            exact = value.detach().to(torch.promote_types(value.dtype, torch.float32))
            total, weights = self._sums.get(name, (torch.zeros_like(exact), 0))
            self._sums[name] = total + exact * weight, weights + weight

    def compute(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the means over the pairs of all processes, in one order on all of them; collective."""
        rows = [(name, total.cpu(), weight) for name, (total, weight) in self._sums.items()]
        sums: dict[str, tuple[torch.Tensor, int]] = {}
        for name, total, weight in gather_rows(rows):
            before, weights = sums.get(name, (torch.zeros_like(total), 0))
            sums[name] = before + total, weights + weight
        return {name: (total / weight).to(device) for name, (total, weight) in sums.items()}
