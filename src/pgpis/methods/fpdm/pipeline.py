"""FPDM's pipeline: pictures of people and poses in, pictures of these people in these poses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import SchedulerMixin
from diffusers.utils import BaseOutput

from pgpis.batch import ImageSpecs, PairBatch
from pgpis.denoiser.attention import KeyValueCache
from pgpis.denoiser.diffusion import guidance_branches
from pgpis.denoiser.unet import PoseUNet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.conditioner import FPDMConditioner, Ports, denoise, encode_pair, image_specs
from pgpis.methods.fpdm.prior import FusionEmbedder
from pgpis.models.autoencoder import Autoencoder, scale_factor
from pgpis.models.encoders import VisionEncoder, set_position_interpolation
from pgpis.pipelines.base import Images, OutputType, SamplingPipeline, StepCallback, evaluation_mode
from pgpis.pipelines.branches import Generators, branch_rows, guide, per_row
from pgpis.pipelines.inputs import Picture, prepare_pairs


@dataclass
class FPDMPipelineOutput(BaseOutput):  # type: ignore[misc, unused-ignore]
    """Result of :class:`FPDMPipeline`."""

    images: Images
    """In the form of ``output_type``."""


class FPDMPipeline(SamplingPipeline):
    """Generate a person in a new pose.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        scheduler: Any diffusers scheduler.
        source_encoder: Vision encoder that gives the tokens.
        conditioner: Trained projections.
        fusion_embedder: The prior; None for models without one (B1-B3).
        height: Rows of a result where a call does not say; with the other defaults, it is kept by ``save_pretrained``.
        width: Columns of it.
        num_inference_steps: Denoising steps of a call that does not say.
        guidance_scale: Guidance of such a call.
        pose_guidance_scale: See :meth:`generate`; None: as ``guidance_scale``.
        output_size: (height, width) that ``pgpis predict`` resizes results to; None: not at all.
        pose_canvas: (height, width) on which poses are drawn; a drawing of another shape is centred on that. None:
            FPDM's for DeepFashion.
        stick_width: Half the thickness of a limb on it, for ``pgpis predict``; None: the skeleton's own.

    Raises:
        PgpisError: Components that do not fit together, or a default that no call may have.

    Source: FPDM, official ``stage2`` pipeline.
    Deviation: Scheduler arithmetic and random draws are float32 whatever the weights' dtype, so that a seed means the
        same picture in every precision.
    """

    model_cpu_offload_seq = "source_encoder->fusion_embedder->conditioner->unet->vae"
    _optional_components: ClassVar[list[str]] = ["fusion_embedder"]

    def __init__(
        self,
        *,
        vae: Autoencoder,
        unet: PoseUNet,
        scheduler: SchedulerMixin,
        source_encoder: VisionEncoder,
        conditioner: FPDMConditioner,
        fusion_embedder: FusionEmbedder | None = None,
        height: int = 512,
        width: int = 352,
        num_inference_steps: int = 20,
        guidance_scale: float = 2.0,
        pose_guidance_scale: float | None = None,
        output_size: list[int] | None = None,
        pose_canvas: list[int] | None = None,
        stick_width: int | None = None,
    ) -> None:
        super().__init__()
        _check_components(vae, unet, source_encoder, conditioner, fusion_embedder)
        set_position_interpolation(source_encoder, conditioner.config.position_interpolation)
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            source_encoder=source_encoder,
            conditioner=conditioner,
            fusion_embedder=fusion_embedder,
        )
        self.vae_scale_factor = scale_factor(vae)
        self.set_defaults(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            pose_guidance_scale=pose_guidance_scale,
            output_size=output_size,
            pose_canvas=pose_canvas,
            stick_width=stick_width,
        )

    def image_specs(self, height: int = 512, width: int = 352) -> ImageSpecs:
        """Return the pictures that a batch for :meth:`generate` must hold (``target_image`` is not looked at)."""
        return image_specs(height, width, self.conditioner.config.source_size, self.fusion_embedder)

    @torch.no_grad()
    def __call__(
        self,
        source: Picture | Sequence[Picture],
        pose: Picture | Sequence[Picture],
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        pose_guidance_scale: float | None = None,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        cache_keys_values: bool = True,
        callback_on_step_end: StepCallback | None = None,
        return_dict: bool = True,
    ) -> FPDMPipelineOutput | tuple[Images]:
        """Generate pictures from pictures; see :meth:`generate` for the arguments that are not listed here.

        Args:
            source: Picture of the person, or a list of B.
            pose: Drawn target pose, or a list of B; a single source or pose serves all of the others.
            height: Rows of the result, a multiple of 8; None: the pipeline's own, ``pipeline.config.height``.
            width: Columns of the result, a multiple of 8; None: the pipeline's own.
            num_inference_steps: See :meth:`generate`.
            guidance_scale: See :meth:`generate`.
            pose_guidance_scale: See :meth:`generate`.
            num_images_per_pair: See :meth:`generate`.
            generator: See :meth:`generate`.
            latents: See :meth:`generate`.
            output_type: See :meth:`generate`.
            cache_keys_values: See :meth:`generate`.
            callback_on_step_end: See :meth:`generate`.
            return_dict: See :meth:`generate`.

        Raises:
            PgpisError: Pictures that are none or whose numbers do not match; else see :meth:`generate`.
        """
        height, width = self._default("height", height), self._default("width", width)
        self._check_size(height, width)
        return self.generate(
            prepare_pairs({"source": source, "pose": pose}, self.image_specs(height, width), self.config.pose_canvas),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            pose_guidance_scale=pose_guidance_scale,
            num_images_per_pair=num_images_per_pair,
            generator=generator,
            latents=latents,
            output_type=output_type,
            cache_keys_values=cache_keys_values,
            callback_on_step_end=callback_on_step_end,
            return_dict=return_dict,
        )

    @torch.no_grad()
    def generate(
        self,
        batch: PairBatch,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        pose_guidance_scale: float | None = None,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        cache_keys_values: bool = True,
        callback_on_step_end: StepCallback | None = None,
        return_dict: bool = True,
    ) -> FPDMPipelineOutput | tuple[Images]:
        """Generate pictures from a prepared batch of B pairs.

        Args:
            batch: The entries of :meth:`image_specs` made from source and pose. The result has ``pose_image``'s size.
            num_inference_steps: Denoising steps; None: the pipeline's own, as for the scales.
            guidance_scale: Weight of the fusion embedding and, without ``pose_guidance_scale``, of everything. Up to
                1 the conditional prediction is taken as it is.
            pose_guidance_scale: Weight of source and pose, when it differs: costs a third branch.
            num_images_per_pair: Results n per pair; results are ordered ``b0, b1, .., b0, b1, ..``.
            generator: One generator for all; or one per pair or per result, so that a result does not depend on the
                rest of the batch.
            latents: Standard normal start ``(n * B, C, H / 8, W / 8)``; drawn if None.
            output_type: "pil", "np" ((R, H, W, 3) in [0, 1]), "pt" (tensor in [-1, 1]) or "latent".
            cache_keys_values: Compute the source tokens' keys and values once; False recomputes them at each step.
            callback_on_step_end: Called as ``callback(pipeline, step, timestep, {"latents": latents})``; a returned
                ``latents`` replaces the current ones, ``pipeline._interrupt = True`` ends the denoising.
            return_dict: False returns a tuple instead.

        Raises:
            PgpisError: A batch entry is missing, or an argument is not what it should be.
            NotFiniteError: Results hold numbers that are not finite, as where float16 is too narrow.

        Source: FPDM eq. 12; official sampling (20 DDPM steps, scale 2).
        """
        steps = self._default("num_inference_steps", num_inference_steps)
        if guidance_scale is None:
            guidance_scale = self.config.guidance_scale
            pose_guidance_scale = self._default("pose_guidance_scale", pose_guidance_scale)
        pose_scale = guidance_scale if pose_guidance_scale is None else pose_guidance_scale
        needed = [key for key, spec in self.image_specs().items() if spec.origin != "target"]
        scales: dict[str, object] = {"guidance_scale": guidance_scale, "pose_guidance_scale": pose_scale}
        self._check_call(batch, needed, steps, scales, num_images_per_pair, output_type)
        pairs = len(batch["pose_image"])
        generators = per_row(generator, pairs, num_images_per_pair)
        # without a prior, the branches s and c of the guidance are one, which source and pose guide
        branches = guidance_branches(guidance_scale, pose_scale, fusion=self.fusion_embedder is not None)

        with evaluation_mode(self.components.values()):
            ports, cache = self._condition(batch, branches, num_images_per_pair, cache_keys_values)

            def predict(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
                prediction = denoise(self.unet, noisy, timestep, ports, cache).float()
                return guide(prediction, branches, guidance_scale, pose_scale)

            shape = (pairs * num_images_per_pair, self.vae.config.latent_channels, *ports.pose_features.shape[-2:])
            sample = self._sample(
                predict,
                latents,
                shape,
                branches=branches,
                num_inference_steps=steps,
                generators=generators,
                callback=callback_on_step_end,
            )
            images = self._finish(sample, output_type)
        return FPDMPipelineOutput(images=images) if return_dict else (images,)

    def _condition(
        self, batch: PairBatch, branches: int, num_images: int, use_cache: bool
    ) -> tuple[Ports, KeyValueCache | None]:
        """Compute everything that stays the same over the steps, for all guidance branches."""
        device = self._execution_device
        tensors: Any = {key: value.to(device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
        encoded = encode_pair(self.source_encoder, self.fusion_embedder, tensors)
        ports = self.conditioner(encoded, tensors["pose_image"])
        tokens, dtype = ports.tokens.to(self.unet.dtype), self.unet.dtype
        rows = num_images * len(tokens)
        conditional = max(branches - 1, 1)
        cache = None
        if use_cache and self.unet.supports_cache:
            cache = self.unet.cache_keys_values(
                tokens, zero_rows=rows if branches > 1 else 0, repeats=conditional * num_images
            )
        else:
            tokens = branch_rows(tokens, torch.zeros_like(tokens), branches, num_images, (False, True, True))
        pose_features = ports.pose_features.to(dtype)
        pose_features = branch_rows(
            pose_features, torch.zeros_like(pose_features), branches, num_images, (False, True, True)
        )
        embedding, empty = ports.time_embedding, self.conditioner.empty_time_embedding()
        if embedding is not None and empty is not None:
            empty = empty.expand_as(embedding).to(dtype)
            embedding = branch_rows(embedding.to(dtype), empty, branches, num_images, (False, False, True))
        return Ports(tokens, pose_features, embedding), cache


def _check_components(
    vae: Autoencoder,
    unet: PoseUNet,
    source_encoder: VisionEncoder,
    conditioner: FPDMConditioner,
    fusion_embedder: FusionEmbedder | None,
) -> None:
    config = conditioner.config
    pairs = (
        ("source_dim", config.source_dim, source_encoder.config.hidden_size),
        ("token_dim", config.token_dim, unet.config.cross_attention_dim),
        ("pose_channels", config.pose_channels, unet.config.block_out_channels[0]),
        ("fusion_dim", config.fusion_dim, None if fusion_embedder is None else fusion_embedder.embedding_dim),
        ("pose_hidden_channels", 2 ** (len(config.pose_hidden_channels) - 1), scale_factor(vae)),
        ("latent channels of the unet", unet.config.in_channels, vae.config.latent_channels),
    )
    for name, own, other in pairs:
        if own != other:
            raise PgpisError(
                f"the components do not fit together: {name} is for {own}, the others have {other}",
                hint="make the conditioner with FPDMConditioner.for_components",
            )
    if (unet.config.class_embed_type == "identity") != (fusion_embedder is not None):
        raise PgpisError(
            f"the unet has class_embed_type={unet.config.class_embed_type!r}, expected 'identity' with a prior "
            "and null without",
            hint="build_unet(..., fusion=True) for a model with a prior, fusion=False without",
        )
