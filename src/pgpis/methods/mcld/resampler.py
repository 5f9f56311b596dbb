"""The face resampler is diffusers' ``IPAdapterPlusImageProjection``; here is what MCLD and earlier versions call it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from pgpis.errors import PgpisError

OFFICIAL = re.compile(r"layers\.(?P<number>\d+)\.(?P<part>[01]\.\w+)\.(?P<kind>weight|bias)")
"""A layer is a list of its attention and its feed-forward net."""
NAMES = {
    "0.norm1": "ln0",
    "0.norm2": "ln1",
    "0.to_q": "attn.to_q",
    "0.to_kv": "attn.to_k attn.to_v",
    "0.to_out": "attn.to_out.0",
    "1.0": "ff.0",
    "1.1": "ff.1.net.0.proj",
    "1.3": "ff.1.net.2",
}
"""Parts of an official layer, and what diffusers calls them; keys and values lie in one matrix."""


def resampler_names(name: str) -> list[str]:
    """Return what diffusers calls a tensor of the resampler, whichever of both names is given; several: its halves."""
    layer = OFFICIAL.fullmatch(name)
    if layer is None or layer["part"] not in NAMES:
        return [name]
    return [f"layers.{layer['number']}.{part}.{layer['kind']}" for part in NAMES[layer["part"]].split()]


def renamed_resampler(weights: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """Return weights in which those of the resampler, after ``prefix``, have diffusers' names, whichever they had.

    Raises:
        PgpisError: Keys and values are not two halves of one tensor, or a tensor is there under both names.
    """
    renamed: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        ours = resampler_names(name.removeprefix(prefix))
        own = [prefix + each for each in ours] if name.startswith(prefix) else [name]
        if twice := [each for each in own if each in renamed]:
            raise PgpisError(f"face resampler: two tensors for '{twice[0]}', one of them is '{name}'")
        if len(own) < 2:
            renamed[own[0]] = value
            continue
        if value.ndim == 0 or len(value) % len(own):
            raise PgpisError(f"face resampler: '{name}' has shape {tuple(value.shape)}, expected keys and values alike")
        renamed |= zip(own, value.chunk(len(own)), strict=True)
    return renamed
