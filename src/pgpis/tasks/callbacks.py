"""Lightning callbacks: sample grids, throughput, progress, the stop that a signal asks for, export of the model."""

from __future__ import annotations

import logging
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.parsing import lightning_hasattr

from pgpis.batch import PairBatch
from pgpis.errors import PgpisError, check_range
from pgpis.interrupts import Stopped, StopRequest
from pgpis.pictures.images import tensor_to_images
from pgpis.predictions import PredictionWriter
from pgpis.tasks.averaging import take_average
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.finite import diverged, weights_are_finite
from pgpis.tasks.predicting import PictureTask
from pgpis.tasks.validation import epoch_is_whole

__all__ = [
    "ExportModel",
    "PredictionWriter",
    "ProgressBar",
    "SampleGrid",
    "StopOnSignal",
    "Throughput",
    "count_whole_epochs",
    "do_without_loggers",
    "refuse_strangers",
]

log = logging.getLogger(__name__)


class SampleGrid(Callback):
    """Draws source | pose | target | result of the first validation pairs at each validation.

    With ``step.flow_loss`` a second grid, ``flow``, shows what the attention to the reference fetches. All goes to
    every logger that takes pictures: TensorBoard, and those with ``log_image`` (Weights & Biases, ...).

    Args:
        pairs: Rows of the grid.

    Raises:
        PgpisError: ``pairs`` is less than 1.
    """

    def __init__(self, pairs: int = 4) -> None:
        check_range("SampleGrid's pairs", pairs, 1, whole=True)
        self.pairs = pairs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the loggers that get no grid."""
        for logger in trainer.loggers:
            if not _takes_pictures(logger) and trainer.is_global_zero:
                log.info("SampleGrid: %s takes no pictures; TensorBoardLogger does", type(logger).__name__)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: PairBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the grid once per validation, on the main process."""
        loggers: list[Any] = [logger for logger in trainer.loggers if _takes_pictures(logger)]
        if not loggers or batch_idx or dataloader_idx or trainer.sanity_checking or not len(batch["index"]):
            return
        assert isinstance(pl_module, PersonImageTask)
        grids = {"samples": pl_module.sample_grid(batch, self.pairs), "flow": pl_module.flow_grid(batch, self.pairs)}
        for name, drawn in grids.items():
            if drawn is None:
                continue
            grid = drawn.float().nan_to_num(-1.0, -1.0, -1.0)  # black, also where a logger would refuse it
            for logger in loggers:
                if isinstance(logger, TensorBoardLogger):
                    picture = (grid.cpu() / 2 + 0.5).clamp(0, 1)
                    logger.experiment.add_image(name, picture, trainer.global_step)
                else:
                    logger.log_image(key=name, images=tensor_to_images(grid[None]), step=trainer.global_step)


def _takes_pictures(logger: Logger) -> bool:
    return isinstance(logger, TensorBoardLogger) or hasattr(logger, "log_image")


class StopOnSignal(Callback):
    """Saves a checkpoint and ends training when a signal, as Ctrl-C, asked for it.

    It waits until nothing is under way that a checkpoint does not hold: for the end of an optimiser's step, also from a
    validation within one, as gradients that are being accumulated are in none; for a validation that is due; and, at
    the end of an epoch, for the first step of the next, as others rate an epoch after its validation. It belongs behind
    all other callbacks, so that theirs of the same step are done. A training that ends meanwhile has ended.

    Args:
        request: What a signal asked for.
        command: What was run.
    """

    def __init__(self, request: StopRequest, command: Sequence[str]) -> None:
        self.request = request
        self.command = command
        self._takes_sigterm = signal.getsignal(signal.SIGTERM) == request.note

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, which would end the run with exit code 0 after any batch."""
        if self._takes_sigterm:
            signal.signal(signal.SIGTERM, self.request.note)

    on_train_start = on_sanity_check_start

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Stop between two steps, where nothing else follows the first."""
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher  # noqa: SLF001  told nowhere else
        assert fetcher is not None
        if not loop._should_accumulate():  # noqa: SLF001
            follows = loop._is_training_done or loop._should_check_val_fx(fetcher)  # noqa: SLF001
            self._obey(trainer, at_rest=_has_one_step(trainer) or not follows)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after a validation: a run that goes on from the middle of one does not repeat the uninterrupted one."""
        loop = trainer.fit_loop.epoch_loop
        follows = loop._should_accumulate() or (loop._is_training_done and not _has_one_step(trainer))  # noqa: SLF001
        if trainer.sanity_checking or not follows:
            self._obey(trainer)

    def _obey(self, trainer: Trainer, *, at_rest: bool = True) -> None:
        """Stop on all processes when one of them was asked to and all are at rest; collective.

        A validation that is due by the clock may be due on some of them alone.
        """
        agree = trainer.strategy.reduce_boolean_decision
        if not (agree(self.request.signum is not None, all=False) and agree(at_rest, all=True)):
            return
        callback, command = _keeper(trainer), None
        if callback is not None and not trainer.sanity_checking and not trainer.fast_dev_run:
            callback.save_last, callback.save_weights_only = True, False  # as a file of its own, not as a link
            metrics = callback._monitor_candidates(trainer)  # noqa: SLF001  keeps its own record of what is the last
            callback._save_last_checkpoint(trainer, metrics)  # noqa: SLF001
            command = self._going_on_with(callback.last_model_path)
        raise Stopped(self.request.signum or signal.SIGTERM, command)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Name the last checkpoint of this run where a second Ctrl-C did not wait for another."""
        callback = _keeper(trainer)
        if callback is None or callback.save_weights_only:
            return
        if isinstance(exception, Stopped) and exception.command is None:
            last = callback.last_model_path if callback._last_checkpoint_saved else ""  # noqa: SLF001  of no earlier run
            if last and Path(last).exists():
                exception.command = self._going_on_with(last)

    def _going_on_with(self, checkpoint: str) -> str:
        return shlex.join([*self.command, "--ckpt_path", checkpoint])  # the last one given counts


def _keeper(trainer: Trainer) -> ModelCheckpoint | None:
    """Return the callback that keeps checkpoints, one that keeps whole ones before one of weights alone."""
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    return min(keepers, key=lambda callback: callback.save_weights_only, default=None)


def _has_one_step(trainer: Trainer) -> bool:
    """Return whether every step of an epoch is its last."""
    return trainer.num_training_batches <= trainer.accumulate_grad_batches


class ProgressBar(RichProgressBar):
    """Lightning's bar, which also shows the denoising step and no last epoch where there is none."""

    def _get_train_description(self, current_epoch: int) -> str:
        description = super()._get_train_description(current_epoch)
        return f"Epoch {current_epoch}" if self.trainer.max_epochs == -1 else description

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask the model for its denoising steps."""
        super().setup(trainer, pl_module, stage)
        if stage in ("test", "predict") and isinstance(pl_module, PictureTask) and self.is_enabled:
            pl_module.on_denoising_step = self._show_step

    def _show_step(self, step: int, steps: int, _latents: torch.Tensor) -> None:
        task = self.test_progress_bar_id if self.trainer.testing else self.predict_progress_bar_id
        name = self.test_description if self.trainer.testing else self.predict_description
        if self.progress is not None and task is not None:
            self.progress.update(task, description=f"{name}, step {step}/{steps}")
            self.refresh()


class Throughput(Callback):
    """Logs ``train/pairs_per_second`` since the last logging step, without the time of validations."""

    def __init__(self) -> None:
        self._pairs = 0
        self._seconds = self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, also for a run that goes on in the middle of an epoch, which starts none."""
        self._pairs, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on after validation and data set-up."""
        self._since = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._seconds += time.perf_counter() - self._since

    on_validation_start = on_train_epoch_end

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Count pairs; log and restart at each logging step of the trainer, which counts steps over all epochs."""
        self._pairs += len(batch["index"]) * trainer.world_size
        accumulates = trainer.fit_loop._should_accumulate()  # noqa: SLF001  told nowhere else
        if trainer._logger_connector.should_update_logs and not accumulates:  # noqa: SLF001  likewise
            self.on_train_epoch_end(trainer, pl_module)
            pl_module.log("train/pairs_per_second", self._pairs / self._seconds, batch_size=1)
            self.on_train_start(trainer, pl_module)


class ExportModel(Callback):
    """Writes the trained model to ``default_root_dir`` in the form that ``from_pretrained`` reads when fit ends."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export on the main process."""
        assert isinstance(pl_module, PersonImageTask)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            take_average(trainer, pl_module)
            if not weights_are_finite(pl_module):
                raise diverged(trainer, "the weights")
            log.info("exported: %s", pl_module.export(str(Path(trainer.default_root_dir))))


def refuse_strangers(trainer: Trainer, module: LightningModule) -> None:
    """Refuse Lightning's callbacks that look for what a model does not have.

    Raises:
        PgpisError: Names one, and what does instead.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, BackboneFinetuning) and not hasattr(module, "backbone"):
            message = (
                f"{type(callback).__name__}: it thaws the 'backbone' of a model, and {type(module).__name__} has none"
            )
            raise PgpisError(
                f"trainer.callbacks: {message}", hint="leave it out: a task freezes what it does not train"
            )
        if isinstance(callback, LearningRateFinder) and callback._update_attr:  # noqa: SLF001
            names = (callback._attr_name,) if callback._attr_name else ("lr", "learning_rate")  # noqa: SLF001
            if not any(lightning_hasattr(module, name) for name in names):
                message = f"{type(callback).__name__}: it sets '{names[0]}' of a model, and a task's is its optimiser's"
                hint = "leave it out, and compare short runs with --model.init_args.optimizer.init_args.lr"
                raise PgpisError(f"trainer.callbacks: {message}", hint=hint)


def do_without_loggers(trainer: Trainer) -> None:
    """Leave out what logs and nothing else, where there is no logger: Lightning would refuse to train."""
    if not trainer.loggers:
        trainer.callbacks[:] = [each for each in trainer.callbacks if not isinstance(each, LearningRateMonitor)]


def count_whole_epochs(trainer: Trainer) -> None:
    """Let patience and averages over epochs leave out an epoch that is cut: a run that goes on ends it once more."""
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping | WeightAveraging):
            callback.on_train_epoch_end = partial(_at_whole_epochs, callback.on_train_epoch_end)


def _at_whole_epochs(hook: Callable[..., None], trainer: Trainer, *arguments: Any) -> None:
    if epoch_is_whole(trainer):
        hook(trainer, *arguments)
