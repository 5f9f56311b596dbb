"""What all latent-diffusion tasks share: seeded sampling, scoring in ``test``, records in ``predict``."""

from __future__ import annotations

import hashlib
import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from PIL import Image
from torch import nn

from pgpis.batch import ImageSpec, InputSpecs, PairBatch, PairFailure
from pgpis.errors import NotFiniteError, PgpisError, check_range
from pgpis.files import file_name, meets_every_file, remove_unfinished, replacing_folder
from pgpis.metrics import to_uint8
from pgpis.models.autoencoder import Autoencoder, encode_moments
from pgpis.models.foreign import check_index, read_json
from pgpis.models.loading import LOAD_ERRORS, check_finite
from pgpis.models.weights import weights_hash
from pgpis.pictures.images import rows_not_finite, save_image, tensor_to_images
from pgpis.pipelines.base import MOST_IMAGES, MOST_PIXELS, SamplingPipeline, StepCallback
from pgpis.pipelines.bundle import load_bundle, read_index
from pgpis.pipelines.shipped import SHIPPED
from pgpis.predictions import DONE, Prediction, PredictionRecord
from pgpis.tasks.base import PersonImageTask, stable_seed
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.scoring import PairScores

PipelineT = TypeVar("PipelineT", bound=SamplingPipeline)

log = logging.getLogger(__name__)


class DiffusionTask(PersonImageTask):
    """Base of tasks whose model draws pictures by denoising.

    Args:
        height: Rows of the result in pixels.
        width: Columns of the result in pixels.
        pipeline_name: The pipeline that the parts came from, noted beside predictions.
        num_inference_steps: Denoising steps of ``test``, ``predict`` and validation grids.
        guidance_scale: Weight of classifier-free guidance.
        images_per_pair: Pictures per pair in ``predict``.
        save_test_images: Write the pictures of ``test`` to ``test/images``.
        output_size: (height, width) that results are resized to, and scored at; None: that of the denoiser.
        optimizer: See ``PersonImageTask``.
        warmup_epochs: See ``PersonImageTask``.
        decay_epochs: See ``PersonImageTask``.
        decay_factor: See ``PersonImageTask``.
        seed: See ``PersonImageTask``.
        lr_scheduler: See ``PersonImageTask``.

    Raises:
        PgpisError: A value that none of these can have.
    """

    scheduler: SchedulerMixin
    vae: Autoencoder

    def __init__(
        self,
        *,
        height: int,
        width: int,
        pipeline_name: str | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        images_per_pair: int = 1,
        save_test_images: bool = True,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        warmup_epochs: float = 0.0,
        decay_epochs: tuple[int, ...] = (),
        decay_factor: float = 0.1,
        seed: int = 0,
        output_size: tuple[int, int] | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, warmup_epochs, decay_epochs, decay_factor, seed, lr_scheduler)
        self.on_denoising_step: Callable[[int, int], None] | None = None
        sides = [("height", height), ("width", width), *(("output_size", side) for side in output_size or ())]
        for name, side in sides:
            check_range(name, side, 1, MOST_PIXELS, whole=True)
        check_range("num_inference_steps", num_inference_steps, 1, whole=True)
        check_range("guidance_scale", guidance_scale, 0)
        check_range("images_per_pair", images_per_pair, 1, MOST_IMAGES, whole=True)
        self.height = height
        self.width = width
        self.pipeline_name = pipeline_name
        self.num_inference_steps = num_inference_steps
        self.guidance_scale = guidance_scale
        self.images_per_pair = images_per_pair
        self.save_test_images = save_test_images
        self.output_size = output_size

    @abstractmethod
    def build_pipeline(self) -> DiffusionPipeline:
        """Assemble the pipeline from this task's own modules: what is tested is what a user runs."""

    @abstractmethod
    def generate(self, batch: PairBatch, images_per_pair: int, generators: list[torch.Generator]) -> torch.Tensor:
        """Run the pipeline on a batch of B pairs.

        Args:
            batch: The pairs.
            images_per_pair: Results n per pair.
            generators: One per result, ordered ``b0, b1, .., b0, b1, ..``.

        Returns:
            ``(n * B, 3, H, W)`` in [-1, 1], in the same order.
        """

    def moments(self, images: torch.Tensor) -> torch.Tensor:
        """Return mean and deviation of the autoencoder's posterior, ``(B, 2C, h, w)``."""
        return encode_moments(self.vae, images)

    def draw_latents(self, moments: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw scaled latents from the posterior, float32 ``(B, C, h, w)``."""
        mean, deviation = moments.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=self.device, dtype=torch.float32)
        drawn: torch.Tensor = (mean + deviation * noise).float() * self.vae.config.scaling_factor
        return drawn

    @property
    def truth_specs(self) -> InputSpecs:
        """The target at the size that results are scored at, where it is not the denoiser's."""
        return {} if self.output_size is None else {"truth_image": ImageSpec("target", *self.output_size)}

    def setup(self, stage: str) -> None:
        """Make the metrics where they are needed."""
        if stage == "test":
            self.scores = PairScores()

    def sample(self, batch: PairBatch, images_per_pair: int = 1) -> torch.Tensor:
        """Generate pictures for a batch.

        Returns:
            ``(images_per_pair * B, 3, H, W)`` in [-1, 1], ordered ``b0, b1, .., b0, b1, ..``.

        Raises:
            NotFiniteError: Pictures hold numbers that are not finite.
        """
        generators = [
            torch.Generator().manual_seed(self.picture_seed(name, number))
            for number in range(images_per_pair)
            for name in batch["noise_name"]
        ]
        try:
            return self._resized(self.generate(batch, images_per_pair, generators))
        except NotFiniteError as error:
            error.images = self._resized(error.images)
            raise

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        if self.output_size is None:
            return images
        return F.interpolate(images, self.output_size, mode="bicubic", antialias=True).clamp(-1, 1)

    def _sample_finite(self, batch: PairBatch, images_per_pair: int = 1) -> tuple[torch.Tensor, dict[int, str]]:
        """Generate pictures, and say why by row where one came out as numbers that are not finite."""
        reason = "the picture's numbers are not finite"
        try:
            images = self.sample(batch, images_per_pair)
        except NotFiniteError as error:
            images, reason = error.images, error.reason
        return images, dict.fromkeys(rows_not_finite(images), reason)

    @property
    def step_callback(self) -> StepCallback | None:
        """What the pipeline calls after each denoising step, where somebody wants to know."""
        return None if self.on_denoising_step is None else self._report_step

    def _report_step(self, pipeline: Any, step: int, _timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        assert self.on_denoising_step is not None
        self.on_denoising_step(step + 1, len(pipeline.scheduler.timesteps))
        return tensors

    def picture_seed(self, noise_name: str, number: int) -> int:
        """Return the seed of a picture's noise: the same in any batch, on any device, in any order."""
        return stable_seed(self.seed, noise_name, number)

    @torch.no_grad()
    def sample_grid(self, batch: PairBatch, rows: int) -> torch.Tensor:
        """Draw source | pose | target | result."""
        entries: dict[str, Any] = dict(batch)
        first: Any = {key: value[:rows] for key, value in entries.items() if key != "failures"}
        result, unfit = self._sample_finite(first)
        for row, reason in unfit.items():
            log.warning("sample grid: %s: %s", first["pair_id"][row], reason)
        return picture_grid([first["source_image"], first["pose_image"], first["target_image"], result])

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Generate the pictures of one batch and score them as they would be on disk."""
        self.failures += batch["failures"]
        if not len(batch["index"]):
            return
        self.check_once("test", batch)
        images, unfit = self._sample_finite(batch)
        self.failures += [PairFailure(batch["pair_id"][row], reason) for row, reason in unfit.items()]
        rows = [row for row in range(len(images)) if row not in unfit]
        if not rows:
            return
        truth = batch["target_image"] if self.output_size is None else batch["truth_image"]
        images, pair_ids = images[rows], [batch["pair_id"][row] for row in rows]
        pictures = enumerate(zip(pair_ids, tensor_to_images(images), strict=True))
        kept = [row for row, picture in pictures if not self.save_test_images or self._save_test_image(*picture)]
        if kept:
            self.scores.update(to_uint8(images[kept]), to_uint8(truth[rows][kept]), [pair_ids[row] for row in kept])

    def on_test_start(self) -> None:
        """Remove the pictures of an earlier test: they may be of other weights or pairs."""
        if self.save_test_images and self.trainer.is_global_zero:
            for picture in self._test_images.glob("*.png"):
                picture.unlink()
            remove_unfinished(self._test_images)
        self.trainer.strategy.barrier("old pictures removed")

    @property
    def _test_images(self) -> Path:
        return Path(self.trainer.default_root_dir) / "test" / "images"

    def _save_test_image(self, pair_id: str, image: Image.Image) -> bool:
        """Write a picture; a pair whose picture cannot be written fails."""
        try:
            save_image(image, self._test_images / file_name(pair_id, ".png"))
        except Exception as error:
            if meets_every_file(error):
                raise
            self.failures.append(PairFailure(pair_id, str(error)))
            return False
        return True

    def on_test_epoch_end(self) -> None:
        """Log the metrics and write report and per-pair table."""
        details = {"steps": self.num_inference_steps, "guidance": self.guidance_scale, "seed": self.seed}
        report = self.scores.report(self.output_size or (self.height, self.width), details)
        self.log_dict({name: v for name, v in report.results.items() if isinstance(v, float)}, rank_zero_only=True)
        self.scores.write_pairs(Path(self.trainer.default_root_dir) / "test" / "pairs.csv")
        self.write_report(report)
        self.scores.reset()

    def predict_step(self, batch: PairBatch, batch_idx: int) -> list[Prediction]:
        """Generate the pictures of one batch; pairs that could not be read are passed on as failures."""
        predictions = [
            Prediction(PredictionRecord(failure.pair_id, "", "", "", None, failure.reason, 0.0, ""), None)
            for failure in batch["failures"]
        ]
        if not len(batch["index"]):
            return predictions
        self.check_once("predict", batch)
        start = time.perf_counter()
        images, unfit = self._sample_finite(batch, self.images_per_pair)
        seconds = round((time.perf_counter() - start) / len(images), 3)
        pairs = len(batch["pair_id"])
        for row in range(len(images)):
            record = self._record(batch, row % pairs, row // pairs, seconds)
            if row in unfit:
                predictions.append(Prediction(replace(record, image="", status=unfit[row]), None))
            else:
                predictions.append(Prediction(record, tensor_to_images(images[row : row + 1])[0]))
        return predictions

    def _record(self, batch: PairBatch, row: int, number: int, seconds: float) -> PredictionRecord:
        pair_id = batch["pair_id"][row]
        suffix = f"_{number}" if self.images_per_pair > 1 else ""
        return PredictionRecord(
            pair_id,
            file_name(f"{pair_id}{suffix}", ".png"),
            batch["source_path"][row],
            batch["pose_path"][row],
            self.picture_seed(batch["noise_name"][row], number),
            DONE,
            seconds,
            batch["fingerprint"][row],
        )

    def prediction_settings(self) -> dict[str, Any]:
        """Return what determines a picture beside its pair."""
        return {
            "seed": self.seed,
            "height": self.height,
            "width": self.width,
            "output_size": self.output_size and list(self.output_size),
            "steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "scheduler": type(self.scheduler).__name__,
            "scheduler_config": _settings_of(self.scheduler),
            "inputs": {key: asdict(spec) for key, spec in self.image_specs.items() if spec.origin != "target"},
            "images_per_pair": self.images_per_pair,
            "pipeline": self.pipeline_name,
        }

    def pipeline_defaults(self) -> dict[str, Any]:
        """Return what the exported pipeline does where a call does not say: as this task does, and its data."""
        data = None if self._trainer is None else getattr(self._trainer, "datamodule", None)
        return {
            "height": self.height,
            "width": self.width,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "output_size": self.output_size and list(self.output_size),
            "pose_canvas": getattr(data, "pose_canvas", None),
            "stick_width": getattr(data, "stick_width", None),
        }

    def prediction_weights(self) -> dict[str, str]:
        """Return what identifies each part that draws: its weights, and how it is configured."""
        parts = {name: part for name, part in self.build_pipeline().components.items() if isinstance(part, nn.Module)}
        with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter free
            hashes = pool.map(weights_hash, parts.values())
        return {
            name: hashlib.sha256(f"{weights} {_settings_of(part)}".encode()).hexdigest()[:16]
            for (name, part), weights in zip(parts.items(), hashes, strict=True)
        }

    @torch.no_grad()
    def export(self, directory: str) -> str:
        """Write ``pipeline/``."""
        path = Path(directory) / "pipeline"
        with replacing_folder(path, overwrite=True) as folder:
            self.build_pipeline().save_pretrained(folder)
        return str(path)


def _settings_of(part: object) -> dict[str, Any]:
    """Return how a part of diffusers is configured, without what says where it came from."""
    config = part.config if isinstance(part, ConfigMixin) else {}
    return {key: config[key] for key in sorted(config) if not key.startswith("_")}


def load_pipeline(pipeline_class: type[PipelineT], name: str, converter: str, option: str = "pipeline") -> PipelineT:
    """Load a pipeline from a folder, the hub, a bundle, or from the package.

    Args:
        pipeline_class: What it must be.
        name: Folder, hub id, ``.safetensors`` bundle, or the name of a model that ships with pgpis.
        converter: The command that makes one of official weights.
        option: What the user gave the name for, for messages.

    Raises:
        PgpisError: It is not there, not complete, another model's, or holds weights that are not finite.
    """
    folder = Path(name)
    bundle = SHIPPED[name].path if name in SHIPPED else folder
    is_bundle = bundle.suffix == ".safetensors"
    try:
        if is_bundle:
            check_index(read_index(bundle), pipeline_class, name)
        elif (folder / "model_index.json").is_file():
            check_index(read_json(folder / "model_index.json"), pipeline_class, name)
        loaded: PipelineT = load_bundle(pipeline_class, bundle) if is_bundle else pipeline_class.from_pretrained(name)
        for part, module in loaded.components.items():
            if isinstance(module, torch.nn.Module):
                check_finite(f"'{name}': {part}", module.state_dict())
    except PgpisError as error:
        raise PgpisError(f"{option}: {error.message}", hint=error.hint) from error
    except LOAD_ERRORS as error:
        raise PgpisError(
            f"{option}: cannot load '{name}': {(str(error).splitlines() or [type(error).__name__])[0]}",
            hint=f"'pgpis fit' exports one to outputs/.../pipeline, '{converter}' makes one of official weights",
        ) from error
    return loaded
