"""Averages of weights over training steps, as Lightning's ``EMAWeightAveraging`` keeps them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging

Average = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]


def average_exactly(trainer: Trainer) -> None:
    """Let averages leave alone what training does not change: frozen weights, and integers such as position ids.

    ``decay * w + (1 - decay) * w`` is not quite ``w``: frozen weights would drift away from those that the checkpoint
    names, and integers, which are cut off, would become other ones. Nor does the average take the place of the weights
    before a checkpoint of the end of training is written, which another run may go on from.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging):
            callback.on_train_end, callback.on_fit_end = callback.on_fit_end, callback.on_train_end
            if callback._kwargs.get("avg_fn") is not None:  # noqa: SLF001
                callback._kwargs["avg_fn"] = _where_different(callback._kwargs["avg_fn"])  # noqa: SLF001


def take_average(trainer: Trainer, module: LightningModule) -> None:
    """Put the average in the place of the weights, if there is one: a run without steps left does not by itself."""
    for callback in trainer.callbacks:
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:  # noqa: SLF001
            callback._copy_average_to_current(module)  # noqa: SLF001


def _where_different(average: Average) -> Average:
    def exact(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        return torch.where(averaged == current, current, average(averaged, current, count).to(current.dtype))

    return exact
