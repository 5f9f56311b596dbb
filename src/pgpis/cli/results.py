"""The folder of ``pgpis predict``: opened before its pairs are drawn, summed up afterwards."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightning.pytorch import Trainer

from pgpis.data import PoseTransferDataModule
from pgpis.data.pair import distinct_files
from pgpis.data.pairs import PICTURE, PairDataset
from pgpis.errors import PgpisError
from pgpis.predictions import PredictionFolder, write_videos
from pgpis.tasks.callbacks import PredictionWriter
from pgpis.tasks.predicting import PictureTask


def open_folder(
    model: PictureTask, data: PoseTransferDataModule, trainer: Trainer, ckpt_path: str | None, marking: dict[str, Any]
) -> PredictionFolder:
    """Let a trainer write pictures while they are made, and leave out the pairs that an earlier run finished.

    Args:
        model: What draws.
        data: Its pairs are read here.
        trainer: Writes to its root.
        ckpt_path: The checkpoint that it will read, for the record.
        marking: Options of :class:`PredictionFolder`.

    Raises:
        PgpisError: The folder holds other pictures, or the pairs cannot be drawn into it.
    """
    settings = model.prediction_settings() | {
        "ckpt_path": ckpt_path,
        "precision": trainer.precision,
        **{name: getattr(data, name) for name in model.drawing},
    }
    dataset = data.dataset("predict")
    dataset.setup()
    video = model.sampling.video
    if video.settings and not dataset.sequences():
        raise PgpisError("sampling.video: no pair is a frame of a video", hint="--driving VIDEO")
    dataset.anchored = video.anchor
    folder = PredictionFolder(trainer.default_root_dir, settings, **marking)
    model.place_in_batch = folder.like.mark.batch if folder.like else None
    folder.refuse_inputs_among_results(distinct_files(dataset.pairs))
    writer = PredictionWriter(folder)
    data.find_finished = lambda fingerprint_of: writer.begin(trainer, model.prediction_weights, fingerprint_of)
    trainer.callbacks.append(writer)
    return folder


def sum_up(folder: PredictionFolder, dataset: PairDataset) -> bool:
    """Draw the contact sheet, list failures, and make videos of their frames; return whether nothing failed."""
    sequences = {
        name: [(pair.pair_id, pair.source, pair.target) for pair in pairs]
        for name, pairs in dataset.sequences().items()
    }
    read = partial(dataset.read_file, PICTURE)
    is_whole = folder.summarise(read)
    return write_videos(folder, sequences, dataset.frames_per_second, read) and is_whole
