"""MCLD: training, testing and using the diffusion model with multi-focal conditions."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch._subclasses.fake_tensor import is_fake

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch
from pgpis.denoiser import build_unet, denoise
from pgpis.errors import PgpisError
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.losses import face_region, focal_loss, min_snr_weights, person_region
from pgpis.methods.mcld.options import MCLDDropping, MCLDPorts, MCLDSampling, MCLDStep
from pgpis.methods.mcld.pipeline import MCLDPipeline
from pgpis.methods.mcld.reference import build_reference_net
from pgpis.methods.mcld.refiner import Refiner
from pgpis.methods.mcld.resampler import renamed_resampler
from pgpis.models.autoencoder import encode_moments
from pgpis.models.encoders import embedding_width, encode_pictures
from pgpis.models.factory import ModelSpec, build_sampler, build_scheduler, build_vae, build_vision_encoder
from pgpis.models.loading import take_over
from pgpis.models.samplers import predicted_as_trained
from pgpis.models.sources import encode_sources, present_sources, side_by_side
from pgpis.pictures.arrays import read_array
from pgpis.pipelines.bundle import build_part
from pgpis.tasks.diffusion import DiffusionTask, load_pipeline
from pgpis.tasks.flow import FlowPort
from pgpis.tasks.options import Masks, Schedule

log = logging.getLogger(__name__)

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
NOISE: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "scaled_linear",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "prediction_type": "v_prediction",
    "clip_sample": False,
}
"""Zero terminal SNR, velocity, trailing steps: what MCLD is trained with, and our default sampler."""
STATISTICS_PICTURES = 256
"""Sources from which the deviation of CLIP's embedding is estimated."""

Encoded = tuple[torch.Tensor | None, tuple[torch.Tensor, torch.Tensor] | None]
"""The texture's latents; latents and marks of the texture seen through the map."""


class MCLDTask(DiffusionTask):
    """Trains denoiser, ReferenceNet and projections on top of a frozen autoencoder and CLIP; scores them and draws.

    Args:
        sampling: How pictures are drawn.
        base: Stable Diffusion to start from: hub id or folder with ``unet`` and ``vae``.
        unet: Denoiser from elsewhere than ``base``: hub id, folder, configuration (random weights), or a model that
            ships with pgpis, of which it is taken.
        reference_net: ReferenceNet, likewise; by default what the denoiser starts from.
        vae: Autoencoder, likewise; frozen.
        scheduler: Noise schedule of training, as configuration; MCLD's by default.
        image_encoder: CLIP vision model for picture and texture: hub id, folder or configuration; frozen.
        pipeline: A pipeline folder or hub id that replaces all of the parts above, and the conditioner; but training
            goes by the betas of ``scheduler`` all the same, as officially, where sampling has some of its own.
        start_from: A pipeline folder, hub id, bundle or shipped model, of which denoiser, ReferenceNet and conditioner
            give their weights where name and shape fit; the other parts and the settings are this task's own.
        conditioner: What is between encoders and denoiser.
        dropping: Conditions that training leaves out.
        step: What a training step computes.
        optimizer: Makes the optimiser from the parameters to train.
        schedule: How the learning rate changes.
        seed: Seed of training, validation and sampling; ``seed_everything`` sets it on the command line.

    Source: MCLD, official training: min-SNR, zero terminal SNR, velocity, noise offset, face region counted twice, last
        block of the ReferenceNet frozen.
    Deviation: Conditions are dropped per sample; ``dropping.whole_batch`` restores the official way. The weights of the
        attention to the face start as copies of the layer's own, see ``ConditionedUNet``.
    """

    sampling: MCLDSampling
    step: MCLDStep
    pipeline_class = MCLDPipeline
    parts = ("vae", "unet", "reference_net", "scheduler", "image_encoder", "conditioner", "refiner")

    def __init__(
        self,
        sampling: MCLDSampling = MCLDSampling(),
        base: str = SD15,
        unet: ModelSpec | None = None,
        reference_net: ModelSpec | None = None,
        vae: ModelSpec | None = None,
        scheduler: dict[str, Any] | None = None,
        image_encoder: ModelSpec = "openai/clip-vit-large-patch14",
        pipeline: str | None = None,
        start_from: str | None = None,
        conditioner: MCLDPorts = MCLDPorts(),
        dropping: MCLDDropping = MCLDDropping(),
        step: MCLDStep = MCLDStep(),
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01),
        schedule: Schedule = Schedule(),
        seed: int = 0,
    ) -> None:
        super().__init__(sampling, dropping, step, optimizer, schedule, seed, pipeline)
        noise = {**NOISE, **(scheduler or {})}
        self.refiner: Refiner | None = None  # trained by a task of its own
        if pipeline is None:
            unet = base if unet is None else unet
            self.unet = build_part("unet", unet, partial(build_unet, fusion=False, extra_tokens=True))
            reference = unet if reference_net is None else reference_net
            has_net = conditioner.use_texture
            self.reference_net = build_part("reference_net", reference, build_reference_net) if has_net else None
            self.vae = build_part("vae", base if vae is None else vae, build_vae)
            self.image_encoder = build_part("image_encoder", image_encoder, build_vision_encoder)
            self.scheduler = build_scheduler(noise)
            ports = asdict(conditioner)
            controlnet = ports.pop("pose_encoder")
            self.conditioner = MCLDConditioner(
                token_dim=self.unet.config.cross_attention_dim,
                pose_channels=self.unet.config.block_out_channels[0],
                latent_channels=self.unet.config.in_channels,
                **ports,
            )
            if controlnet is not None:
                self.conditioner.pose_encoder.start_from_controlnet(controlnet)
            if start_from is not None:
                other = load_pipeline(MCLDPipeline, start_from, "pgpis convert mcld", "start_from")
                self._start_from(other)
                if (theirs := predicted_as_trained(other.scheduler, {})) != noise["prediction_type"]:
                    log.warning("start_from predicts %s: this one learns %s", theirs, noise["prediction_type"])
        else:
            self.take_parts(load_pipeline(self.pipeline_class, pipeline, "pgpis convert mcld"))
            predicted = predicted_as_trained(self.scheduler, scheduler or {})
            if predicted and predicted != noise["prediction_type"]:
                noise["prediction_type"] = predicted
                log.info("prediction_type is %s, as the pipeline was trained with", predicted)
            names = ("use_face", "use_texture", "aggregation", "iuv_filter", "part_scale", "correspondence")
            for name in (*names, "rendered_texture", "backdrop"):
                trained = self.conditioner.config[name]
                if trained != getattr(conditioner, name):  # its sizes are its own anyway
                    log.info("%s is %s, as the pipeline was trained with", name, trained)
        self.noise_schedule = build_scheduler(noise)
        if sampling.scheduler is not None:
            self.scheduler = build_sampler(self.scheduler, sampling.scheduler, {*noise, "steps_offset"})
        self.parts_are_complete("vae", "image_encoder", *(["refiner"] if self.refiner is not None else []))
        if self.reference_net is not None and step.freeze_reference_tail:
            self.freeze(f"reference_net.up_blocks.{len(self.reference_net.up_blocks) - 1}")
        self._knows_clip_std = False
        self.register_buffer("clip_std", read_clip_std(step.clip_std, embedding_width(self.image_encoder)))

    def _start_from(self, other: MCLDPipeline) -> None:
        for name in ("unet", "reference_net", "conditioner"):
            own, start = getattr(self, name), getattr(other, name)
            if own is not None and start is None:
                log.info("start_from has no %s: this one starts anew", name)
            elif own is not None:
                take_over(name, own, start)

    @property
    def input_specs(self) -> InputSpecs:
        """Source, texture, face, DensePose's map and target as the components take them."""
        clip_size = int(self.image_encoder.config.image_size)
        specs = self.conditioner.input_specs(self.sampling.height, self.sampling.width, clip_size)
        return {**specs, **self.truth_specs}

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Return the autoencoder's moments of targets and textures, CLIP's embeddings of sources and textures."""
        hashes, seen = self.frozen_hashes(), self.step.flow_loss is not None
        moments = hashes["vae"], self.vae, encode_moments, seen
        embedding = hashes["image_encoder"], self.image_encoder, encode_pictures
        features = {
            "target_moments": FrozenFeature("target_image", *moments),
            "source_embedding": FrozenFeature("source_clip", *embedding),
        }
        if self.conditioner.config.use_texture:
            features["texture_moments"] = FrozenFeature("texture_image", *moments)
            features["texture_embedding"] = FrozenFeature("texture_clip", *embedding)
        return features

    @property
    def flow_port(self) -> FlowPort | None:
        """Self-attention reads the texture, if the model has one."""
        if self.reference_net is None:
            return None
        return FlowPort("self", "texture_image", "all", lambda batch: person_region(batch["pose_image"]))

    def refuse_other_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check a checkpoint as every task does; the face resampler may have the names of earlier versions."""
        weights = checkpoint["state_dict"]
        if all(isinstance(value, torch.Tensor) for value in weights.values()):
            renamed = renamed_resampler(weights, "conditioner.face_resampler.")
            if renamed.keys() != weights.keys() and self.trainer.training:
                raise PgpisError(
                    "the checkpoint is of an earlier version: its weights fit, but the optimiser's state does not",
                    hint="--model.init_args.start_from=FOLDER/pipeline takes the weights that its run exported",
                )
            checkpoint["state_dict"] = renamed
        super().refuse_other_checkpoint(checkpoint)

    @torch.no_grad()
    def prepare_training(self) -> None:
        """Estimate the deviation of CLIP's embedding, unless a file or a checkpoint gave it."""
        if not self.step.clip_noise or not self.clip_std.isnan().any():
            return
        specs = {key: self.input_specs[key] for key in ("source_image", "source_clip")}
        data = self.require_data("clip_std is estimated from training sources")
        batches = data.training_pictures("source_clip", specs, STATISTICS_PICTURES)  # the same ones on every process
        embeddings = torch.cat(
            [encode_pictures(self.image_encoder, pictures.to(self.device)).float() for pictures in batches]
        )
        log.info("clip_std: estimated from %d training sources", len(embeddings))
        self.clip_std.copy_(embeddings.std(dim=0, correction=0))

    def encode(self, batch: PairBatch, generator: torch.Generator) -> Encoded:
        """Draw the texture's latents, which the ReferenceNet reads, and those of the texture seen through the map."""
        texture = None if self.reference_net is None else self.latents(batch, "texture", generator)
        return texture, self.conditioner.rendered_latents(batch, self.vae)

    def denoise(
        self,
        batch: PairBatch,
        encoded: Any,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        masks: Masks | None,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Fill the ports, run the ReferenceNet on the texture's latents, and the denoiser."""
        config = self.conditioner.config
        source = self._source_embeddings(batch, None if masks is None else masks["all"] & masks["image"])
        texture = None
        if config.use_texture:
            texture = self._embedding(batch, "texture", None if masks is None else masks["all"])
        if masks is not None and self.step.clip_noise:
            noise = torch.randn(source.shape, generator=generator, device=self.device, dtype=torch.float32)
            source = source + self.step.clip_noise * self._known_clip_std() * noise
        present, face = present_sources(batch, len(source)), self.conditioner.faces(batch)
        latents, rendered = encoded
        ports = self.conditioner(source, texture, face, batch["pose_image"], rendered, present)
        if latents is not None and self.reference_net is not None:
            bank = self.reference_net.bank(latents, side_by_side(source, present))
            ports = replace(ports, reference=bank, keep_reference=None if masks is None else masks["all"])
        return denoise(self.unet, noisy, timesteps, self.unet.prepare(ports))

    def error(
        self, batch: PairBatch, prediction: torch.Tensor, target: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Return MCLD's weighted loss."""
        face = face_region(batch["pose_image"], *prediction.shape[-2:]) if self.step.face_loss else None
        alphas, predicted = self.noise_schedule.alphas_cumprod, self.noise_schedule.config.prediction_type
        weights = min_snr_weights(alphas, timesteps, self.step.snr_gamma, predicted)
        return focal_loss(prediction, target, weights, face)

    def _known_clip_std(self) -> torch.Tensor:
        if not self._knows_clip_std and not is_fake(self.clip_std):  # looks once: a GPU would be waited for each time
            if self.clip_std.isnan().any():
                message = "clip_std is not known, by which training makes noise of step.clip_noise"
                raise PgpisError(message, hint="task.prepare_training() estimates it from the pictures of task.data")
            self._knows_clip_std = True
        return self.clip_std

    @torch.no_grad()
    def _source_embeddings(self, batch: PairBatch, keep: torch.Tensor | None) -> torch.Tensor:
        """Return CLIP's embeddings of all sources, ``(B, K, D)``; of zeroed pixels where they are dropped."""
        if "source_embedding" in batch:  # cached, where each pair has one source
            return self._embedding(batch, "source", keep)[:, None]
        return encode_sources(
            batch,
            "source_clip",
            lambda images, pairs: encode_pictures(self.image_encoder, images, None if keep is None else keep[pairs]),
        )

    @torch.no_grad()
    def _embedding(self, batch: PairBatch, name: str, keep: torch.Tensor | None) -> torch.Tensor:
        """Return CLIP's embedding of source or texture; of zeroed pixels where it is dropped."""
        entries: dict[str, Any] = dict(batch)
        cached = entries.get(f"{name}_embedding")
        if cached is None:
            return encode_pictures(self.image_encoder, entries[f"{name}_clip"], keep)
        if keep is None:
            return cached
        side = self.image_encoder.config.image_size
        empty = encode_pictures(self.image_encoder, cached.new_zeros(1, 3, side, side), keep.new_zeros(1))
        return torch.where(keep[:, None], cached, empty.to(cached))


def read_clip_std(path: str | None, size: int) -> torch.Tensor:
    """Read the deviation of CLIP's embedding per dimension; not a number where there is no file."""
    if path is None:
        return torch.full((size,), torch.nan)
    values = read_array(path, f"clip_std, {size} floats as .npy")
    if values.shape != (size,) or not np.isfinite(values).all():
        raise PgpisError(f"clip_std: {path} holds {values.shape}, expected ({size},) finite numbers")
    return torch.from_numpy(values.astype(np.float32))
