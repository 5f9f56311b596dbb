"""What the denoiser receives beside noisy latents and time steps: from a conditioner, and made ready for its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

Stage = Literal["down", "mid", "up"]
STAGES: tuple[Stage, ...] = get_args(Stage)
KeyValue = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one attention layer, ``(P, heads, N, head_dim)`` each."""


@dataclass(frozen=True)
class Ports:
    """What a method's conditioner says of P pictures; what a method does not use stays None."""

    tokens: torch.Tensor | Mapping[Stage, torch.Tensor] | None
    """For cross-attention: ``(P, N, D)``, or such a tensor for each stage of the denoiser. None: these rows have no
    tokens and read no reference."""
    pose_features: torch.Tensor
    """Added to ``conv_in``'s result, ``(P, block_out_channels[0], h, w)``."""
    time_embedding: torch.Tensor | None = None
    """Added to the time embedding, ``(P, time_embed_dim)``."""
    extra_tokens: torch.Tensor | None = None
    """For a second cross-attention, whose result is added: ``(P, M, D)``."""
    extra_weight: float = 1.0
    """Weight of that second attention."""
    reference: Mapping[str, torch.Tensor] | None = None
    """For self-attention: by transformer block, another net's hidden states of the same layer, ``(P, L, C)``."""
    reference_bias: Callable[[int], torch.Tensor] | None = None
    """From the number of cells L to what is added to the reference's logits, ``(P, 1, L, L)``."""
    keep_reference: torch.Tensor | None = None
    """bool ``(P,)``: pictures that read the reference; None: all."""
    anchors: torch.Tensor | None = None
    """For self-attention: which K of the P pictures each one reads at the same step, int64 ``(P, K)``; so do the rows
    without tokens, of one another. A picture that names nobody but itself reads as if it named none."""

    def to(self, dtype: torch.dtype) -> Ports:
        """Cast tokens, pose features and time embedding."""

        def cast(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: entry.to(dtype) for name, entry in value.items()}
            return None if value is None else value.to(dtype)

        fields = ("tokens", "pose_features", "time_embedding", "extra_tokens")
        return replace(self, **{name: cast(getattr(self, name)) for name in fields})


@dataclass(frozen=True)
class LayerConditions:
    """What one attention layer reads; nothing in it depends on the time step.

    The denoiser's R rows are ``zero_rows`` rows without conditions, then ``repeats`` times the P pictures:
    ``p0, p1, .., p0, p1, ..``.
    """

    tokens: KeyValue | None = None
    """Of a cross-attention layer."""
    extra: KeyValue | None = None
    """Of its second attention."""
    extra_weight: float = 1.0
    reference: KeyValue | None = None
    """Of a self-attention layer, read beside the row's own."""
    anchors: torch.Tensor | None = None
    """Of a self-attention layer: the pictures whose cells are read beside the row's own, int64 ``(P, K)``."""
    mask: torch.Tensor | None = None
    """Added to the logits of own, anchors' and reference keys, ``(repeats * P, 1, 1 or L, (K + 2) * L)``."""
    zero_rows: int = 0
    repeats: int = 1


@dataclass(frozen=True)
class Conditions:
    """What the denoiser receives for R rows; see :meth:`pgpis.denoiser.ConditionedUNet.prepare`."""

    pose_features: torch.Tensor
    """``(R, block_out_channels[0], h, w)``."""
    time_embedding: torch.Tensor | None
    """``(R, time_embed_dim)``."""
    tokens: torch.Tensor
    """``(R, N, D)`` for stock attention; where ``layers`` are filled, any tokens, which nobody reads."""
    layers: Mapping[str, tuple[LayerConditions | None, ...]]
    """By transformer, for its attention layers in order; None: the layer reads nothing. Empty: all are stock."""

    def last_branch(self, pictures: int, repeats: int = 1) -> Conditions:
        """Return what the last branch alone receives, computing nothing anew.

        Args:
            pictures: P, of the branch.
            repeats: How often they follow each other.
        """
        rows = repeats * pictures

        def alone(own: LayerConditions | None) -> LayerConditions | None:
            if own is None:
                return None
            return replace(own, mask=None if own.mask is None else own.mask[-rows:], zero_rows=0, repeats=repeats)

        return Conditions(
            self.pose_features[-rows:],
            None if self.time_embedding is None else self.time_embedding[-rows:],
            self.tokens if self.layers else self.tokens[-rows:],
            {name: tuple(map(alone, layers)) for name, layers in self.layers.items()},
        )
