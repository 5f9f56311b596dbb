"""``pgpis predict --runner ray``: each batch of pairs is drawn by an actor of a cluster, whose records come back."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision, Precision

from pgpis.cluster import Shared, crew
from pgpis.data import PoseTransferDataModule
from pgpis.data.pair import Pair
from pgpis.errors import PgpisError
from pgpis.jobs import meter, parts
from pgpis.pictures.drawing import DRAWING
from pgpis.predictions import PredictionFolder, PredictionRecord
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.predicting import PictureTask


def refuse_for_actors(task: DiffusionTask, trainer: Any) -> None:
    """Refuse what a trainer would do, by its settings, and actors do not.

    Raises:
        PgpisError: Names the option.
    """
    if task.sampling.video.anchor:
        message = "sampling.video.anchor draws the first frame along, which actors of --runner ray do not have"
        raise PgpisError(message, hint="leave one of them out")
    usual = {"devices": "auto 1", "num_nodes": "1", "strategy": "auto", "limit_predict_batches": "None"}
    for name, values in usual.items():
        if str(getattr(trainer, name)) not in values.split():
            message = f"--trainer.{name} {getattr(trainer, name)} would do nothing with --runner ray"
            raise PgpisError(message, hint="leave it out; --workers says how many actors there are")


@dataclass(frozen=True)
class Drawing:
    """Everything that draws pairs, as a Trainer of one process would."""

    task: PictureTask
    """In evaluation mode."""
    data: PoseTransferDataModule
    """Without pairs."""
    folder: PredictionFolder
    precision: Precision
    device: str
    """Where actors draw."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in an actor: what the task knows of its process does not travel."""
        self.__dict__.update(state)
        self.task.data = self.data
        self.task.to(self.device)
        if isinstance(self.task, DiffusionTask):
            self.task.save_memory_or_time(self.task.step)
        if isinstance(self.precision, MixedPrecision):
            self.precision.device = self.device

    def draw(self, pairs: Sequence[Pair]) -> list[PredictionRecord]:
        """Draw one batch of pairs, and write their pictures."""
        self.data.predict = self.data.dataset("predict").with_pairs(pairs)
        batch: Any = move_data_to_device(next(iter(self.data.predict_dataloader())), self.task.device)
        with torch.inference_mode(), self.precision.predict_step_context():
            predictions = self.task.predict_step(batch, 0)
        return self.folder.write(predictions, batch)


def draw_with(drawing: Shared[Drawing], pairs: Sequence[Pair]) -> list[PredictionRecord]:
    """Draw one batch of pairs in an actor, which has loaded the model with its first one."""
    return drawing.get().draw(pairs)


def predict_on_ray(
    task: PictureTask,
    data: PoseTransferDataModule,
    folder: PredictionFolder,
    trainer: Trainer,
    actors: int | None,
    accelerator: str,
) -> None:
    """Draw the pairs that are not finished on the cluster that ``RAY_ADDRESS`` names, or on one of this machine.

    Args:
        task: Its weights are those that draw.
        data: Its batches are the units of work: the last bits of pictures depend on them.
        folder: Where to write to.
        trainer: Has read the weights.
        actors: How many at most; None: as many as the cluster has GPUs or, without GPUs, cores.
        accelerator: ``cpu`` leaves GPUs alone.

    Raises:
        PgpisError: There is no cluster, or nothing more can be written.
        Stopped: By a signal, after the batches in hand.
    """
    pairs, unfinished = data.dataset("predict").pairs, data.unfinished()
    if not unfinished:
        folder.close()
        return
    per_pair, size = task.sampling.images_per_pair, data.eval_batch_size
    numbers = parts(unfinished, size)
    batches: Iterator[list[Pair]] = ([pairs[index] for index in batch] for batch in numbers)
    offloads = task.sampling.offload != "none"
    device = "cpu" if accelerator == "cpu" and not offloads else "auto"
    with crew(actors, len(numbers), device) as hired, meter("drawing", len(unfinished) * per_pair) as advance:
        if offloads and hired.device == "cpu":
            raise PgpisError("sampling.offload lends weights to GPUs, and the cluster has none", hint="--offload none")
        drawing = Shared(_drawing(task, data, folder, trainer.precision_plugin, hired.device))
        for batch, future in hired.done(functools.partial(draw_with, drawing), batches):
            try:
                folder.add(future.result())
            except BrokenExecutor as error:  # this batch ends whoever draws it
                folder.add([PredictionRecord.failed(pair.pair_id, str(error)) for pair in batch])
            advance(len(batch) * per_pair)
    folder.close()


def _drawing(
    task: PictureTask, data: PoseTransferDataModule, folder: PredictionFolder, precision: Precision, device: str
) -> Drawing:
    sent = copy.copy(task).eval()
    sent.on_denoising_step = None  # shows the steps of a Trainer
    without_pairs = PoseTransferDataModule(
        predict=data.dataset("predict").with_pairs(()),
        eval_batch_size=data.eval_batch_size,
        num_workers=0,
        input_specs=data.input_specs,
        **{name: getattr(data, name) for name in DRAWING},
    )
    if task.sampling.offload != "none":
        device = "cpu"  # the pipeline lends its parts
    return Drawing(sent, without_pairs, folder, precision, device)
