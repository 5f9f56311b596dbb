"""Cross-attention whose keys and values are computed once per picture instead of once per denoising step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from pgpis.errors import PgpisError


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values of every cross-attention layer, for P pictures.

    The rows that the denoiser processes are ``zero_rows`` rows without any token, then ``repeats`` times the P
    pictures: ``p0, p1, .., p0, p1, ..``. Pass it as ``cross_attention_kwargs={"cache": cache}``; self-attention
    ignores it.
    """

    entries: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """Key and value by layer name, each ``(P, heads, N, head_dim)``."""
    zero_rows: int = 0
    """Rows whose tokens are all zero. Their keys and values are zero too, so attention adds exactly nothing to them."""
    repeats: int = 1
    """How often the pictures follow each other after the zero rows: guidance branches times results per picture."""


class CachedAttentionProcessor(AttnProcessor2_0):  # type: ignore[misc, unused-ignore]
    """Stock scaled-dot-product attention that can read keys and values from a :class:`KeyValueCache`.

    Args:
        layer: Name of the attention layer inside the denoiser.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        temb: torch.Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> torch.Tensor:
        """Attend from ``hidden_states`` ``(R, L, C)`` to the tokens, or to itself where there are none."""
        if cache is None or encoder_hidden_states is None:
            attended: torch.Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
            return attended
        if attention_mask is not None:
            raise PgpisError("a KeyValueCache cannot be combined with encoder_attention_mask")
        attended = attend_cached(attn, hidden_states, cache, self.layer)
        attended = attn.to_out[1](attn.to_out[0](attended))
        scaled: torch.Tensor = attended / attn.rescale_output_factor
        return scaled


def project_keys_values(attn: Attention, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute a layer's keys and values, each ``(P, heads, N, head_dim)``, from tokens ``(P, N, D)``."""
    key, value = attn.to_k(tokens), attn.to_v(tokens)
    shape = (*key.shape[:2], attn.heads, -1)
    return key.view(shape).transpose(1, 2).contiguous(), value.view(shape).transpose(1, 2).contiguous()


def attend_cached(attn: Attention, hidden_states: torch.Tensor, cache: KeyValueCache, layer: str) -> torch.Tensor:
    """Attend to cached keys and values, without the output projection.

    All rows of a picture share its keys and values: their queries are laid side by side, so nothing is expanded.

    Args:
        attn: The attention layer.
        hidden_states: Queries' inputs, ``(zero_rows + repeats * P, L, C)``.
        cache: Keys and values, and the order of the rows.
        layer: Name under which they are stored.

    Returns:
        ``(zero_rows + repeats * P, L, C)``; zeros in the first ``zero_rows`` rows.
    """
    key, value = cache.entries[layer]
    pictures, heads, _, head_dim = key.shape
    rows, length, _ = hidden_states.shape
    if rows != cache.zero_rows + cache.repeats * pictures:
        raise PgpisError(
            f"the denoiser got {rows} rows, but the cache is for {cache.zero_rows} rows without tokens "
            f"and {cache.repeats} x {pictures} with"
        )
    query = attn.to_q(hidden_states[cache.zero_rows :])
    query = query.view(cache.repeats, pictures, length, heads, head_dim)
    query = query.permute(1, 3, 0, 2, 4).reshape(pictures, heads, cache.repeats * length, head_dim)
    attended = F.scaled_dot_product_attention(query, key, value)
    attended = attended.view(pictures, heads, cache.repeats, length, head_dim)
    attended = attended.permute(2, 0, 3, 1, 4).reshape(cache.repeats * pictures, length, heads * head_dim)
    if cache.zero_rows == 0:
        return attended
    return F.pad(attended, (0, 0, 0, 0, cache.zero_rows, 0))
