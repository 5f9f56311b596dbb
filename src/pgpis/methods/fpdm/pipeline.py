"""FPDM's pipeline: pictures of people and poses in, pictures of these people in these poses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Unpack

import torch
from diffusers import SchedulerMixin
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from pgpis.batch import ImageSpecs, PairBatch
from pgpis.denoiser import ConditionedUNet, Ports
from pgpis.denoiser.diffusion import guidance_branches, guide_three_branches
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.conditioner import FPDMConditioner, encode_pair
from pgpis.methods.fpdm.prior import FusionEmbedder
from pgpis.methods.fpdm.refiner import SourceRefiner, refiner_inputs, refiner_specs
from pgpis.models.autoencoder import Autoencoder
from pgpis.models.encoders import VisionEncoder, set_position_interpolation
from pgpis.pipelines.base import SamplingPipeline
from pgpis.pipelines.inputs import Picture, prepare_pairs
from pgpis.pipelines.options import Images, SamplingOptions, shows_options_of


class FPDMPipeline(SamplingPipeline):
    """Generate a person in a new pose.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        scheduler: One of diffusers whose steps are noise levels of training.
        source_encoder: Vision encoder that gives the tokens.
        conditioner: Trained projections.
        fusion_embedder: The prior; None for models without one (B1-B3).
        refiner: Puts details of the sources back into the finished picture (ours); None: the latents decode to it.
        height: Rows of a result where a call does not say; with the other defaults, it is kept by ``save_pretrained``.
        width: Columns of it.
        num_inference_steps: Denoising steps of a call that does not say.
        guidance_scale: Guidance of such a call.
        pose_guidance_scale: See :meth:`generate`; None: as ``guidance_scale``.
        output_size: (height, width) that ``pgpis predict`` resizes results to; None: not at all.
        pose_canvas: (height, width) on which poses are drawn; a drawing of another shape is centred on that. None:
            FPDM's for DeepFashion.
        stick_width: Half the thickness of a limb on it, for ``pgpis predict``; None: the skeleton's own.
        pose_skeleton: Key points that it was trained on, body18 or wholebody133; None: an older export.

    Raises:
        PgpisError: Components that do not fit together, or a default that no call may have.

    Source: FPDM, official ``stage2`` pipeline.
    Deviation: Scheduler arithmetic and random draws are float32 whatever the weights' dtype, so that a seed means the
        same picture in every precision.
    """

    model_cpu_offload_seq = "source_encoder->fusion_embedder->conditioner->unet->vae->refiner"
    _optional_components: ClassVar[list[str]] = ["fusion_embedder", "refiner"]

    def __init__(
        self,
        *,
        vae: Autoencoder,
        unet: ConditionedUNet,
        scheduler: SchedulerMixin,
        source_encoder: VisionEncoder,
        conditioner: FPDMConditioner,
        fusion_embedder: FusionEmbedder | None = None,
        refiner: SourceRefiner | None = None,
        height: int = 512,
        width: int = 352,
        num_inference_steps: int = 20,
        guidance_scale: float = 2.0,
        pose_guidance_scale: float | None = None,
        output_size: list[int] | None = None,
        pose_canvas: list[int] | None = None,
        stick_width: int | None = None,
        pose_skeleton: str | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            source_encoder=source_encoder,
            conditioner=conditioner,
            fusion_embedder=fusion_embedder,
            refiner=refiner,
        )
        self._check_components()
        set_position_interpolation(source_encoder, conditioner.config.position_interpolation)
        self.set_defaults(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            pose_guidance_scale=pose_guidance_scale,
            output_size=output_size,
            pose_canvas=pose_canvas,
            stick_width=stick_width,
            pose_skeleton=pose_skeleton,
        )

    def _check_components(self) -> None:
        config, unet, prior = self.conditioner.config, self.unet.config, self.fusion_embedder
        pairs = (
            ("source_dim", config.source_dim, self.source_encoder.config.hidden_size),
            ("token_dim", config.token_dim, unet.cross_attention_dim),
            ("pose_channels", config.pose_channels, unet.block_out_channels[0]),
            ("fusion_dim", config.fusion_dim, None if prior is None else prior.embedding_dim),
            ("pose_hidden_channels", 2 ** (len(config.pose_hidden_channels) - 1), self.vae_scale_factor),
            ("latent channels of the unet", unet.in_channels, self.vae.config.latent_channels),
        )
        for name, own, other in pairs:
            if own != other:
                hint = "make the conditioner with FPDMConditioner.for_components"
                if name == "fusion_dim" and prior is None:
                    hint = "the model was trained with a prior: give its fusion_embedder"
                message = f"the components do not fit together: {name} is for {own}, the others have {other}"
                raise PgpisError(message, hint=hint)
        if (unet.class_embed_type == "identity") != (prior is not None):
            raise PgpisError(
                f"the unet has class_embed_type={unet.class_embed_type!r}, expected 'identity' with a prior and null "
                "without",
                hint="build_unet(..., fusion=True) for a model with a prior, fusion=False without",
            )

    def input_specs(self, height: int = 512, width: int = 352) -> ImageSpecs:
        """Return the pictures that FPDM reads of a pair."""
        specs = self.conditioner.input_specs(height, width, self.fusion_embedder)
        return specs if self.refiner is None else {**specs, **refiner_specs(height, width)}

    @shows_options_of(SamplingPipeline.sample)
    def generate(
        self,
        batch: PairBatch,
        *,
        guidance_scale: float | None = None,
        pose_guidance_scale: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> ImagePipelineOutput | tuple[Images]:
        """Generate pictures from a prepared batch of B pairs; see the base class.

        Args:
            batch: The entries of :meth:`input_specs` made from source and pose.
            guidance_scale: Weight of the fusion embedding and, without ``pose_guidance_scale``, of everything, whatever
                the pipeline's own one is. None: the pipeline's own, as for the other.
            pose_guidance_scale: Weight of source and pose. Where it differs, a third branch runs, and both weights
                count whatever they are. Where both are equal, and in models without a prior, which know this one alone,
                the conditional prediction is taken as it is up to 1.
            **options: See :class:`SamplingOptions`.

        Source: FPDM eq. 12; official sampling (20 DDPM steps, scale 2).
        """
        if guidance_scale is None:
            guidance_scale = float(self.config.guidance_scale)
            pose_guidance_scale = self._default("pose_guidance_scale", pose_guidance_scale)
        pose_scale = guidance_scale if pose_guidance_scale is None else pose_guidance_scale
        return self.sample(batch, {"guidance_scale": guidance_scale, "pose_guidance_scale": pose_scale}, **options)

    @shows_options_of(generate)
    def __call__(
        self,
        source: Picture | Sequence[Picture],
        pose: Picture | Sequence[Picture],
        *,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float | None = None,
        pose_guidance_scale: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> ImagePipelineOutput | tuple[Images]:
        """Generate pictures from pictures.

        Args:
            source: Picture of the person, or a list of B.
            pose: Drawn target pose, or a list of B; a single source or pose serves all of the others.
            height: Rows of the result, a multiple of 8; None: the pipeline's own, ``pipeline.config.height``.
            width: Columns of the result, a multiple of 8; None: the pipeline's own.
            guidance_scale: See :meth:`generate`.
            pose_guidance_scale: See :meth:`generate`.
            **options: See :class:`SamplingOptions`.

        Raises:
            PgpisError: Pictures that are none or whose numbers do not match; else see :meth:`generate`.
        """
        specs = self.input_specs(*self._size(height, width))
        batch = prepare_pairs({"source": source, "pose": pose}, specs, self.config.pose_canvas)
        return self.generate(batch, guidance_scale=guidance_scale, pose_guidance_scale=pose_guidance_scale, **options)

    def condition(self, batch: PairBatch, scales: Mapping[str, float]) -> list[Ports]:
        """Return the ports of the branches u (nothing), s (source and pose) and c (everything) that must run."""
        tokens, fusion = encode_pair(self.source_encoder, self.fusion_embedder, batch)
        everything: Ports = self.conditioner(tokens, fusion, batch["pose_image"])
        empty = self.conditioner.empty_time_embedding(batch["pose_image"].device)
        absent = None if empty is None else empty.expand(len(everything.pose_features), -1)
        source_and_pose = replace(everything, time_embedding=absent)
        nothing = replace(source_and_pose, tokens=None, pose_features=torch.zeros_like(everything.pose_features))
        # without a prior, s and c are one branch, which source and pose guide
        has_prior = self.fusion_embedder is not None
        number = guidance_branches(scales["guidance_scale"], scales["pose_guidance_scale"], fusion=has_prior)
        return {1: [everything], 2: [nothing, everything], 3: [nothing, source_and_pose, everything]}[number]

    def finish(self, images: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Refine what the latents decode to, where there is a refiner."""
        return images if self.refiner is None else self.refiner(*refiner_inputs(images, batch))

    def guide(self, predictions: Sequence[torch.Tensor], scales: Mapping[str, float]) -> torch.Tensor:
        """Combine the predictions of the branches that ran."""
        if len(predictions) == 3:
            nothing, source_and_pose, everything = predictions
            pose_scale, fusion_scale = scales["pose_guidance_scale"], scales["guidance_scale"]
            return guide_three_branches(nothing, source_and_pose, everything, pose_scale, fusion_scale)
        return super().guide(predictions, {"guidance_scale": scales["pose_guidance_scale"]})
