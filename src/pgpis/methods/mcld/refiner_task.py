"""Training the refiner: on pictures that a trained MCLD makes of training pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics.functional.image import structural_similarity_index_measure

from pgpis.batch import FrozenFeature, ImageSpec, PairBatch
from pgpis.errors import PgpisError
from pgpis.files import file_name
from pgpis.methods.mcld.losses import face_region
from pgpis.methods.mcld.options import MCLDSampling, MCLDStep
from pgpis.methods.mcld.refiner import Refiner
from pgpis.methods.mcld.task import MCLDTask
from pgpis.metrics.image import to_uint8
from pgpis.pictures.images import image_to_tensor, read_image, save_image
from pgpis.tasks.base import stable_seed
from pgpis.tasks.options import Schedule

FACE = 2.0
"""By how much more an error of the head counts."""
STRUCTURE = 0.15
"""Weight of the structural dissimilarity."""


class RefinerTask(MCLDTask):
    """Trains :class:`Refiner` at the end of a pipeline of MCLD, all of which is frozen; exports both.

    What it corrects is drawn by the pipeline itself, as ``sampling`` says: the *drafts*.

    Args:
        pipeline: Pipeline folder, hub id, bundle or shipped model, with ``rendered_texture``; a refiner of its own is
            trained on.
        drafts: Folder in which drafts are kept, so that each pair is drawn once; null: in each epoch. A draft is of a
            pair's content, the weights and the settings.
        channels: See the net; of a new refiner.
        sampling: How drafts are drawn, and pictures in ``test`` and ``predict``.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling.

    Raises:
        PgpisError: A pipeline or settings with which there is nothing to refine.
    """

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
        if not sampling.refine:
            message = "sampling.refine is false, and the pipeline would be exported without what is trained here"
            raise PgpisError(message, hint="leave it out")
        if self.refiner is None:
            self.refiner = Refiner(tuple(channels))
        self.refiner.requires_grad_(True).to(memory_format=torch.channels_last)
        whole = [name for name, part in self.named_children() if part is not self.refiner]
        self.frozen = ()
        self.freeze(*whole)
        self.drafts = None if drafts is None else Path(drafts)
        self._drafts_of: Path | None = None

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Nothing is cached but ``drafts``."""
        return {}

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compare refined drafts with the targets: absolute error, the head's counted more, and structure."""
        rendered = self.conditioner.render(batch)
        assert rendered is not None
        assert self.refiner is not None
        target, iuv = batch["target_image"], batch["pose_image"]
        refined = self.refiner(self.draft(batch), *rendered, iuv)
        weights = 1 + FACE * face_region(iuv, *iuv.shape[-2:])
        l1 = ((refined - target).abs() * weights).mean()
        with torch.autocast(refined.device.type, enabled=False):  # variances are small differences of large numbers
            similarity: Any = structural_similarity_index_measure(refined.float(), target.float(), data_range=2.0)
        return {"loss": l1 + STRUCTURE * (1 - similarity), "l1": l1, "ssim": similarity}

    @torch.no_grad()
    def draft(self, batch: PairBatch) -> torch.Tensor:
        """Return what the pipeline makes of B pairs without the refiner, as on disk, ``(B, 3, H, W)`` in [-1, 1]."""
        names = batch["pair_id"]
        drafts: dict[str, torch.Tensor] = {}
        files = {} if self.drafts is None else {name: self._file(batch, row) for row, name in enumerate(names)}
        for name, file in files.items():
            if file.is_file():
                drafts[name] = image_to_tensor(read_image(file)).to(self.device)
        rows = [row for row, name in enumerate(names) if name not in drafts]
        if rows:
            entries: dict[str, Any] = dict(batch)
            left: Any = {key: value[rows] for key, value in entries.items() if isinstance(value, torch.Tensor)}
            pipeline: Any = self.build_pipeline()
            pipeline.register_modules(refiner=None)
            images = pipeline.sample(
                left,
                self.sampling.scales,
                num_inference_steps=self.sampling.num_inference_steps,
                generator=[torch.Generator().manual_seed(self.picture_seed(names[row], 0)) for row in rows],
                output_type="pil",
                **self.sampling.shortcuts,
            ).images
            for row, image in zip(rows, images, strict=True):
                drafts[names[row]] = image_to_tensor(image).to(self.device)
                if names[row] in files:
                    save_image(image, files[names[row]])
        return torch.stack([drafts[name] for name in names])

    def _file(self, batch: PairBatch, row: int) -> Path:
        """Return where the draft of a pair is kept: another data set may have pairs of the same names."""
        entries: dict[str, Any] = dict(batch)
        digest = hashlib.sha256()
        for key, spec in sorted(self.input_specs.items()):
            if spec.origin != "target":
                value = entries[key][[row]]
                value = to_uint8(value) if isinstance(spec, ImageSpec) else value
                digest.update(value.cpu().contiguous().numpy().data)
        return self._folder() / file_name(f"{batch['pair_id'][row]}-{digest.hexdigest()[:16]}", ".png")

    def _folder(self) -> Path:
        """Return the folder of these drafts, by what determines them."""
        assert self.drafts is not None
        if self._drafts_of is None:
            settings = {key: value for key, value in self.prediction_settings().items() if key != "pipeline"}
            weights = {name: value for name, value in self.prediction_weights().items() if name != "refiner"}
            self._drafts_of = self.drafts / f"{stable_seed(settings, weights):016x}"
        return self._drafts_of
