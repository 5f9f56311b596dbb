"""Contrastive loss of the prior: pull the fused embedding to the target's, away from all other targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F


@dataclass(frozen=True)
class FusionLoss:
    """Loss of one batch and what is logged beside it; all scalars."""

    loss: torch.Tensor
    """InfoNCE plus the weighted L1 term; to minimise."""
    l1: torch.Tensor
    """Mean absolute difference of source and fused embedding, before weighting."""
    top1: torch.Tensor
    """Share of targets whose own fused embedding comes first."""
    top5: torch.Tensor
    """Share of targets whose own fused embedding is among the first five."""
    mean_position: torch.Tensor
    """Mean position of the own fused embedding, 1 is best."""


def fusion_loss(
    source: torch.Tensor,
    target: torch.Tensor,
    fused: torch.Tensor,
    *,
    source_enhanced: bool = True,
    temperature: float = 0.07,
    l1_weight: float = 1e-4,
    global_negatives: bool = True,
) -> FusionLoss:
    """Compute InfoNCE between targets (rows) and fused embeddings (columns), plus a small L1 term.

    With ``c_ij = cos(T_i, F_j) / temperature``, it is ``mean_i(logsumexp_j c_ij - c_ii) + l1_weight * mean|S - F|``.
    The source-enhanced form first stacks ``T = [T; S]``, ``F = [F; S]``, ``S = [S; S]``.

    Args:
        source: Embeddings S of the sources, unnormalised, ``(B, D)``.
        target: Embeddings T of the targets, ``(B, D)``.
        fused: Fused embeddings F, ``(B, D)``.
        source_enhanced: Ablation A3 (True) or the baseline A2 (False).
        temperature: Divides the cosine similarities.
        l1_weight: Weight of the L1 term.
        global_negatives: In a distributed run, contrast with the pairs of all ranks. Each rank then returns the loss
            of the global batch, and averaged gradients equal those of one process with the whole batch.

    Source: FPDM eq. 3 (baseline), eq. 6-10 (source-enhanced); the L1 term is only in the official code.
    Deviation: The official code contrasts with the pairs of its own rank only (``global_negatives=False``).
    """
    with torch.autocast(source.device.type, enabled=False):
        embeddings = [source.float(), target.float(), fused.float()]
        if global_negatives and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            embeddings = list(_gather_rows(torch.stack(embeddings, dim=1)).unbind(dim=1))
        source, target, fused = embeddings
        if source_enhanced:
            target, fused, source = torch.cat([target, source]), torch.cat([fused, source]), torch.cat([source, source])
        logits = F.normalize(target, dim=-1) @ F.normalize(fused, dim=-1).T / temperature  # (B, B)
        positive = logits.diagonal()
        l1 = (source - fused).abs().mean()
        loss = (logits.logsumexp(dim=1) - positive).mean() + l1_weight * l1
        better = (logits > positive[:, None]).sum(dim=1).float()
    return FusionLoss(
        loss=loss,
        l1=l1.detach(),
        top1=(better < 1).float().mean(),
        top5=(better < 5).float().mean(),
        mean_position=1 + better.mean(),
    )


def _gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Gather rows of all ranks in rank order, also when the last batch is shorter on some rank; gradients flow back."""
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(count) for count in counts]
    longest = max(sizes)
    padding = rows.new_zeros(longest - len(rows), *rows.shape[1:])
    gathered = _Gathered.apply(torch.cat([rows, padding]))
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


class _Gathered(torch.autograd.Function):
    """Stacks the equally long rows of all ranks; each rank's get the sum of the gradients that all ranks have.

    torch's own are deprecated (``torch.distributed.nn``, which Lightning's ``all_gather`` calls) or private
    (``_functional_collectives``).
    """

    @staticmethod
    def forward(_context: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.stack(parts)

    @staticmethod
    def backward(_context: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]
