"""Maximum mean discrepancy between sets of features: KID with a polynomial kernel, CMMD with a Gaussian one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Gives ``(A, B)`` of features ``(A, D)`` and ``(B, D)``."""
SIGMA = 10.0
ROWS = 512
"""Rows of the kernel's matrix at a time: that of 8,570 pictures takes 600 MB."""


def polynomial(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ``(x y / D + 1)³``. Source: Bińkowski et al. 2018."""
    return (ours @ others.T / ours.shape[1] + 1) ** 3


def gaussian(ours: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return ``exp(-|x - y|² / (2 sigma²))`` with sigma = 10. Source: Jayasumana et al. 2024."""
    squares = ours.square().sum(1)[:, None] + others.square().sum(1) - 2 * ours @ others.T
    return torch.exp(-squares / (2 * SIGMA**2))


KERNELS: Mapping[Literal["kid", "cmmd"], tuple[Kernel, bool]] = {"kid": (polynomial, True), "cmmd": (gaussian, False)}
"""Kernel, and whether the estimate is the unbiased one."""


def squared_mmd(
    ours: torch.Tensor, others: torch.Tensor, counts: torch.Tensor, kernel: Kernel, *, unbiased: bool
) -> torch.Tensor:
    """Return the squared discrepancy of samples of one set from another, whole set.

    Args:
        ours: ``(N, D)``.
        others: ``(M, D)``.
        counts: ``(R, N)``: how often each of ``ours`` is in a sample. Ones: the set itself.
        kernel: One of this module.
        unbiased: Leave out what compares a feature with itself, as KID does; CMMD's published estimate keeps it.

    Returns:
        float64 ``(R,)``, at least 0 but for the unbiased estimate, which is not a number where a sample has less
        than two features.
    """
    ours, others, counts = ours.double(), others.double(), counts.double()
    sizes, other_size = counts.sum(1), len(others)
    within = torch.zeros(len(counts), dtype=torch.float64, device=ours.device)
    across = torch.zeros_like(within)
    for start in range(0, len(ours), ROWS):
        rows = slice(start, start + ROWS)
        values = kernel(ours[rows], ours)  # (rows, N)
        within += (counts[:, rows] * (counts @ values.T)).sum(1)
        if unbiased:
            within -= counts[:, rows] @ values[:, rows].diagonal()
        across += counts[:, rows] @ kernel(ours[rows], others).sum(1)
    own = torch.zeros((), dtype=torch.float64, device=ours.device)
    for start in range(0, other_size, ROWS):
        rows = slice(start, start + ROWS)
        values = kernel(others[rows], others)
        own += values.sum() - (values[:, rows].diagonal().sum() if unbiased else 0)
    less = 1 if unbiased else 0
    means = torch.where(sizes > less, within / (sizes * (sizes - less)), torch.nan)
    other_mean = own / (other_size * (other_size - less)) if other_size > less else own * torch.nan
    squares = means + other_mean - 2 * across / (sizes * other_size)
    return squares if unbiased else squares.clamp(min=0)  # of equal sets, rounding decides on which side of 0 it is
