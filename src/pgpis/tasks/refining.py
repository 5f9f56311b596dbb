"""Training the net at the end of a pipeline: on pictures that the pipeline makes of training pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from pgpis.batch import FURTHER, FrozenFeature, ImageSpec, InputSpecs, PairBatch
from pgpis.errors import PgpisError
from pgpis.files import file_name
from pgpis.metrics.image import to_uint8
from pgpis.pictures.images import image_to_tensor, read_image, save_image
from pgpis.tasks.diffusion import DiffusionTask
from pgpis.tasks.memory import tiled
from pgpis.tasks.seeds import stable_seed

STRUCTURE = 0.15
"""Weight of the structural dissimilarity."""
FOUND = 0.3
"""Weight of the error of what was found in the source: without it, a net learns late where to look."""


class RefinerTraining(DiffusionTask):
    """Base of tasks that train the ``refiner`` of a method's pipeline, all else of which is frozen, and export both.

    What it corrects is drawn by the pipeline itself, as ``sampling`` says: the *drafts*. A method's task inherits from
    this and from its own, calls :meth:`train_refiner` at the end of its construction, and says how refined drafts are
    computed (:meth:`refined`).
    """

    refiner: nn.Module | None
    drafts: Path | None = None
    _drafts_of: Path | None = None

    def train_refiner(self, new: nn.Module, drafts: str | None) -> None:
        """Train the pipeline's refiner on, or a new one where it has none; keep drafts in a folder, if one is named.

        Raises:
            PgpisError: Settings that leave out of the export what is trained.
        """
        if not self.sampling.refine:
            message = "sampling.refine is false, and the pipeline would be exported without what is trained here"
            raise PgpisError(message, hint="leave it out")
        if self.sampling.video.settings:
            options = ", ".join(f"sampling.video.{name}" for name in self.sampling.video.settings)
            raise PgpisError(f"{options}: drafts are drawn pair by pair, not as films", hint="leave it out")
        if self.refiner is None:
            self.refiner = new
        self.refiner.requires_grad_(True).to(memory_format=torch.channels_last)
        whole = [name for name, part in self.named_children() if part is not self.refiner]
        self.frozen = ()
        self.freeze(*whole)
        self.drafts = None if drafts is None else Path(drafts)

    def refined(self, drafts: torch.Tensor, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return refined drafts and, of nets that look the source up, pictures of what was found; ``(B, 3, H, W)``."""
        raise NotImplementedError

    def weights(self, batch: PairBatch) -> torch.Tensor | None:
        """Return by how much the errors of pixels count, ``(B, 1, H, W)``; None: all the same."""
        return None

    @property
    def loss_specs(self) -> InputSpecs:
        """All but what is read to score pictures: the net that finishes them is trained."""
        return {key: spec for key, spec in self.input_specs.items() if key not in self.truth_specs}

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Nothing is cached but ``drafts``."""
        return {}

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compare refined drafts with the targets: weighted absolute error, structure, and what was found."""
        target, weights = batch["target_image"], self.weights(batch)
        refined, found = self.refined(self.draft(batch), batch)
        error = (refined - target).abs()
        l1 = (error if weights is None else error * weights).mean()
        with torch.autocast(refined.device.type, enabled=False):  # variances are small differences of large numbers
            similarity: Any = structural_similarity_index_measure(refined.float(), target.float(), data_range=2.0)
        losses = {"loss": l1 + STRUCTURE * (1 - similarity), "l1": l1, "ssim": similarity}
        if found is not None:
            losses["found"] = (found - target).abs().mean()
            losses["loss"] = losses["loss"] + FOUND * losses["found"]
        return losses

    @torch.no_grad()
    def draft(self, batch: PairBatch) -> torch.Tensor:
        """Return what the pipeline makes of B pairs without the refiner, as on disk, ``(B, 3, H, W)`` in [-1, 1]."""
        names = batch["pair_id"]
        drafts: dict[int, torch.Tensor] = {}
        files = {} if self.drafts is None else {row: self._file(batch, row) for row in range(len(names))}
        for row, file in files.items():
            if file.is_file():
                drafts[row] = image_to_tensor(read_image(file)).to(self.device)
        rows = [row for row in range(len(names)) if row not in drafts]
        if rows:
            entries: dict[str, Any] = dict(batch)
            left: Any = {key: value[rows] for key, value in entries.items() if isinstance(value, torch.Tensor)}
            pipeline: Any = self.build_pipeline()
            pipeline.register_modules(refiner=None)
            with tiled(pipeline.vae, self.sampling.tiled_size):
                images = pipeline.generate(
                    left,
                    **self.sampling.scales,
                    num_inference_steps=self.sampling.num_inference_steps,
                    generator=[torch.Generator().manual_seed(self.picture_seed(names[row], 0)) for row in rows],
                    output_type="pil",
                    **self.sampling.shortcuts,
                ).images
            for row, image in zip(rows, images, strict=True):
                drafts[row] = image_to_tensor(image).to(self.device)
                if row in files:
                    save_image(image, files[row])
        return torch.stack([drafts[row] for row in range(len(names))])

    def _file(self, batch: PairBatch, row: int) -> Path:
        """Return where the draft of a pair is kept: another data set may have pairs of the same names."""
        entries: dict[str, Any] = dict(batch)
        further = int(entries["source_count"][row]) - 1 if "source_count" in entries else 0
        digest = hashlib.sha256()
        for key, spec in sorted(self.input_specs.items()):
            values = [] if spec.origin == "target" else [entries[key][[row]]]
            if further and FURTHER + key in entries:
                values.append(entries[FURTHER + key][row, :further])
            for value in values:
                content = to_uint8(value) if isinstance(spec, ImageSpec) else value
                digest.update(content.cpu().contiguous().numpy().data)
        return self._folder() / file_name(f"{batch['pair_id'][row]}-{digest.hexdigest()[:16]}", ".png")

    def _folder(self) -> Path:
        """Return the folder of these drafts, by what determines them."""
        assert self.drafts is not None
        if self._drafts_of is None:
            settings = {key: value for key, value in self.prediction_settings().items() if key != "pipeline"}
            if self._trainer is not None and self._trainer.precision != "32-true":
                settings["precision"] = self._trainer.precision
            weights = {name: value for name, value in self.prediction_weights().items() if name != "refiner"}
            self._drafts_of = self.drafts / f"{stable_seed(settings, weights):016x}"
        return self._drafts_of
