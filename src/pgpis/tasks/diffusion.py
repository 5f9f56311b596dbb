"""What all latent-diffusion tasks share: their parts, the training step, the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.denoiser.diffusion import add_noise, denoising_target, offset_noise, sample_timesteps
from pgpis.errors import PgpisError, first_line
from pgpis.models.autoencoder import Autoencoder, encode_moments
from pgpis.models.foreign import check_index, read_json
from pgpis.models.loading import LOAD_ERRORS, check_finite
from pgpis.pipelines.base import SamplingPipeline
from pgpis.pipelines.bundle import load_bundle, read_index
from pgpis.pipelines.shipped import SHIPPED
from pgpis.tasks.options import Dropping, Masks, Sampling, Schedule, TrainingStep
from pgpis.tasks.predicting import PictureTask

PipelineT = TypeVar("PipelineT", bound=SamplingPipeline)


class DiffusionTask(PictureTask):
    """Base of tasks whose model draws pictures by denoising.

    A method names its pipeline and the parts of it that the task holds, and fills the hooks of the training step:
    ``encode``, ``denoise`` and, where it is not the plain squared error, ``error``.

    Args:
        sampling: How pictures are drawn.
        dropping: Conditions that training leaves out.
        step: What a training step computes.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling.
        pipeline_name: The pipeline that the parts came from, noted beside predictions.
    """

    pipeline_class: ClassVar[type[SamplingPipeline]]
    """What is exported, and what makes the pictures of ``test`` and ``predict``."""
    parts: ClassVar[tuple[str, ...]]
    """Components of the pipeline, each an attribute of the task."""
    unet: Any
    vae: Autoencoder
    noise_schedule: Any
    """A diffusers scheduler that holds the noise levels of training."""

    def __init__(
        self,
        sampling: Sampling,
        dropping: Dropping = Dropping(),
        step: TrainingStep = TrainingStep(),
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        schedule: Schedule = Schedule(),
        seed: int = 0,
        pipeline_name: str | None = None,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        self.sampling = sampling
        self.dropping = dropping
        self.step = step
        self.pipeline_name = pipeline_name
        self.drawing: dict[str, Any] = {"pose_canvas": None, "stick_width": None}
        self.on_denoising_step: Callable[[int, int], None] | None = None

    def take_parts(self, pipeline: SamplingPipeline) -> None:
        """Take the parts of a pipeline for the task's own, and how poses are drawn for them."""
        for name in self.parts:
            setattr(self, name, getattr(pipeline, name))
        self.drawing = {name: pipeline.config[name] for name in self.drawing}

    def parts_are_complete(self, *frozen: str) -> None:
        """Freeze parts, refuse those that do not fit together before the first batch, and save memory or time."""
        self.freeze(*frozen)
        self.build_pipeline()
        for name in {"unet", "reference_net"}.intersection(self.parts):
            part = getattr(self, name)
            if self.step.gradient_checkpointing and part is not None:
                part.enable_gradient_checkpointing()
        if self.step.compile_unet:
            self.unet.compile()

    def build_pipeline(self) -> SamplingPipeline:
        """Assemble the pipeline from this task's own modules."""
        pipeline = self.pipeline_class(**{name: getattr(self, name) for name in self.parts}, **self.pipeline_defaults())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pipeline_defaults(self) -> dict[str, Any]:
        """Return what the exported pipeline does where a call does not say: as this task does, and its data.

        A task that does not know its data draws poses as the pipeline whose parts it took.
        """
        drawing = self.drawing if self.data is None else {name: getattr(self.data, name) for name in self.drawing}
        return {
            "height": self.sampling.height,
            "width": self.sampling.width,
            "num_inference_steps": self.sampling.num_inference_steps,
            **self.sampling.scales,
            "output_size": self.sampling.output_size and list(self.sampling.output_size),
            **drawing,
        }

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Add noise to the targets' latents, and compute the error of what the denoiser says about it."""
        with torch.no_grad():
            latents = self.latents(batch, "target", generator)
            encoded = self.encode(batch, generator)
        noise = offset_noise(latents, self.step.noise_offset, generator)
        config, alphas = self.noise_schedule.config, self.noise_schedule.alphas_cumprod
        timesteps = sample_timesteps(len(latents), config.num_train_timesteps, generator, self.device)
        noisy = add_noise(latents, noise, alphas, timesteps)
        target = denoising_target(config.prediction_type, latents, noise, alphas, timesteps)
        masks = self.dropping.draw(len(latents), generator) if train else None
        prediction = self.denoise(batch, encoded, noisy, timesteps, masks, generator)
        return {"loss": self.error(batch, prediction, target, timesteps)}

    def encode(self, batch: PairBatch, generator: torch.Generator) -> Any:
        """Run what is frozen, without gradients, before noise is drawn; ``denoise`` gets what this returns."""
        return None

    def denoise(
        self,
        batch: PairBatch,
        encoded: Any,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        masks: Masks | None,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Run what is trained, and return the denoiser's prediction, ``(B, C, h, w)``.

        Args:
            batch: One batch.
            encoded: What ``encode`` returned.
            noisy: Latents with noise, ``(B, C, h, w)``.
            timesteps: How much noise, int64 ``(B,)``.
            masks: Which pairs keep which condition; None in validation: all keep all.
            generator: Source of every further draw.
        """
        raise NotImplementedError

    def error(
        self, batch: PairBatch, prediction: torch.Tensor, target: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of a prediction: the mean squared error."""
        return F.mse_loss(prediction.float(), target.float())

    def generate(self, batch: PairBatch, images_per_pair: int, generators: list[torch.Generator]) -> torch.Tensor:
        """Run the pipeline with this task's settings."""
        pipeline: Any = self.build_pipeline()
        return pipeline.generate(
            batch,
            num_inference_steps=self.sampling.num_inference_steps,
            **self.sampling.scales,
            num_images_per_pair=images_per_pair,
            generator=generators,
            output_type="pt",
            callback_on_step_end=None if self.on_denoising_step is None else self._report_step,
        ).images

    def _report_step(self, pipeline: Any, step: int, _timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
        assert self.on_denoising_step is not None
        self.on_denoising_step(step + 1, len(pipeline.scheduler.timesteps))
        return tensors

    def moments(self, images: torch.Tensor) -> torch.Tensor:
        """Return mean and deviation of the autoencoder's posterior, ``(B, 2C, h, w)``."""
        return encode_moments(self.vae, images)

    def latents(self, batch: PairBatch, name: str, generator: torch.Generator) -> torch.Tensor:
        """Draw scaled latents of ``NAME_image``, of its moments where they are cached, float32 ``(B, C, h, w)``."""
        entries: dict[str, Any] = dict(batch)
        cached = entries.get(f"{name}_moments")
        moments: torch.Tensor = self.moments(entries[f"{name}_image"]) if cached is None else cached
        mean, deviation = moments.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=self.device, dtype=torch.float32)
        return (mean + deviation * noise).float() * self.vae.config.scaling_factor

    @property
    def truth_specs(self) -> InputSpecs:
        """The target at the size that results are scored at, where it is not the denoiser's."""
        size = self.sampling.output_size
        return {} if size is None else {"truth_image": ImageSpec("target", *size)}

    def exported(self) -> tuple[str, Any]:
        """Export the whole pipeline."""
        return "pipeline", self.build_pipeline()


def load_pipeline(pipeline_class: type[PipelineT], name: str, converter: str, option: str = "pipeline") -> PipelineT:
    """Load a pipeline from a folder, the hub, a bundle, or from the package.

    Args:
        pipeline_class: What it must be.
        name: Folder, hub id, ``.safetensors`` bundle, or the name of a model that ships with pgpis.
        converter: The command that makes one from official weights.
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
            f"{option}: cannot load '{name}': {first_line(error)}",
            hint=f"'pgpis fit' exports one to outputs/.../pipeline, '{converter}' makes one from official weights",
        ) from error
    return loaded
