"""Timing training steps, as ``pgpis fit`` runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from pgpis.speed.batches import RandomData, random_batch
from pgpis.speed.device import Clock, Device, median
from pgpis.speed.report import Row
from pgpis.speed.settings import Setting
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.diffusion import DiffusionTask


class StepClock(Callback):
    """Marks the end of each training step, and keeps its loss.

    Args:
        device: Whose clock.
    """

    def __init__(self, device: Device) -> None:
        self.clock = Clock(device)
        self.losses: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set a mark."""
        self.losses.append(outputs["loss"].detach())
        self.clock.mark()
        if batch_idx == 0:
            self.clock.milliseconds()  # waits: the first step ends here
            self.first_end = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the optimiser's state, which Lightning would move to the CPU."""
        for optimizer in trainer.optimizers:
            optimizer.state.clear()


@dataclass
class TrainingBench:
    """Times the training of one task by Lightning's own loop: forward, backward, clipping, optimiser."""

    task: PersonImageTask
    """On the CPU, in float32."""
    device: Device
    make_trainer: Callable[..., Trainer]
    """Makes a trainer in a setting's precision; further arguments are the Trainer's."""
    steps: int = 8
    """Timed steps after the first two, which warm up."""

    def flops(self, setting: Setting) -> float:
        """Count the products of one pair's step, forward and backward."""
        task = setting.apply_to(self.task, self.device.torch).train()
        generator = torch.Generator(device=self.device.torch).manual_seed(0)
        _know_data(task)
        task.prepare_training()
        batch = random_batch(task.loss_specs, 1, self.device.torch, setting.sources)
        half = torch.autocast(self.device.torch.type, torch.bfloat16, enabled=self.device.is_gpu)  # to spare memory
        with half, FlopCounterMode(display=False) as counter:
            loss: Any = task.loss(batch, generator, train=True)["loss"]
            loss.backward()
        return float(counter.get_total_flops())

    def measure(self, setting: Setting, batch_size: int, row: Row) -> torch.Tensor:
        """Fill a row with times and memory; return the losses, one a step."""
        task = setting.apply_to(self.task, self.device.torch)
        _know_data(task)
        batch = random_batch(task.loss_specs, batch_size, self.device.torch, setting.sources)
        clock = StepClock(self.device)
        count = self.steps + 2
        trainer = self.make_trainer(setting, callbacks=[clock], max_steps=count, max_epochs=1)
        self.device.begin()
        with setting.products():
            start = time.perf_counter()
            batches: Any = [batch] * count
            trainer.fit(task, DataLoader(batches, batch_size=None, collate_fn=_unchanged))
        row.first_run_s = clock.first_end - start
        row.peak_memory_gib = self.device.peak_memory()
        row.steps_are_whole = not isinstance(task, DiffusionTask) or task.step.flow_loss is None  # it is of some pairs
        row.ms_per_step = median(clock.clock.milliseconds()[1:])
        row.per_second = 1e3 * batch_size / row.ms_per_step
        return torch.stack(clock.losses).double().cpu()


def _unchanged(batch: Any) -> Any:
    return batch


def _know_data(task: PersonImageTask) -> None:
    task.data = RandomData()
