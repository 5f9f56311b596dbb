"""The denoiser of MCLD: self-attention reads a ReferenceNet, cross-attention reads different tokens by stage."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn

from pgpis.denoiser.attention import project_keys_values
from pgpis.denoiser.unet import PoseUNet
from pgpis.errors import PgpisError
from pgpis.methods.mcld.correspondence import Correspondence
from pgpis.methods.mcld.reference import ReferenceBank

__all__ = ["FocalConditions", "FocalTokens", "ModelMixin", "MultiFocalUNet"]  # the base class, for diffusers' loader

Stage = Literal["down", "mid", "up"]
KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class FocalTokens:
    """Tokens of P pictures: those that each stage of the denoiser reads, and the face's, which all read.

    ``down``, ``mid``, ``up`` ``(P, N, D)``; ``face`` ``(P, M, D)``.
    """

    down: torch.Tensor
    mid: torch.Tensor
    up: torch.Tensor
    face: torch.Tensor

    def of(self, stage: Stage) -> torch.Tensor:
        """Return the tokens of a stage."""
        tokens: torch.Tensor = getattr(self, stage)
        return tokens


@dataclass(frozen=True)
class FocalConditions:
    """Keys and values of all attention layers for P pictures; they do not depend on the time step.

    The denoiser's rows are ``zero_rows`` rows without any condition but the pose, then ``repeats`` times the P
    pictures. Pass it as ``cross_attention_kwargs={"conditions": conditions}``.
    """

    tokens: Mapping[str, KeyValue]
    """By cross-attention layer: key and value of the stage's tokens, ``(P, heads, N, head_dim)``."""
    face: Mapping[str, KeyValue]
    """By cross-attention layer: key and value of the face tokens."""
    reference: Mapping[str, KeyValue]
    """By self-attention layer: key and value of the ReferenceNet's hidden states; empty to go without."""
    reference_bias: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """By self-attention layer: what is added to the logits of the reference, ``(P, 1 or heads, L, L)``; or nothing."""
    keep_reference: torch.Tensor | None = None
    """bool ``(P,)``: pictures that read the reference; None: all."""
    zero_rows: int = 0
    repeats: int = 1


def stage_of(layer: str) -> Stage:
    """Return the stage of the denoiser that a layer belongs to.

    Raises:
        PgpisError: The name is of no UNet block.
    """
    for stage, prefix in (("down", "down_blocks."), ("mid", "mid_block."), ("up", "up_blocks.")):
        if layer.startswith(prefix):
            return stage  # type: ignore[return-value]
    raise PgpisError(f"'{layer}' is no attention layer of a UNet: expected down_blocks, mid_block or up_blocks")


def _split(attn: Attention, values: torch.Tensor) -> torch.Tensor:
    return values.view(*values.shape[:2], attn.heads, -1).transpose(1, 2)


def _finish(attn: Attention, attended: torch.Tensor) -> torch.Tensor:
    projected: torch.Tensor = attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))
    return projected / attn.rescale_output_factor


class ReferenceAttentionProcessor:
    """Self-attention over a row's own hidden states and the ReferenceNet's of the same layer.

    Args:
        layer: Name of the layer.

    Source: MCLD, equation of the reference attention; rows without conditions attend to themselves alone.
    """

    def __init__(self, layer: str) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        temb: torch.Tensor | None = None,
        conditions: FocalConditions | None = None,
    ) -> torch.Tensor:
        """Attend from and to ``hidden_states`` ``(R, L, C)``."""
        query, key, value = (_split(attn, project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        reference = None if conditions is None else conditions.reference.get(self.layer)
        if conditions is None or reference is None:
            return _finish(attn, F.scaled_dot_product_attention(query, key, value))
        first = conditions.zero_rows
        seen_key, seen_value = (seen.repeat(conditions.repeats, 1, 1, 1) for seen in reference)
        mask = self._mask(conditions, query)
        attended = F.scaled_dot_product_attention(
            query[first:],
            torch.cat([key[first:], seen_key], dim=2),
            torch.cat([value[first:], seen_value], dim=2),
            attn_mask=mask,
        )
        if first:
            alone = F.scaled_dot_product_attention(query[:first], key[:first], value[:first])
            attended = torch.cat([alone, attended])
        return _finish(attn, attended)

    def _mask(self, conditions: FocalConditions, query: torch.Tensor) -> torch.Tensor | None:
        """Return what is added to the logits of own and reference keys; None: nothing."""
        bias, keep = conditions.reference_bias.get(self.layer), conditions.keep_reference
        if bias is None and keep is None:
            return None
        length = query.shape[2]
        added = query.new_zeros(1, 1, 1, length) if bias is None else bias.to(query)
        if keep is not None:
            added = added.masked_fill(~keep[:, None, None, None], -torch.inf)
        return F.pad(added, (length, 0)).repeat(conditions.repeats, 1, 1, 1)


class MultiFocalAttentionProcessor(nn.Module):
    """Cross-attention to the tokens of the layer's stage, plus half of an attention to the face tokens.

    ``to_out(attn(q, K, V) + face_scale * attn(q, K_face, V_face))``; rows without conditions get what zero tokens give:
    nothing but the output projection's bias.

    Args:
        layer: Name of the layer.
        token_dim: Width of the tokens.
        inner_dim: Width of the layer's keys.
        face_scale: Weight of the attention to the face.

    Source: MCLD, "Multi-Focal Condition Aggregation"; official names ``processor.to_k_ip`` and ``to_v_ip``.
    """

    def __init__(self, layer: str, token_dim: int, inner_dim: int, face_scale: float = 0.5) -> None:
        super().__init__()
        self.layer = layer
        self.face_scale = face_scale
        self.to_k_ip = nn.Linear(token_dim, inner_dim, bias=False)
        self.to_v_ip = nn.Linear(token_dim, inner_dim, bias=False)

    def face_keys_values(self, attn: Attention, face: torch.Tensor) -> KeyValue:
        """Compute key and value ``(P, heads, M, head_dim)`` of face tokens ``(P, M, D)``."""
        return _split(attn, self.to_k_ip(face)), _split(attn, self.to_v_ip(face))

    def __call__(  # not forward: diffusers looks at the signature of __call__ to see which arguments to pass on
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        temb: torch.Tensor | None = None,
        conditions: FocalConditions | None = None,
    ) -> torch.Tensor:
        """Attend from ``hidden_states`` ``(R, L, C)``.

        Raises:
            PgpisError: There are no conditions, or they are for another number of rows.
        """
        if conditions is None:
            raise PgpisError("MCLD's denoiser needs cross_attention_kwargs={'conditions': …}: see prepare()")
        pictures = len(conditions.tokens[self.layer][0])
        first, repeats = conditions.zero_rows, conditions.repeats
        rows, length, _ = hidden_states.shape
        if rows != first + repeats * pictures:
            raise PgpisError(
                f"the denoiser got {rows} rows, but its conditions are for {first} rows without and "
                f"{repeats} x {pictures} with"
            )
        query = _split(attn, attn.to_q(hidden_states[first:]))
        # all rows of a picture share its keys: lay their queries side by side, so that nothing is expanded
        heads, head_dim = query.shape[1], query.shape[3]
        query = query.view(repeats, pictures, heads, length, head_dim).permute(1, 2, 0, 3, 4)
        query = query.reshape(pictures, heads, repeats * length, head_dim)
        attended = F.scaled_dot_product_attention(query, *conditions.tokens[self.layer])
        attended = attended + self.face_scale * F.scaled_dot_product_attention(query, *conditions.face[self.layer])
        attended = attended.view(pictures, heads, repeats, length, head_dim).permute(2, 0, 1, 3, 4)
        attended = attended.reshape(repeats * pictures, heads, length, head_dim)
        if first:
            attended = F.pad(attended, (0, 0, 0, 0, 0, 0, first, 0))
        return _finish(attn, attended)


class MultiFocalUNet(PoseUNet):
    """:class:`PoseUNet` whose attention reads a ReferenceNet, and tokens by stage.

    The weights are a stock UNet's plus ``attn2.processor.to_k_ip`` and ``to_v_ip`` of each cross-attention layer.

    Source: MCLD, figure 2.
    """

    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc, unused-ignore]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        processors: dict[str, Any] = {}
        for name, module in self._attention_layers():
            if name.endswith("attn1"):
                processors[f"{name}.processor"] = ReferenceAttentionProcessor(name)
            else:
                token_dim = module.to_k.in_features
                processors[f"{name}.processor"] = MultiFocalAttentionProcessor(name, token_dim, module.inner_kv_dim)
        self.set_attn_processor(processors)

    def _attention_layers(self) -> list[tuple[str, Attention]]:
        return [(name, module) for name, module in self.named_modules() if isinstance(module, Attention)]

    @torch.no_grad()
    def start_face_attention(self) -> None:
        """Copy the keys' and values' weights of each cross-attention layer to those of its face tokens."""
        for name, module in self._attention_layers():
            if name.endswith("attn2"):
                module.processor.to_k_ip.weight.copy_(module.to_k.weight)
                module.processor.to_v_ip.weight.copy_(module.to_v.weight)

    def prepare(
        self,
        tokens: FocalTokens,
        bank: ReferenceBank | None = None,
        *,
        correspondence: Correspondence | None = None,
        keep_reference: torch.Tensor | None = None,
        zero_rows: int = 0,
        repeats: int = 1,
    ) -> FocalConditions:
        """Compute the keys and values of all layers once.

        Args:
            tokens: Tokens of P pictures.
            bank: The ReferenceNet's hidden states of the same pictures; None: go without.
            correspondence: Where each picture shows what of its texture, to draw the attention there; None: nothing is
                said of it, as officially.
            keep_reference: bool ``(P,)``, pictures that read the bank; None: all.
            zero_rows: Rows of the denoiser's batch that come first and have no condition but the pose.
            repeats: How often the pictures follow after them.

        Raises:
            PgpisError: The bank lacks a layer: it is of a net of another shape.
        """
        by_stage: dict[str, KeyValue] = {}
        face: dict[str, KeyValue] = {}
        reference: dict[str, KeyValue] = {}
        bias: dict[str, torch.Tensor] = {}
        for name, module in self._attention_layers():
            if name.endswith("attn2"):
                by_stage[name] = project_keys_values(module, tokens.of(stage_of(name)))
                face[name] = module.processor.face_keys_values(module, tokens.face)
            elif bank is not None:
                block = name.removesuffix(".attn1")
                if block not in bank:
                    raise PgpisError(f"the ReferenceNet has no '{block}': it must have the denoiser's blocks")
                reference[name] = project_keys_values(module, bank[block].to(self.dtype))
                if correspondence is not None:
                    bias[name] = correspondence.bias(bank[block].shape[1])
        return FocalConditions(by_stage, face, reference, bias, keep_reference, zero_rows, repeats)
