"""What all latent-diffusion tasks share: their parts, the training step, the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import ImageSpec, InputSpecs, PairBatch, rows_of
from pgpis.denoiser.diffusion import add_noise, denoising_target, offset_noise, sample_timesteps
from pgpis.denoiser.flow import flow_loss, recorded_attention
from pgpis.errors import PgpisError, first_line
from pgpis.models.autoencoder import Autoencoder, encode_moments
from pgpis.models.foreign import check_index, read_json
from pgpis.models.loading import LOAD_ERRORS, check_finite_model
from pgpis.pipelines.base import SamplingPipeline
from pgpis.pipelines.bundle import load_bundle, read_index
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown
from pgpis.tasks.checkpoints import OTHER_RECIPE
from pgpis.tasks.flow import FlowPort, flow_columns
from pgpis.tasks.grids import picture_grid
from pgpis.tasks.options import Dropping, Masks, Sampling, Schedule, TrainingStep
from pgpis.tasks.predicting import PictureTask

PipelineT = TypeVar("PipelineT", bound=SamplingPipeline)

PREDICTED = "prediction_type"
"""In a checkpoint, and of a scheduler: what the denoiser predicts."""


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
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.
        pipeline_name: The pipeline that the parts came from, noted beside predictions.
    """

    unet: Any
    vae: Autoencoder
    noise_schedule: Any
    """A diffusers scheduler that holds the noise levels of training; the sampler, unless a task sets another."""

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

    def parts_are_complete(self, *frozen: str) -> None:
        """Freeze parts, refuse those that do not fit together before the first batch, and save memory or time."""
        if self.step.flow_loss is not None:
            self._flow_port()
        if "noise_schedule" not in vars(self):
            self.noise_schedule = self.scheduler
        self.freeze(*frozen)
        self.build_pipeline()
        self.save_memory_or_time(self.step)

    def setup(self, stage: str) -> None:
        """Refuse what training cannot do, as every task does."""
        if stage == "fit" and self.step.fuse_qkv:
            message = "step.fuse_qkv draws with copies of weights, and training changes these"
            raise PgpisError(message, hint="leave it out; it is for predict and test")
        if stage == "fit" and self.step.flow_loss is not None and self.data is not None:
            self._flow_port().check(self.data)
        super().setup(stage)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record what the denoiser predicts as well."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[PREDICTED] = self.noise_schedule.config.get(PREDICTED)

    def refuse_other_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint as every task does, and what its denoiser predicts, where it says so."""
        own = self.noise_schedule.config.get(PREDICTED)
        if (predicted := checkpoint.get(PREDICTED, own)) != own:
            raise PgpisError(f"its denoiser predicts {predicted}, and this one {own}", hint=OTHER_RECIPE)
        super().refuse_other_checkpoint(checkpoint)

    def save_memory_or_time(self, step: TrainingStep) -> None:
        """Recompute in the backward pass what takes much memory, lay weights out and compile, as ``step`` says."""
        for name in {"unet", "reference_net"}.intersection(self.parts):
            part = getattr(self, name)
            if step.gradient_checkpointing and part is not None:
                part.enable_gradient_checkpointing()
            elif getattr(part, "is_gradient_checkpointing", False):  # a copy of a task that recomputes
                part.disable_gradient_checkpointing()
        if step.channels_last:
            self.to(memory_format=torch.channels_last)
        if step.fuse_qkv:
            self.unet.fuse_qkv_projections()
        if step.compile_unet == "blocks":
            self.unet.compile_repeated_blocks(fullgraph=True)
        elif step.compile_unet:
            self.unet.compile(mode="reduce-overhead" if step.compile_unet == "graphs" else None)

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
        options = self.step.flow_loss
        if not train or options is None or (self._trainer is not None and self.global_step < options.from_step):
            prediction = self.denoise(batch, encoded, noisy, timesteps, masks, generator)
            return {"loss": self.error(batch, prediction, target, timesteps)}
        port = self._flow_port()
        with recorded_attention(self.unet, port.layers) as records:
            prediction = self.denoise(batch, encoded, noisy, timesteps, masks, generator)
        keep = timesteps < options.below
        keep = keep if masks is None else keep & masks[port.condition]
        flow = flow_loss(records, port.pictures(batch), keep, _size(latents), options.temperature)
        return {"loss": self.error(batch, prediction, target, timesteps) + options.weight * flow, "flow": flow}

    @property
    def flow_port(self) -> FlowPort | None:
        """How the denoiser attends to a reference picture; None: it does not."""
        return None

    def _flow_port(self) -> FlowPort:
        port = self.flow_port
        if port is None:
            raise PgpisError("step.flow_loss needs a denoiser that attends to a picture, and this model has none")
        return port

    @torch.no_grad()
    def flow_grid(self, batch: PairBatch, rows: int) -> torch.Tensor | None:
        """Draw where the attention looks in the middle of the time steps that the loss counts.

        See :func:`flow_columns`; None without ``step.flow_loss``.
        """
        options = self.step.flow_loss
        if options is None:
            return None
        port = self._flow_port()
        first = rows_of(batch, slice(rows))
        generator = self.step_generator("flow", 0)
        latents, encoded = self.latents(first, "target", generator), self.encode(first, generator)
        steps = min(options.below, self.noise_schedule.config.num_train_timesteps)
        timesteps = torch.full((len(latents),), steps // 2, device=self.device)
        noisy = add_noise(latents, offset_noise(latents, 0.0, generator), self.noise_schedule.alphas_cumprod, timesteps)
        with recorded_attention(self.unet, port.layers) as records:
            self.denoise(first, encoded, noisy, timesteps, None, generator)
        return picture_grid(flow_columns(records, port.pictures(first), _size(latents), options.temperature))

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

    def latents(self, batch: PairBatch, name: str, generator: torch.Generator) -> torch.Tensor:
        """Draw scaled latents of ``NAME_image``, of its moments where they are cached, float32 ``(B, C, h, w)``."""
        entries: dict[str, Any] = dict(batch)
        cached = entries.get(f"{name}_moments")
        moments = encode_moments(self.vae, entries[f"{name}_image"]) if cached is None else cached
        mean, deviation = moments.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=self.device, dtype=torch.float32)
        return (mean + deviation * noise).float() * self.vae.config.scaling_factor

    @property
    def loss_specs(self) -> InputSpecs:
        """All but what is read to finish and to score pictures."""
        return {key: spec for key, spec in self.input_specs.items() if key not in self.finishing_specs}

    @property
    def finishing_specs(self) -> InputSpecs:
        """What pictures are finished and scored with, and no loss of the denoiser reads."""
        return self.truth_specs

    @property
    def truth_specs(self) -> InputSpecs:
        """The target at the size that results are scored at, where it is not the denoiser's."""
        size = self.sampling.output_size
        return {} if size is None else {"truth_image": ImageSpec("target", *size)}


def _size(latents: torch.Tensor) -> tuple[int, int]:
    return latents.shape[-2], latents.shape[-1]


def load_pipeline(
    pipeline_class: type[PipelineT], name: str, converter: str | None = None, option: str = "pipeline"
) -> PipelineT:
    """Load a pipeline by folder, hub id, ``.safetensors`` bundle, or the name of a model that ships with pgpis.

    Args:
        pipeline_class: What it must be.
        name: Where it is.
        converter: The command that makes one from official weights, if there are any.
        option: What the user gave the name for, for messages.

    Raises:
        PgpisError: It is not there, not complete, another model's, or holds weights that are not finite.
    """
    refuse_unknown(name, option)
    folder = Path(name)
    bundle = SHIPPED[name].path if name in SHIPPED else folder
    is_bundle = bundle.suffix == ".safetensors"
    try:
        if is_bundle:
            check_index(read_index(bundle), pipeline_class, name)
        elif (folder / "model_index.json").is_file():
            check_index(read_json(folder / "model_index.json"), pipeline_class, name)
        loaded: PipelineT = load_bundle(pipeline_class, bundle) if is_bundle else pipeline_class.from_pretrained(name)
        check_finite_model(f"'{name}'", loaded)
    except PgpisError as error:
        raise PgpisError(f"{option}: {error.message}", hint=error.hint) from error
    except LOAD_ERRORS as error:
        raise PgpisError(
            f"{option}: cannot load '{name}': {first_line(error)}",
            hint="'pgpis fit' exports one to outputs/.../pipeline"
            + (f", '{converter}' makes one from official weights" if converter else ""),
        ) from error
    return loaded
