"""Training MCLD's refiner."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import PairBatch
from pgpis.errors import PgpisError
from pgpis.methods.mcld.losses import face_region
from pgpis.methods.mcld.options import MCLDSampling, MCLDStep
from pgpis.methods.mcld.refiner import Refiner
from pgpis.methods.mcld.task import MCLDTask
from pgpis.tasks.options import Schedule
from pgpis.tasks.refining import RefinerTraining

FACE = 2.0
"""By how much more an error of the head counts."""


class RefinerTask(RefinerTraining, MCLDTask):
    """Trains :class:`Refiner` at the end of a pipeline of MCLD, all of which is frozen; exports both.

    What it corrects is drawn by the pipeline itself, as ``sampling`` says: the *drafts*. Errors of the head count
    threefold.

    Args:
        pipeline: Pipeline folder, hub id, bundle or shipped model, with ``rendered_texture``; a refiner of its own is
            trained on.
        drafts: Folder in which drafts are kept, so that each pair is drawn once; null: in each epoch. A draft is of a
            pair's content, the weights and the settings.
        channels: See the net; of a new refiner.
        sampling: How drafts are drawn, and pictures in ``test`` and ``predict``.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.

    Raises:
        PgpisError: A pipeline or settings with which there is nothing to refine.
    """

    refiner: Refiner | None

    def __init__(
        self,
        pipeline: str,
        drafts: str | None = None,
        channels: tuple[int, ...] = (24, 48, 96, 128),
        sampling: MCLDSampling = MCLDSampling(),
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        step = MCLDStep(clip_noise=0.0)  # no step of the denoiser is trained
        super().__init__(sampling, pipeline=pipeline, step=step, optimizer=optimizer, schedule=schedule, seed=seed)
        if not self.conditioner.config.rendered_texture:
            raise PgpisError(
                f"pipeline: '{pipeline}' was trained without rendered_texture, and a refiner has nothing to put back",
                hint="model.init_args.conditioner.rendered_texture: true in the recipe of MCLD",
            )
        self.train_refiner(Refiner(tuple(channels)), drafts)

    def refined(self, drafts: torch.Tensor, batch: PairBatch) -> tuple[torch.Tensor, None]:
        """Return refined drafts."""
        rendered = self.conditioner.render(batch)
        assert rendered is not None
        assert self.refiner is not None
        refined: torch.Tensor = self.refiner(drafts, *rendered, batch["pose_image"])
        return refined, None

    def weights(self, batch: PairBatch) -> torch.Tensor:
        """Count the head's errors more."""
        iuv = batch["pose_image"]
        return 1 + FACE * face_region(iuv, *iuv.shape[-2:])
