"""Training FPDM's refiner."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import PairBatch
from pgpis.methods.fpdm.options import FPDMSampling
from pgpis.methods.fpdm.refiner import SourceRefiner, refiner_inputs
from pgpis.methods.fpdm.task import FPDMTask
from pgpis.tasks.options import Schedule
from pgpis.tasks.refining import RefinerTraining


class SourceRefinerTask(RefinerTraining, FPDMTask):
    """Trains :class:`SourceRefiner` at the end of a pipeline of FPDM, all of which is frozen; exports both.

    What it corrects is drawn by the pipeline itself, as ``sampling`` says: the *drafts*.

    Args:
        pipeline: Pipeline folder, hub id, bundle or shipped model; a refiner of its own is trained on.
        drafts: Folder in which drafts are kept, so that each pair is drawn once; null: in each epoch. A draft is of a
            pair's content, the weights and the settings.
        channels: See the net; of a new refiner.
        source_channels: Likewise.
        sampling: How drafts are drawn, and pictures in ``test`` and ``predict``.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.

    Raises:
        PgpisError: A pipeline or settings with which there is nothing to refine.
    """

    refiner: SourceRefiner | None

    def __init__(
        self,
        pipeline: str,
        drafts: str | None = None,
        channels: tuple[int, ...] = (24, 48, 96, 128),
        source_channels: tuple[int, ...] = (16, 32, 64),
        sampling: FPDMSampling = FPDMSampling(),
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(
            sampling, pipeline=pipeline, source_detour=False, optimizer=optimizer, schedule=schedule, seed=seed
        )
        self.train_refiner(SourceRefiner(tuple(channels), tuple(source_channels)), drafts)

    def refined(self, drafts: torch.Tensor, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return refined drafts, and the patches that were found."""
        assert self.refiner is not None
        return self.refiner.find(*refiner_inputs(drafts, batch))
