"""What identifies a set of weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from diffusers import ConfigMixin
from torch import nn


def weights_hash(module: nn.Module) -> str:
    """Return the sha256 over names, dtypes, shapes and bytes of a module's weights."""
    return tensors_hash(module.state_dict())


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 over names, dtypes, shapes and bytes of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digests_of(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return what identifies each part by name: its weights, and how it is configured."""
    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter free
        hashes = pool.map(weights_hash, parts.values())
    return {
        name: hashlib.sha256(f"{weights} {settings_of(part)}".encode()).hexdigest()[:16]
        for (name, part), weights in zip(parts.items(), hashes, strict=True)
    }


def settings_of(part: object) -> dict[str, Any]:
    """Return how a part of diffusers is configured, without what says where it came from."""
    config = part.config if isinstance(part, ConfigMixin) else {}
    return in_json({key: config[key] for key in sorted(config) if not key.startswith("_")})


def in_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with numbers that JSON does not have, as infinity, as texts; ``build_scheduler`` reads these."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in settings.items()
    }
