"""Training that comes to numbers that are not finite stops before it writes them anywhere."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer

from pgpis.errors import PgpisError

SMALLEST_SCALE = 2.0**-10
"""Under it the loss scale of 16-mixed has been halved by 26 steps that were not finite: no accident any more."""


class TrainingDivergedError(PgpisError):
    """Training has come to numbers that are not finite."""

    exit_code = 1


def gradients_are_finite(module: LightningModule) -> bool:
    """Return whether an optimiser may take its step; single steps of 16-mixed are left to its loss scale."""
    scaler = getattr(module.trainer.precision_plugin, "scaler", None)
    if scaler is not None:
        return bool(scaler.get_scale() > SMALLEST_SCALE)
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return not gradients or bool(torch.nn.utils.get_total_norm(gradients, math.inf).isfinite())


def weights_are_finite(module: LightningModule) -> bool:
    """Return whether what is trained is finite; a buffer may be anything before training has set it."""
    return all(bool(value.isfinite().all()) for value in module.parameters() if value.requires_grad)


def require_finite(trainer: Trainer, what: str, is_finite: bool) -> None:
    """Stop training on all processes where something is not finite on one of them; collective.

    Raises:
        TrainingDivergedError: It is not.
    """
    if not trainer.strategy.reduce_boolean_decision(is_finite):
        raise diverged(trainer, what)


def diverged(trainer: Trainer, what: str) -> TrainingDivergedError:
    """Return the error that names step, learning rate, precision and the last checkpoint."""
    rates = sorted({group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups})
    paths = ("last_model_path", "best_model_path")
    keepers = [each for each in trainer.checkpoint_callbacks if not getattr(each, "save_weights_only", False)]
    names = [getattr(callback, path, "") for callback in keepers for path in paths]
    last = next((name for name in [*names, trainer.ckpt_path] if name and Path(name).is_file()), None)
    return TrainingDivergedError(
        f"training has diverged: {what} are not finite after {trainer.global_step} steps (learning rate "
        f"{', '.join(f'{rate:g}' for rate in rates)}, precision {trainer.precision}); "
        + (f"the last good checkpoint is {last}" if last else "there is no checkpoint before it"),
        hint="a smaller learning rate, --trainer.gradient_clip_val 1, or --trainer.precision bf16-mixed or 32"
        + (f"; --ckpt_path {last} goes on from there" if last else ""),
    )
