"""Lets a Trainer write what ``pgpis predict`` makes, and stop where nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from pgpis.batch import PairBatch
from pgpis.interrupts import Stopped, StopRequest, held
from pgpis.predictions.folder import PredictionFolder
from pgpis.predictions.records import Prediction

SECONDS_TO_STOP = 60.0
"""What the other processes have for their last batch."""


class PredictionWriter(BasePredictionWriter):
    """Writes each picture as soon as it is made, and one record per picture.

    Every process adds to a table of its own; the main process merges them at the end. Ctrl-C and SIGTERM wait for the
    pictures of the batch in hand.

    Args:
        folder: Where to write to.
    """

    def __init__(self, folder: PredictionFolder) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self._stack = ExitStack()
        self._request = StopRequest()

    def begin(
        self, trainer: Trainer, weights: Callable[[], Mapping[str, str]], fingerprint_of: Callable[[str], str | None]
    ) -> set[str]:
        """Find out which pairs are done; collective, see :meth:`PredictionFolder.begin`.

        Args:
            trainer: The trainer.
            weights: Returns what identifies the model's parts; called once the weights are loaded.
            fingerprint_of: See there.
        """
        folder, finished = self.folder, set[str]()
        if trainer.is_global_zero:
            finished = folder.begin(weights(), fingerprint_of)
        state = (folder.settings, folder.digest, finished)
        folder.settings, folder.digest, finished = trainer.strategy.broadcast(state)
        return finished

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait for the batch in hand."""
        self._request = self._stack.enter_context(held())

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Prediction],
        batch_indices: Sequence[int] | None,
        batch: PairBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the pictures of one batch, then their records."""
        self.folder.add(self.folder.write(prediction, batch), trainer.global_rank)
        self._request.obey()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the records of all processes."""
        self._stack.close()
        trainer.strategy.barrier("predictions written")
        if trainer.is_global_zero:
            self.folder.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the other processes along; what was asked for by signal is not a failure.

        Raises:
            Stopped: A signal came, which may have ended a process that loads pairs.
        """
        self._stack.close()
        launcher = trainer.strategy.launcher
        if launcher is not None and trainer.is_global_zero:
            if isinstance(exception, Stopped):
                launcher.kill(signal.SIGTERM)
                _wait_for(getattr(launcher, "procs", ()))
            launcher.kill(signal.SIGKILL)
        if isinstance(exception, Exception) and self._request.signum is not None:
            raise Stopped(self._request.signum) from exception


def _wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + SECONDS_TO_STOP
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
