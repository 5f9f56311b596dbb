"""Attention as flow: where in its reference each place of a picture looks, and the error of what is fetched there.

Nothing of it is computed unless training asks for it: attention layers are looked at from outside, by a hook on each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.utils.checkpoint import checkpoint

from pgpis.denoiser.attention import split_heads
from pgpis.denoiser.conditions import LayerConditions

Layers = Literal["self", "cross"]
"""Which attention layers read the reference."""
COARSEST = 32
"""Pixels of the picture for a cell of the coarsest layers that count."""
LEAST_SHARE = 1e-12
"""Of the attention that goes to the reference: less than this says nothing about where."""


@dataclass(frozen=True)
class AttentionRecord:
    """What one attention layer read in one step, with its graph."""

    attn: Attention
    hidden_states: torch.Tensor
    """``(B, L, C)``."""
    tokens: torch.Tensor | None
    """Of a stock cross-attention: ``(B, N, D)``."""
    conditions: LayerConditions | None

    def logits_of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, int]:
        """Return queries, keys, what is added to their logits, and how many keys, the last ones, are the reference's.

        The first token of a cross-attention is the class token. Of B rows those of the indices ``rows`` are computed.
        """
        attn, own, hidden = self.attn, self.conditions, self.hidden_states[rows]
        query = split_heads(attn, attn.to_q(hidden))  # (R, heads, L, head_dim)
        if own is not None and own.reference is not None:
            lent = own.reference[0][rows]
            key = torch.cat([split_heads(attn, attn.to_k(hidden)), lent], dim=2)  # (R, heads, 2L, head_dim)
            return query, key, None if own.mask is None else own.mask[rows], lent.shape[2]
        if own is not None and own.tokens is not None:
            key = own.tokens[0][rows]
        else:
            assert self.tokens is not None
            key = split_heads(attn, attn.to_k(self.tokens[rows]))
        return query, key, None, key.shape[2] - 1


class FlowPictures(NamedTuple):
    """What a flow is judged by, for B pictures."""

    reference: torch.Tensor
    """What it leads into, ``(B, 3, h, w)``."""
    target: torch.Tensor
    """What should be fetched, ``(B, 3, H, W)``."""
    person: torch.Tensor | None = None
    """Where it counts, bool ``(B, 1, H, W)``; None: everywhere."""

    def of(self, rows: torch.Tensor) -> FlowPictures:
        """Return those of some rows, by their indices."""
        person = None if self.person is None else self.person[rows]
        return FlowPictures(self.reference[rows], self.target[rows], person)


@contextmanager
def recorded_attention(unet: UNet2DConditionModel, layers: Layers) -> Iterator[list[AttentionRecord]]:
    """Record what self- or cross-attention layers read, in their order, while the context is open."""
    records: list[AttentionRecord] = []

    def note(attn: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(attn, Attention)
        conditions = kwargs.get("conditions")
        own = None if conditions is None else conditions[attn.processor.place]
        records.append(AttentionRecord(attn, args[0], kwargs.get("encoder_hidden_states"), own))

    chosen = [
        module
        for module in unet.modules()
        if isinstance(module, Attention) and module.is_cross_attention == (layers == "cross")
    ]
    hooks = [attn.register_forward_pre_hook(note, with_kwargs=True) for attn in chosen]
    try:
        yield records
    finally:  # before the backward pass, which runs layers again where memory is saved
        for hook in hooks:
            hook.remove()


def size_of_level(size: tuple[int, int], length: int) -> tuple[int, int]:
    """Return (height, width) of the denoiser's level that has ``length`` cells.

    Args:
        size: Of the latents; deeper levels halve it, rounding up.
        length: Number of cells.

    Raises:
        ValueError: No level has so many cells.
    """
    height, width = size
    while height * width > length:
        height, width = -(-height // 2), -(-width // 2)
    if height * width != length:
        raise ValueError(f"no level of latents of {size} has {length} cells")
    return height, width


def cell_centres(height: int, width: int) -> torch.Tensor:
    """Return the centres (x, y) of a grid's cells, row by row, in [-1, 1], ``(height * width, 2)``."""
    y, x = ((torch.arange(count) + 0.5) * 2 / count - 1 for count in (height, width))
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1)


def attention_flow(
    query: torch.Tensor,
    key: torch.Tensor,
    centres: torch.Tensor,
    bias: torch.Tensor | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return where in the reference each query looks on average, ``(R, L, 2)``: (x, y) in [-1, 1].

    The attention is a softmax over all keys, its mean over the heads, and of that the reference's keys as shares of
    their sum. That mean place is what attention returns whose values are places: the kernels of
    ``scaled_dot_product_attention`` compute it piece by piece, and again in the backward pass, without storing a map.

    Args:
        query: ``(R, heads, L, head_dim)``.
        key: ``(R, heads, N, head_dim)``, N >= M; the last M are the reference's.
        centres: Where these are, ``(M, 2)``.
        bias: Added to the logits, ``(R, 1, 1 or L, N)``.
        temperature: What logits are divided by.

    Source: Leffa (CVPR 2025), section on learning flow fields in attention.
    """
    rows, heads, count, head_dim = key.shape
    width = -(-max(head_dim, 3) // 8) * 8  # what the kernels take; zeros change nothing
    values = F.pad(centres, (0, 1), value=1.0)  # x, y, and whether it is the reference's
    values = F.pad(values, (0, width - 3, count - len(centres), 0)).to(query.device, torch.float32)
    with torch.autocast(query.device.type, enabled=False):  # a half's 8 bits are two pixels of 512
        query, key = (F.pad(each.float(), (0, width - head_dim)) for each in (query, key))
        sums = F.scaled_dot_product_attention(
            query,
            key,
            values.expand(rows, heads, count, width),
            None if bias is None else bias.float() / temperature,
            scale=1 / (temperature * math.sqrt(head_dim)),
        )[..., :3].sum(dim=1)  # (R, L, 3)
        return sums[..., :2] / sums[..., 2:].clamp(min=LEAST_SHARE)


def flow_of(
    record: AttentionRecord, rows: torch.Tensor, latent_size: tuple[int, int], temperature: float
) -> torch.Tensor:
    """Return the flow of the rows of a layer, as a picture of its cells, ``(R, 2, h, w)``.

    Raises:
        ValueError: The reference's keys are neither a level of the denoiser nor, in cross-attention, a square.
    """
    query, key, bias, count = record.logits_of(rows)
    grid = size_of_level(latent_size, count) if not record.attn.is_cross_attention else (math.isqrt(count),) * 2
    if math.prod(grid) != count:
        raise ValueError(f"{count} tokens beside the class token are not the patches of one square picture")
    flow = attention_flow(query, key, cell_centres(*grid), bias, temperature)
    return flow.transpose(1, 2).reshape(len(rows), 2, *size_of_level(latent_size, query.shape[2]))


def fetched(picture: torch.Tensor, flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sample pictures ``(R, 3, h', w')`` where flows ``(R, 2, h, w)`` lead, at (height, width) ``size``.

    What is not a number leads to the middle: a training that diverges is told so by its own loss.
    """
    flow = flow.nan_to_num()  # grid_sample's backward pass on a CPU reads memory that is not its own
    places = F.interpolate(flow, size, mode="bilinear").permute(0, 2, 3, 1)
    return F.grid_sample(picture.to(flow.dtype), places, padding_mode="border", align_corners=False)


def flow_loss(
    records: list[AttentionRecord],
    pictures: FlowPictures,
    keep: torch.Tensor,
    latent_size: tuple[int, int],
    temperature: float,
) -> torch.Tensor:
    """Compute the squared error of what the layers would fetch from the reference, summed over the layers.

    Layers whose cells are larger than :data:`COARSEST` pixels do not count. Each layer is computed again in the
    backward pass, so that memory holds one at a time.

    Args:
        records: Of the layers, for B rows.
        pictures: What is fetched from, and what should be.
        keep: Which rows count, bool ``(B,)``; the others add zero to the mean over the batch.
        latent_size: (height, width) of the latents.
        temperature: See :func:`attention_flow`.

    Source: Leffa (CVPR 2025); its training code was never published.
    """
    rows = keep.nonzero().flatten()
    total = pictures.target.new_zeros((), dtype=torch.float32)
    if len(rows):
        chosen = pictures.of(rows)
        for record in counted(records, pictures.target.shape[-2], latent_size):
            arguments = (record, rows, chosen, latent_size, temperature)
            total = total + checkpoint(_error, *arguments, use_reentrant=False, preserve_rng_state=False)
    return total * (len(rows) / len(keep))


def counted(records: list[AttentionRecord], height: int, latent_size: tuple[int, int]) -> list[AttentionRecord]:
    """Return the records of layers that are fine enough for pictures of ``height`` pixels."""
    return [
        record
        for record in records
        if size_of_level(latent_size, record.hidden_states.shape[1])[0] * COARSEST >= height
    ]


def _error(
    record: AttentionRecord,
    rows: torch.Tensor,
    pictures: FlowPictures,
    latent_size: tuple[int, int],
    temperature: float,
) -> torch.Tensor:
    flow = flow_of(record, rows, latent_size, temperature)
    size = (pictures.target.shape[-2], pictures.target.shape[-1])
    squared = (fetched(pictures.reference, flow, size) - pictures.target).square()
    if pictures.person is None:
        return squared.mean()
    counts = pictures.person.flatten(1).sum(dim=1).clamp(min=1)
    return ((squared * pictures.person).mean(dim=1).flatten(1).sum(dim=1) / counts).mean()
