"""Projections of attention layers laid side by side, so that one product gives queries, keys and values.

They are copies beside the weights, for drawing alone: none is saved, and weights that are loaded are copied anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diffusers.models.attention_processor import Attention
from torch import nn

from pgpis.errors import PgpisError

FUSED = ("to_qkv", "to_kv")
"""Diffusers' names for them, of self-attention and of cross-attention."""


def fuse(unet: nn.Module) -> None:
    """Fuse the projections of all attention layers.

    Raises:
        PgpisError: They are not plain linear ones, as with LoRA.
    """
    for attn in _layers(unet):
        projections = (attn.to_q, attn.to_k, attn.to_v)
        if any(type(projection) is not nn.Linear for projection in projections):
            raise PgpisError("projections that are not plain ones cannot be fused", hint="merge LoRA into the weights")
        attn.fuse_projections()
        for name in FUSED:
            getattr(attn, name, nn.Identity()).requires_grad_(False)


def unfuse(unet: nn.Module) -> None:
    """Drop the copies."""
    for attn in _layers(unet):
        for name in FUSED:
            if hasattr(attn, name):
                delattr(attn, name)
        attn.fused_projections = False


def keep_fused_out_of_weights(unet: Any) -> None:
    """Leave the copies out of the state dict of a UNet, and copy anew what is loaded."""
    unet.register_state_dict_post_hook(_without_fused)
    unet.register_load_state_dict_pre_hook(_unfuse_to_load)
    unet.register_load_state_dict_post_hook(_fuse_again)


def _layers(unet: nn.Module) -> Iterator[Any]:
    return (module for module in unet.modules() if isinstance(module, Attention))


def _without_fused(_unet: nn.Module, state_dict: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for key in [key for key in state_dict if key.startswith(prefix) and not {*key.split(".")}.isdisjoint(FUSED)]:
        del state_dict[key]


def _unfuse_to_load(unet: Any, *_: Any) -> None:
    unet.fuse_after_loading = any(attn.fused_projections for attn in _layers(unet))
    unfuse(unet)


def _fuse_again(unet: Any, _keys: Any) -> None:
    if unet.fuse_after_loading:
        fuse(unet)
