"""MCLD: training, testing and using the diffusion model with multi-focal conditions."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch
from pgpis.denoiser import build_unet, denoise
from pgpis.denoiser.diffusion import add_noise, denoising_target, keep_mask, offset_noise, sample_timesteps
from pgpis.errors import PgpisError, check_range
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.losses import face_region, focal_loss, min_snr_weights
from pgpis.methods.mcld.pipeline import MCLDPipeline
from pgpis.methods.mcld.reference import build_reference_net
from pgpis.models.encoders import embedding_width, encode_pictures
from pgpis.models.factory import ModelSpec, build_scheduler, build_vae, build_vision_encoder
from pgpis.models.loading import take_over
from pgpis.pictures.arrays import read_array
from pgpis.tasks.diffusion import DiffusionTask, load_pipeline

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
Aggregation = Literal["stage", "all", "ip"]


class MCLDTask(DiffusionTask):
    """Trains denoiser, ReferenceNet and projections on top of a frozen autoencoder and CLIP; scores them and draws.

    Args:
        height: Rows of the denoiser's picture in pixels.
        width: Columns of it; officially square, to which everything is squashed.
        output_size: (height, width) that results are resized to, and scored at; null: that of the denoiser.
        base: Stable Diffusion to start from: hub id or folder with ``unet`` and ``vae``.
        unet: Denoiser from elsewhere than ``base``: hub id, folder or configuration (random weights).
        reference_net: ReferenceNet, likewise; by default what the denoiser starts from.
        vae: Autoencoder, likewise; frozen.
        scheduler: Noise schedule of training, as configuration; MCLD's by default.
        sampling_scheduler: Sampler, as configuration; by default the pipeline's, or that of training.
        image_encoder: CLIP vision model for picture and texture: hub id, folder or configuration; frozen.
        pipeline: A pipeline folder or hub id that replaces all of the parts above, and whose own ``pose_encoder`` to
            ``iuv_filter`` hold instead of those below.
        start_from: A pipeline folder, hub id, bundle or shipped model, of which denoiser, ReferenceNet and conditioner
            give their weights where name and shape fit; the other parts and the settings are this task's own.
        pose_encoder: ControlNet (hub id or folder) from whose encoder the pose encoder starts; null: random.
        pose_hidden_channels: Channels of the pose encoder's stages; each after the first halves the size.
        resampler: Sizes of the face resampler, keys of ``MCLDConditioner`` such as ``resampler_dim``.
        freeze_reference_tail: Leave the ReferenceNet's last block as it is, as officially; False where it starts from
            random weights.
        use_face: Ablation: False leaves the face out.
        use_texture: Ablation: False leaves the texture's token and the ReferenceNet out.
        aggregation: ``stage`` as published; ``all``: every stage reads source and texture; ``ip``: plain IP-attention.
        iuv_filter: How DensePose's map is resized: ``nearest`` keeps labels, ``bicubic`` mixes them as officially.
        part_scale: Factor on the map's part before the pose encoder, see ``MCLDConditioner``; 1 as officially.
        correspondence: How strongly the attention to the ReferenceNet is drawn to what a cell of the target shows of
            the texture, see ``MCLDConditioner``; 0 as officially, not at all.
        drop_image: Probability of zeroing CLIP's picture of the source in training.
        drop_all: Probability of zeroing both of CLIP's pictures and leaving the ReferenceNet out in training.
        drop_whole_batch: Drop for the whole batch, as the official code does, instead of per sample.
        noise_offset: Standard deviation of the offset that is added to the noise per picture and channel.
        snr_gamma: Bound of the min-SNR weight.
        face_loss: Count the squared error in the face region twice.
        clip_noise: Deviation of the noise on the source's CLIP embedding, in units of ``clip_std``.
        clip_std: Standard deviation of CLIP's embedding per dimension: ``.npy`` file, or null to estimate it from the
            training sources before the first step.
        num_inference_steps: Denoising steps of ``test``, ``predict`` and validation grids.
        guidance_scale: Weight of source, texture and face.
        images_per_pair: Pictures per pair in ``predict``.
        save_test_images: Write the pictures of ``test`` to ``test/images``.
        gradient_checkpointing: Trade time for memory in training.
        compile_unet: ``torch.compile`` the denoiser.
        optimizer: See ``PersonImageTask``.
        warmup_epochs: See ``PersonImageTask``.
        decay_epochs: See ``PersonImageTask``.
        decay_factor: See ``PersonImageTask``.
        seed: See ``PersonImageTask``.
        lr_scheduler: See ``PersonImageTask``.

    Source: MCLD, official training: min-SNR, zero terminal SNR, velocity, noise offset, face region counted twice, last
        block of the ReferenceNet frozen.
    Deviation: Conditions are dropped per sample; ``drop_whole_batch`` restores the official way. The weights of the
        attention to the face start as copies of the layer's own, see ``ConditionedUNet``.
    """

    def __init__(
        self,
        height: int = 512,
        width: int = 512,
        output_size: tuple[int, int] | None = None,
        base: str = SD15,
        unet: ModelSpec | None = None,
        reference_net: ModelSpec | None = None,
        vae: ModelSpec | None = None,
        scheduler: dict[str, Any] | None = None,
        sampling_scheduler: dict[str, Any] | None = None,
        image_encoder: ModelSpec = "openai/clip-vit-large-patch14",
        pipeline: str | None = None,
        start_from: str | None = None,
        pose_encoder: str | None = None,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        resampler: dict[str, int] | None = None,
        freeze_reference_tail: bool = True,
        use_face: bool = True,
        use_texture: bool = True,
        aggregation: Aggregation = "stage",
        iuv_filter: Literal["nearest", "bicubic"] = "nearest",
        part_scale: int = 1,
        correspondence: float = 0.0,
        drop_image: float = 0.1,
        drop_all: float = 0.1,
        drop_whole_batch: bool = False,
        noise_offset: float = 0.05,
        snr_gamma: float = 5.0,
        face_loss: bool = True,
        clip_noise: float = 0.05,
        clip_std: str | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
        images_per_pair: int = 1,
        save_test_images: bool = True,
        gradient_checkpointing: bool = False,
        compile_unet: bool = False,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01),
        warmup_epochs: float = 0.0,
        decay_epochs: tuple[int, ...] = (),
        decay_factor: float = 0.1,
        seed: int = 0,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(
            height=height,
            width=width,
            output_size=output_size,
            pipeline_name=pipeline,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            images_per_pair=images_per_pair,
            save_test_images=save_test_images,
            optimizer=optimizer,
            warmup_epochs=warmup_epochs,
            decay_epochs=decay_epochs,
            decay_factor=decay_factor,
            seed=seed,
            lr_scheduler=lr_scheduler,
        )
        self.drop_image = drop_image
        self.drop_all = drop_all
        self.noise_offset = noise_offset
        self.snr_gamma = snr_gamma
        self.clip_noise = clip_noise
        for name in ("drop_image", "drop_all", "noise_offset", "snr_gamma", "clip_noise"):
            check_range(name, getattr(self, name), 0, 1 if name.startswith("drop") else math.inf)
        self.noise_schedule = build_scheduler({**NOISE, **(scheduler or {})})
        if pipeline is None:
            self.unet = build_unet(unet or base, fusion=False, extra_tokens=True)
            self.reference_net = build_reference_net(reference_net or unet or base) if use_texture else None
            self.vae = build_vae(vae or base)
            self.image_encoder = build_vision_encoder(image_encoder)
            self.scheduler = build_scheduler({**NOISE, **(scheduler or {}), **(sampling_scheduler or {})})
            self.conditioner = MCLDConditioner(
                token_dim=self.unet.config.cross_attention_dim,
                pose_hidden_channels=pose_hidden_channels,
                pose_channels=self.unet.config.block_out_channels[0],
                use_face=use_face,
                use_texture=use_texture,
                aggregation=aggregation,
                iuv_filter=iuv_filter,
                part_scale=part_scale,
                correspondence=correspondence,
                **(resampler or {}),
            )
            if pose_encoder is not None:
                self.conditioner.pose_encoder.start_from_controlnet(pose_encoder)
            if start_from is not None:
                self._start_from(load_pipeline(MCLDPipeline, start_from, "pgpis convert mcld", "start_from"))
        else:
            loaded = load_pipeline(MCLDPipeline, pipeline, "pgpis convert mcld")
            self.unet, self.vae, self.reference_net = loaded.unet, loaded.vae, loaded.reference_net
            self.image_encoder, self.conditioner = loaded.image_encoder, loaded.conditioner
            self.scheduler = loaded.scheduler
            asked = {
                "use_face": use_face,
                "use_texture": use_texture,
                "aggregation": aggregation,
                "iuv_filter": iuv_filter,
                "part_scale": part_scale,
                "correspondence": correspondence,
            }
            for name, value in asked.items():
                if self.conditioner.config[name] != value:
                    log.info("%s is %s, as the pipeline was trained with", name, self.conditioner.config[name])
            if sampling_scheduler is not None:
                self.scheduler = build_scheduler({**NOISE, **sampling_scheduler})
        self.freeze("vae", "image_encoder")
        if self.reference_net is not None and freeze_reference_tail:
            self.freeze(f"reference_net.up_blocks.{len(self.reference_net.up_blocks) - 1}")
        self.build_pipeline()  # parts that do not fit together are refused before the first batch
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            if self.reference_net is not None:
                self.reference_net.enable_gradient_checkpointing()
        if compile_unet:
            self.unet.compile()
        self.drop_whole_batch = drop_whole_batch
        self.face_loss = face_loss
        self.register_buffer("clip_std", read_clip_std(clip_std, embedding_width(self.image_encoder)))

    def _start_from(self, other: MCLDPipeline) -> None:
        for part in ("unet", "reference_net", "conditioner"):
            own, given = getattr(self, part), getattr(other, part)
            if own is not None and given is None:
                log.info("start_from has no %s: this one starts anew", part)
            elif own is not None:
                take_over(part, own, given)

    @property
    def image_specs(self) -> InputSpecs:
        """Source, texture, face, DensePose's map and target as the components take them."""
        clip_size = int(self.image_encoder.config.image_size)
        return {**self.conditioner.input_specs(self.height, self.width, clip_size), **self.truth_specs}

    def build_pipeline(self) -> MCLDPipeline:
        """Assemble the pipeline from this task's own modules: what is tested is what a user runs."""
        pipeline = MCLDPipeline(
            vae=self.vae,
            unet=self.unet,
            reference_net=self.reference_net,
            scheduler=self.scheduler,
            image_encoder=self.image_encoder,
            conditioner=self.conditioner,
            **self.pipeline_defaults(),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def on_fit_start(self) -> None:
        """Estimate the deviation of CLIP's embedding, unless a file or a checkpoint gave it."""
        if self.clip_noise and self.clip_std.isnan().any():
            self.clip_std.copy_(self._estimate_clip_std())

    @torch.no_grad()
    def _estimate_clip_std(self) -> torch.Tensor:
        """Encode training sources, the same ones on every process."""
        specs = {key: spec for key, spec in self.image_specs.items() if key in ("source_image", "source_clip")}
        embeddings = [
            encode_pictures(self.image_encoder, pictures.to(self.device)).float()
            for pictures in self.trainer.datamodule.training_pictures("source_clip", specs, STATISTICS_PICTURES)
        ]
        found = torch.cat(embeddings)
        log.info("clip_std: estimated from %d training sources", len(found))
        return found.std(dim=0, correction=0)

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute the weighted denoising error of one batch."""
        with torch.no_grad():
            latents = self._latents(batch, "target", generator)
            texture = None if self.reference_net is None else self._latents(batch, "texture", generator)
        noise = offset_noise(latents, self.noise_offset, generator)
        schedule = self.noise_schedule
        alphas = schedule.alphas_cumprod
        timesteps = sample_timesteps(len(latents), schedule.config.num_train_timesteps, generator, self.device)
        noisy = add_noise(latents, noise, alphas, timesteps)
        target = denoising_target(schedule.config.prediction_type, latents, noise, alphas, timesteps)
        keep_all = self._keep(len(latents), self.drop_all if train else 0.0, generator)
        keep_image = self._keep(len(latents), self.drop_image if train else 0.0, generator)
        source, texture_embedding, face_embedding = self._encode(batch, keep_all, keep_all & keep_image)
        if train and self.clip_noise:
            drawn = torch.randn(source.shape, generator=generator, device=self.device, dtype=torch.float32)
            source = source + self.clip_noise * self.clip_std * drawn
        ports = self.conditioner(source, texture_embedding, face_embedding, batch["pose_image"])
        if self.reference_net is not None and texture is not None:
            bank = self.reference_net.bank(texture, source[:, None])
            ports = replace(ports, reference=bank, keep_reference=keep_all if train else None)
        prediction = denoise(self.unet, noisy, timesteps, self.unet.prepare(ports))
        face = face_region(batch["pose_image"], *latents.shape[-2:]) if self.face_loss else None
        return {"loss": focal_loss(prediction, target, min_snr_weights(alphas, timesteps, self.snr_gamma), face)}

    def _keep(self, count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
        return keep_mask(count, probability, generator, per_sample=not self.drop_whole_batch, device=self.device)

    def _latents(self, batch: PairBatch, name: str, generator: torch.Generator) -> torch.Tensor:
        """Draw scaled latents of the target or the texture."""
        entries: dict[str, Any] = dict(batch)
        moments = entries.get(f"{name}_moments")
        return self.draw_latents(self.moments(entries[f"{name}_image"]) if moments is None else moments, generator)

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Return the autoencoder's moments of targets and textures, CLIP's embeddings of sources and textures."""
        hashes = self.frozen_hashes()
        features = {
            "target_moments": FrozenFeature("target_image", hashes["vae"], self.moments),
            "source_embedding": FrozenFeature("source_clip", hashes["image_encoder"], self._embed),
        }
        if self.conditioner.config.use_texture:
            features["texture_moments"] = FrozenFeature("texture_image", hashes["vae"], self.moments)
            features["texture_embedding"] = FrozenFeature("texture_clip", hashes["image_encoder"], self._embed)
        return features

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return encode_pictures(self.image_encoder, images)

    @torch.no_grad()
    def _encode(
        self, batch: PairBatch, keep_texture: torch.Tensor, keep_source: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return the embeddings of source, texture and face."""
        textured, faced = self.conditioner.config.use_texture, self.conditioner.config.use_face
        return (
            self._embedding(batch, "source", keep_source),
            self._embedding(batch, "texture", keep_texture) if textured else None,
            batch["face"] if faced else None,
        )

    def _embedding(self, batch: PairBatch, name: str, keep: torch.Tensor) -> torch.Tensor:
        """Return CLIP's embedding of source or texture; of zeroed pixels where it is dropped."""
        entries: dict[str, Any] = dict(batch)
        cached: torch.Tensor | None = entries.get(f"{name}_embedding")
        if cached is None:
            return encode_pictures(self.image_encoder, entries[f"{name}_clip"], keep)
        side = self.image_encoder.config.image_size
        empty = encode_pictures(self.image_encoder, cached.new_zeros(1, 3, side, side), keep.new_zeros(1))
        return torch.where(keep[:, None], cached, empty.to(cached))

    def generate(self, batch: PairBatch, images_per_pair: int, generators: list[torch.Generator]) -> torch.Tensor:
        """Run the pipeline with this task's settings."""
        result: Any = self.build_pipeline().generate(
            batch,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            num_images_per_pair=images_per_pair,
            generator=generators,
            output_type="pt",
            callback_on_step_end=self.step_callback,
        )
        return result.images


def read_clip_std(path: str | None, size: int) -> torch.Tensor:
    """Read the deviation of CLIP's embedding per dimension; not a number where none is given.

    Raises:
        PgpisError: The file cannot be read or holds something else.
    """
    if path is None:
        return torch.full((size,), torch.nan)
    values = read_array(path, f"clip_std, {size} floats as .npy")
    if values.shape != (size,) or not np.isfinite(values).all():
        raise PgpisError(f"clip_std: {path} holds {values.shape}, expected ({size},) finite numbers")
    return torch.from_numpy(values.astype(np.float32))
