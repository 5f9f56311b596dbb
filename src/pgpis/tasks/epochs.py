"""Warm-up and decay in epochs, which have more or fewer steps where a run goes on with batches of another size."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from lightning.pytorch import Trainer

from pgpis.tasks.options import Schedule


class EpochFactor:
    """Tells ``LambdaLR`` the factor on the learning rate of a step.

    Args:
        schedule: What counts epochs.
    """

    __slots__ = ("__dict__", "_schedule")  # LambdaLR keeps in checkpoints what is in __dict__

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.steps_per_epoch = 0
        self.ahead = 0

    @property
    def constants(self) -> dict[str, Any]:
        """What the recipe says, by name."""
        return asdict(self._schedule)

    def __call__(self, step: int) -> float:
        """Return the factor of a step of the optimiser, counted from 0 over all runs."""
        return self._schedule.factor(step + self.ahead, max(1, self.steps_per_epoch))

    def count(self, batches: int, trainer: Trainer) -> None:
        """Count the steps of epochs of so many ``batches``, from the place in the epoch where training is."""
        limit, window = trainer.limit_train_batches, trainer.accumulate_grad_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        steps = max(1, math.ceil(batches / window))
        if self.steps_per_epoch not in (0, steps) and trainer.global_step:
            epochs, begun = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress.current
            self.ahead = epochs.processed * steps + begun.processed // window - trainer.global_step
        self.steps_per_epoch = steps
