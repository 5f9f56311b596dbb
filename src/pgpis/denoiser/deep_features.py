"""Deep features of the last whole step: what changes slowly over the denoising loop is not computed in each step.

Source: Ma et al., DeepCache (CVPR 2024). All but the outermost down and up blocks are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

NAME = "pgpis_deep_features"


@dataclass
class DeepFeatures:
    """Says in which steps the deep blocks run."""

    interval: int
    """Every so many steps all blocks run."""
    reused: bool = False
    """Whether the deep blocks give what they gave last."""
    _rows: int = 0
    _since: int = 0

    def begin(self, rows: int) -> None:
        """Begin a step of so many rows; with another number of them, as of branches of guidance, all blocks run."""
        self._since += 1
        self.reused = rows == self._rows and self._since < self.interval
        if not self.reused:
            self._rows, self._since = rows, 0


class _KeptOutput(ModelHook):  # type: ignore[misc, unused-ignore]
    """Gives a block's last output again, where that is asked for."""

    def __init__(self, features: DeepFeatures) -> None:
        super().__init__()
        self.features = features
        self.output: Any = None

    def new_forward(self, _block: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Take the place of the block's ``forward``."""
        if not self.features.reused:
            self.output = self.fn_ref.original_forward(*args, **kwargs)
        return self.output


@contextmanager
def deep_features(unet: UNet2DConditionModel, interval: int | None) -> Iterator[DeepFeatures]:
    """Keep the features of a UNet's deep blocks between steps, as long as the context lasts.

    Args:
        unet: Any UNet of diffusers with several blocks in either direction.
        interval: Every so many steps all blocks run; None or 1: in each, and no block is touched.

    Yields:
        What is to be told of each step before it.
    """
    features = DeepFeatures(interval or 1)
    blocks = [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]] if features.interval > 1 else []
    registries = [HookRegistry.check_if_exists_or_initialize(block) for block in blocks if block is not None]
    for registry in registries:
        registry.register_hook(_KeptOutput(features), NAME)
    try:
        yield features
    finally:
        for registry in registries:
            registry.remove_hook(NAME)
