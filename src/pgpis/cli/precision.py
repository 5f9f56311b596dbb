"""``trainer.precision``: of ``bf16-true`` and ``16-true`` the weights alone, with ``bf16-mixed`` any optimiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import nn
from torch.optim import Optimizer

from pgpis.errors import PgpisError
from pgpis.tasks.base import PersonImageTask

LEAST_EPS = 1e-4
"""What the optimiser adds to its denominator in float16, in which the usual 1e-8 is zero, and so are small moments."""

log = logging.getLogger(__name__)


class HalfWeights(HalfPrecision):
    """Lightning's half precision for the weights alone.

    Batches stay float32, because half precision mixes the labels of DensePose's maps; so do noise, losses and scores,
    because the default type stays what it is. The models cast what they read.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the batch as it is."""
        return data

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Leave the default type alone."""
        yield

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Cast the weights; frozen ones are hashed before, so that a checkpoint fits in every precision."""
        if isinstance(module, PersonImageTask):
            module.frozen_hashes()
        return super().convert_module(module)

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Keep the optimisers' denominators above zero."""
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            narrow = any(parameter.dtype == torch.float16 for parameter in group["params"])
            if narrow and group.get("eps", LEAST_EPS) < LEAST_EPS:
                log.warning("precision 16-true: the optimiser's eps is %s, not %s", LEAST_EPS, group["eps"])
                group["eps"] = LEAST_EPS
        return super().connect(model, optimizers, lr_schedulers)


class Bfloat16Mixed(MixedPrecision):
    """Lightning's mixed precision in bfloat16, which scales no gradients: those of fused optimisers are clipped too."""

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: float = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clip; Lightning's own refuses an optimiser that unscales gradients, though there is nothing to unscale."""
        Precision.clip_gradients(self, optimizer, clip_val, gradient_clip_algorithm)


def adapt_precision(trainer: Trainer) -> None:
    """Put :class:`HalfWeights` or :class:`Bfloat16Mixed` in the place of Lightning's own, where it was asked for.

    Raises:
        PgpisError: It is ``64-true``: models read float32.
    """
    plugin = trainer.strategy.precision_plugin
    if isinstance(plugin, DoublePrecision):
        expected = "32-true, bf16-mixed, bf16-true, 16-mixed or 16-true"
        raise PgpisError(f"trainer.precision is 64-true, expected {expected}", hint="--trainer.precision 32-true")
    if type(plugin) is HalfPrecision:
        trainer.strategy.precision_plugin = HalfWeights(plugin.precision)
    elif type(plugin) is MixedPrecision and plugin.precision == "bf16-mixed":
        trainer.strategy.precision_plugin = Bfloat16Mixed(plugin.precision, plugin.device)
