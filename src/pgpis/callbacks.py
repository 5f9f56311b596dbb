"""Lightning callbacks: sample grids, throughput, export of the trained model."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from pgpis.batch import PairBatch
from pgpis.predictions import PredictionWriter
from pgpis.tasks.base import PersonImageTask

__all__ = ["ExportModel", "PredictionWriter", "SampleGrid", "Throughput"]

log = logging.getLogger(__name__)


class SampleGrid(Callback):
    """Draws source | pose | target | result of the first validation pairs to TensorBoard at each validation.

    Args:
        pairs: Rows of the grid.
    """

    def __init__(self, pairs: int = 4) -> None:
        self.pairs = pairs

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
        if batch_idx or dataloader_idx or trainer.sanity_checking or not len(batch["index"]):
            return
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        assert isinstance(pl_module, PersonImageTask)
        grid = pl_module.sample_grid(batch, self.pairs)
        if grid is not None:
            trainer.logger.experiment.add_image(
                "samples", (grid.float().cpu() / 2 + 0.5).clamp(0, 1), trainer.global_step
            )


class Throughput(Callback):
    """Logs ``train/pairs_per_second`` over the batches since the last logging step."""

    def __init__(self) -> None:
        self._pairs = 0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock after validation and data set-up."""
        self._pairs, self._since = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Count pairs; log and restart at each logging step."""
        self._pairs += len(batch["index"]) * trainer.world_size
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:
            now = time.perf_counter()
            pl_module.log("train/pairs_per_second", self._pairs / (now - self._since), batch_size=1)
            self._pairs, self._since = 0, now


class ExportModel(Callback):
    """Writes the trained model to ``default_root_dir`` in the form that ``from_pretrained`` reads when fit ends."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export on the main process."""
        assert isinstance(pl_module, PersonImageTask)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            with torch.no_grad():
                log.info("exported: %s", pl_module.export(str(Path(trainer.default_root_dir))))
