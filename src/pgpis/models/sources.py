"""What encoders say of the several sources of a pair: computed for each, laid side by side, or averaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from pgpis.batch import FURTHER, PairBatch

Encode = Callable[[torch.Tensor, "slice | torch.Tensor"], torch.Tensor]
"""From ``(R, ...)`` of a batch entry, and which pairs these rows are of, to ``(R, ...)``."""


def present_sources(batch: PairBatch, pairs: int) -> torch.Tensor | None:
    """Return which sources there are, bool ``(B, K)``; None: each pair has one."""
    count = batch.get("source_count")
    if count is None:
        return None
    most = int(count.max()) if pairs else 1
    return torch.arange(most, device=count.device) < count[:, None]


def encode_sources(batch: PairBatch, key: str, encode: Encode) -> torch.Tensor:
    """Encode a batch entry of all sources.

    Args:
        batch: B pairs.
        key: Of the first sources; the further ones have :data:`pgpis.batch.FURTHER` before it.
        encode: Called for the first sources, as if they were alone, and once for all further ones.

    Returns:
        ``(B, K, ...)``, zeros where a pair has fewer than K sources.
    """
    entries: dict[str, Any] = dict(batch)
    first = encode(entries[key], slice(None))
    present = present_sources(batch, len(first))
    if present is None or present.shape[1] == 1:
        return first[:, None]
    is_further = present[:, 1:]
    values = encode(entries[FURTHER + key][:, : is_further.shape[1]][is_further], is_further.nonzero()[:, 0])
    further = first.new_zeros(*is_further.shape, *first.shape[1:])
    return torch.cat([first[:, None], further.index_put(is_further.nonzero(as_tuple=True), values)], dim=1)


def side_by_side(values: torch.Tensor, present: torch.Tensor | None) -> torch.Tensor:
    """Lay the sources of each pair side by side, whole sets of them repeated where other pairs have more.

    Attention to a repeated set is attention to the set: pairs with other numbers of sources share a batch without a
    mask, and a pair's result does not depend on its neighbours. Numbers that differ cost more: 2 and 3 make 6 sets.

    Args:
        values: ``(B, K, ...)``.
        present: Which of them there are, at least one of each pair, bool ``(B, K)``; None: all.

    Returns:
        ``(B, L, ...)``, with the least L that all numbers divide.
    """
    if present is None:
        return values
    counts = present.sum(dim=1)
    length = math.lcm(*counts.tolist())
    order = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    places = order.gather(1, torch.arange(length, device=counts.device) % counts[:, None])
    return values[torch.arange(len(values), device=counts.device)[:, None], places]


def mean_of_sources(values: torch.Tensor, present: torch.Tensor | None) -> torch.Tensor:
    """Return the mean over each pair's sources, ``(B, D)`` of ``(B, K, D)``; arguments as :func:`side_by_side`."""
    if present is None:
        return values[:, 0]
    weights = present.to(values.dtype)[..., None]
    return (values * weights).sum(dim=1) / weights.sum(dim=1)
