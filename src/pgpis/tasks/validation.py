"""Means of a validation over the pairs of all processes, also of those without any; the schedule that counts them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.utilities.types import LRSchedulerConfig

from pgpis.errors import PgpisError
from pgpis.tasks.ranks import gather_rows


class ValidationMeans:
    """Adds up what the batches of a process come to, until all processes put their sums together.

    Lightning puts together what each process has logged by name, and waits forever, or breaks, where one of them has
    logged nothing.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}

    def add(self, values: Mapping[str, torch.Tensor], weight: int) -> None:
        """Add the means of a batch of ``weight`` pairs."""
        for name, value in values.items():
            exact = value.detach().to(torch.promote_types(value.dtype, torch.float32))
            total, weights = self._sums.get(name, (torch.zeros_like(exact), 0))
            self._sums[name] = total + exact * weight, weights + weight

    def compute(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the means over the pairs of all processes, in one order on all of them; collective."""
        rows = [(name, total.cpu(), weight) for name, (total, weight) in self._sums.items()]
        sums: dict[str, tuple[torch.Tensor, int]] = {}
        for name, total, weight in gather_rows(rows):
            before, weights = sums.get(name, (torch.zeros_like(total), 0))
            sums[name] = before + total, weights + weight
        return {name: (total / weight).to(device) for name, (total, weight) in sums.items()}


def counted_in_validations(scheduler: ReduceLROnPlateau) -> dict[str, Any]:
    """Return Lightning's settings of a schedule that it keeps in checkpoints, but never steps itself."""
    return {"scheduler": scheduler, "monitor": scheduler.monitor, "reduce_on_plateau": False, "frequency": sys.maxsize}


def step_after_validation(trainer: Trainer, own: Mapping[str, torch.Tensor]) -> None:
    """Step ``ReduceLROnPlateau`` after a validation of training, of which ``own`` are the means; collective.

    It does not wait for the checkpoint that follows a validation. Where no pair could be read, which has been told, the
    value of an earlier validation does not count again.

    Raises:
        PgpisError: What it monitors is not logged.
    """
    if not trainer.validating or trainer.state.fn != "fit":  # the sanity check, or the verb
        return
    for config in _plateaus(trainer):
        name = str(config.monitor)
        if name in own or not name.startswith("val/"):
            _step(config, trainer, trainer.callback_metrics)
        elif own:
            _step(config, trainer, own)


def step_without_validation(trainer: Trainer) -> None:
    """Step it at the end of an epoch that should have ended with a validation but has nothing to validate; likewise."""
    due = trainer.fit_loop.epoch_loop._should_check_val_epoch()  # noqa: SLF001  Lightning tells it nowhere else
    if epoch_is_whole(trainer) and (not trainer.enable_validation or (due and not any(trainer.num_val_batches))):
        for config in _plateaus(trainer):
            _step(config, trainer, trainer.callback_metrics)


def epoch_is_whole(trainer: Trainer) -> bool:
    """Return, at the end of an epoch, whether it is one: Lightning also ends one that is cut, as by ``max_steps``."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()  # noqa: SLF001


def _plateaus(trainer: Trainer) -> list[LRSchedulerConfig]:
    return [config for config in trainer.lr_scheduler_configs if isinstance(config.scheduler, ReduceLROnPlateau)]


def _step(config: LRSchedulerConfig, trainer: Trainer, logged: Mapping[str, torch.Tensor]) -> None:
    """Step by the mean over all processes, so that their learning rates stay equal."""
    if (value := logged.get(str(config.monitor))) is None:
        message = f"schedule.lr_scheduler: ReduceLROnPlateau monitors '{config.monitor}', which is not logged"
        raise PgpisError(message, hint=f"monitor: one of {', '.join(sorted(logged))}")
    config.scheduler.step(float(trainer.strategy.reduce(value.clone(), reduce_op="mean")))
