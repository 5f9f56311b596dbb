"""The denoiser's attention: stock, or with keys and values that were computed once per picture."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, FusedAttnProcessor2_0
from torch import nn

from pgpis.denoiser.conditions import KeyValue, LayerConditions
from pgpis.errors import PgpisError

STOCK = AttnProcessor2_0()
STOCK_FUSED = FusedAttnProcessor2_0()


class InSlices:
    """``set_attention_slice`` of a UNet of diffusers, with which a layer of one head cannot be halved."""

    def set_attention_slice(self: Any, slice_size: str | int | list[int] | None = "auto") -> None:
        """Compute attention in slices, as the base class does; None: as the class was built."""
        if slice_size == "auto":
            layers = (module for module in self.modules() if isinstance(module, Attention))
            slice_size = [max(1, layer.sliceable_head_dim // 2) for layer in layers]
        super().set_attention_slice(slice_size)  # type: ignore[misc]
        if slice_size is None:
            self.set_default_attn_processor()


def refuse_unread() -> NoReturn:
    """Refuse conditions that :class:`ConditionedAttentionProcessor` alone reads, and from what is cached."""
    raise PgpisError(
        "tokens by stage, extra tokens, a reference and anchors need keys and values that are computed once",
        hint="cache them, and take the processors that read them: pipeline.disable_attention_slicing() or "
        "unet.set_default_attn_processor()",
    )


class ConditionedAttentionProcessor(nn.Module):
    """Scaled dot-product attention that reads its layer's :class:`LayerConditions`, and is stock without any.

    It knows nothing by which layers differ but their place in the transformer, which is the same in all transformers:
    compiled block by block, layers share their graphs.

    Args:
        place: Number of the layer in its transformer: 0 for self-attention, 1 for cross-attention, ...
        extra: The layer, if it has a second attention to extra tokens.

    Source: MCLD, "Multi-Focal Condition Aggregation" and the attention to the ReferenceNet; the official names are
        ``processor.to_k_ip`` and ``to_v_ip``.
    """

    def __init__(self, place: int, extra: Attention | None = None) -> None:
        super().__init__()
        self.place = place
        self.to_k_ip = self.to_v_ip = None
        if extra is not None:
            widths = (extra.to_k.in_features, extra.inner_kv_dim)
            self.to_k_ip, self.to_v_ip = nn.Linear(*widths, bias=False), nn.Linear(*widths, bias=False)

    def __call__(  # not forward: diffusers looks at the signature of __call__ to see which arguments to pass on
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        temb: torch.Tensor | None = None,
        conditions: tuple[LayerConditions | None, ...] | None = None,
    ) -> torch.Tensor:
        """Attend from ``hidden_states`` ``(R, L, C)``; ``conditions`` are those of the whole transformer.

        Raises:
            PgpisError: The layer has a second attention, but no conditions; or there is a mask beside them.
        """
        own = None if conditions is None else conditions[self.place]
        if own is None:
            if self.to_k_ip is not None:
                raise PgpisError("this denoiser has extra tokens, and needs the conditions that prepare() makes")
            stock = STOCK_FUSED if attn.fused_projections else STOCK
            return stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        if attention_mask is not None:
            raise PgpisError("conditions cannot be combined with an attention mask")
        attended = (
            attend_to_tokens(attn, hidden_states, own) if own.tokens else attend_to_cells(attn, hidden_states, own)
        )
        return attn.to_out[1](attn.to_out[0](attended)) / attn.rescale_output_factor

    def extra_keys_values(self, attn: Attention, tokens: torch.Tensor) -> KeyValue | None:
        """Compute keys and values of extra tokens ``(P, M, D)``; None: the layer has no second attention."""
        if self.to_k_ip is None or self.to_v_ip is None:
            return None
        return split_heads(attn, self.to_k_ip(tokens)), split_heads(attn, self.to_v_ip(tokens))


def keys_values(attn: Attention, tokens: torch.Tensor) -> KeyValue:
    """Compute a layer's keys and values of tokens ``(P, N, D)``."""
    is_fused = attn.fused_projections and attn.is_cross_attention
    key, value = attn.to_kv(tokens).chunk(2, dim=-1) if is_fused else (attn.to_k(tokens), attn.to_v(tokens))
    return split_heads(attn, key).contiguous(), split_heads(attn, value).contiguous()


def split_heads(attn: Attention, values: torch.Tensor) -> torch.Tensor:
    """Return ``(B, heads, N, head_dim)`` of ``(B, N, heads * head_dim)``."""
    return values.view(*values.shape[:2], attn.heads, -1).transpose(1, 2)  # (B, heads, N, head_dim)


def attend_to_tokens(attn: Attention, hidden_states: torch.Tensor, own: LayerConditions) -> torch.Tensor:
    """Attend from ``(R, L, C)`` to tokens and extra tokens, without the output projection.

    All rows of a picture share its keys: their queries are laid side by side, so that nothing is expanded. Rows
    without conditions get what zero tokens give: nothing.
    """
    assert own.tokens is not None
    pictures, heads, _, head_dim = own.tokens[0].shape
    length, repeats = hidden_states.shape[1], own.repeats
    query = attn.to_q(hidden_states[own.zero_rows :])
    query = query.view(repeats, pictures, length, heads, head_dim).permute(1, 3, 0, 2, 4)
    query = query.reshape(pictures, heads, repeats * length, head_dim)  # (P, heads, repeats * L, head_dim)
    attended = F.scaled_dot_product_attention(query, *own.tokens)
    if own.extra is not None:
        attended = attended + own.extra_weight * F.scaled_dot_product_attention(query, *own.extra)
    attended = attended.view(pictures, heads, repeats, length, head_dim).permute(2, 0, 3, 1, 4)
    attended = attended.reshape(repeats * pictures, length, heads * head_dim)  # (repeats * P, L, C)
    return F.pad(attended, (0, 0, 0, 0, own.zero_rows, 0)) if own.zero_rows else attended


def attend_to_cells(attn: Attention, hidden_states: torch.Tensor, own: LayerConditions) -> torch.Tensor:
    """Attend from ``(R, L, C)`` to a row's own cells, its anchors' and the reference's, without the output projection.

    Rows without conditions read no reference.
    """
    if attn.fused_projections:
        projected = attn.to_qkv(hidden_states).chunk(3, dim=-1)
    else:
        projected = (attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states))
    query, key, value = (split_heads(attn, values) for values in projected)
    if own.anchors is not None:
        key, value = (torch.cat([cells, _of_anchors(cells, own.anchors)], dim=2) for cells in (key, value))
    if own.reference is None:
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)  # (R, L, C)
    first = own.zero_rows
    lent_key, lent_value = (lent.repeat(own.repeats, 1, 1, 1) for lent in own.reference)
    attended = F.scaled_dot_product_attention(
        query[first:],
        torch.cat([key[first:], lent_key], dim=2),  # (repeats * P, heads, (K + 2) * L, head_dim)
        torch.cat([value[first:], lent_value], dim=2),
        attn_mask=None if own.mask is None else own.mask.to(query.dtype),
    )
    if first:
        alone = F.scaled_dot_product_attention(query[:first], key[:first], value[:first])
        attended = torch.cat([alone, attended])
    return attended.transpose(1, 2).flatten(2)  # (R, L, C)


def _of_anchors(cells: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return the cells of each row's anchors, ``(R, heads, K * L, head_dim)``; R rows are the P pictures repeated."""
    blocks = cells.reshape(-1, len(anchors), *cells.shape[1:])  # (R / P, P, heads, L, head_dim)
    return blocks[:, anchors].transpose(2, 3).flatten(3, 4).flatten(0, 1)
