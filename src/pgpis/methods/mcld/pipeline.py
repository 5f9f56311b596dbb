"""MCLD's pipeline: a picture, its texture, its face and a target IUV in, the person in that pose out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from transformers import CLIPVisionModelWithProjection

from pgpis.batch import InputSpecs, PairBatch
from pgpis.denoiser.multifocal import FocalConditions, MultiFocalUNet
from pgpis.errors import PgpisError
from pgpis.methods.mcld.conditioner import EncodedFoci, MCLDConditioner, denoise_focal
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.models.autoencoder import Autoencoder, encode_moments, scale_factor
from pgpis.models.encoders import encode_pictures
from pgpis.pipelines.base import Images, OutputType, SamplingPipeline, StepCallback, evaluation_mode
from pgpis.pipelines.branches import Generators, guide, per_row
from pgpis.pipelines.inputs import Picture, prepare_faces, prepare_pairs


@dataclass
class MCLDPipelineOutput(BaseOutput):  # type: ignore[misc, unused-ignore]
    """Result of :class:`MCLDPipeline`."""

    images: Images
    """In the form of ``output_type``."""


class MCLDPipeline(SamplingPipeline):
    """Generate a person in a new pose from multi-focal conditions.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        reference_net: Net that reads the texture; it must have the denoiser's blocks. None for models without texture.
        scheduler: Any diffusers scheduler; officially DDIM with zero terminal SNR and trailing steps.
        image_encoder: CLIP for the source and the texture.
        conditioner: Trained projections.
        height: Rows of a result where a call does not say; with the other defaults, it is kept by ``save_pretrained``.
        width: Columns of it.
        num_inference_steps: Denoising steps of a call that does not say.
        guidance_scale: Guidance of such a call.
        output_size: (height, width) that ``pgpis predict`` resizes results to; None: not at all.
        pose_canvas: (height, width) on which poses are drawn; a drawing of another shape is centred on that. None:
            FPDM's for DeepFashion.
        stick_width: Half the thickness of a limb on it, for ``pgpis predict``; None: the skeleton's own.

    Raises:
        PgpisError: Components that do not fit together, or a default that no call may have.

    Source: MCLD, official test pipeline. The ReferenceNet and all keys and values are computed once, for the
        conditional rows alone: the others do not read them.
    """

    _optional_components: ClassVar[list[str]] = ["reference_net"]
    model_cpu_offload_seq = "image_encoder->conditioner->reference_net->unet->vae"

    def __init__(
        self,
        *,
        vae: Autoencoder,
        unet: MultiFocalUNet,
        reference_net: ReferenceNet | None,
        scheduler: SchedulerMixin,
        image_encoder: CLIPVisionModelWithProjection,
        conditioner: MCLDConditioner,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
        output_size: list[int] | None = None,
        pose_canvas: list[int] | None = None,
        stick_width: int | None = None,
    ) -> None:
        super().__init__()
        pairs = (
            ("token_dim", conditioner.config.token_dim, unet.config.cross_attention_dim),
            ("token_dim of the image encoder", conditioner.config.token_dim, image_encoder.config.projection_dim),
            ("pose_channels", conditioner.config.pose_channels, unet.config.block_out_channels[0]),
            ("pose_hidden_channels", 2 ** (len(conditioner.config.pose_hidden_channels) - 1), scale_factor(vae)),
            ("latent channels", unet.config.in_channels, vae.config.latent_channels),
            (
                "blocks of the ReferenceNet",
                None if reference_net is None else tuple(reference_net.config.block_out_channels),
                tuple(unet.config.block_out_channels) if conditioner.config.use_texture else None,
            ),
        )
        for name, own, other in pairs:
            if own != other:
                raise PgpisError(f"the components do not fit together: {name} is {own}, the others have {other}")
        self.register_modules(
            vae=vae,
            unet=unet,
            reference_net=reference_net,
            scheduler=scheduler,
            image_encoder=image_encoder,
            conditioner=conditioner,
        )
        self.vae_scale_factor = scale_factor(vae)
        self.set_defaults(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            output_size=output_size,
            pose_canvas=pose_canvas,
            stick_width=stick_width,
        )

    @torch.no_grad()
    def __call__(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
        return_dict: bool = True,
    ) -> MCLDPipelineOutput | tuple[Images]:
        """Generate pictures from pictures; see :meth:`generate` for the other arguments.

        Args:
            source: Picture of the person, or a list of B.
            texture: The person's texture map, or a list of B; None for models without texture.
            iuv: DensePose's map of the target pose as its PNG reads, channels V, U, part; or a list of B.
            face: Raw face embedding ``(512,)``, or a list of B; None: no face is known.
            height: Rows of the result, a multiple of 8; None: the pipeline's own, officially 512.
            width: Columns of the result, a multiple of 8; None: the pipeline's own, officially 512, squashed later.
            num_inference_steps: See :meth:`generate`.
            guidance_scale: See :meth:`generate`.
            num_images_per_pair: See :meth:`generate`.
            generator: See :meth:`generate`.
            latents: See :meth:`generate`.
            output_type: See :meth:`generate`.
            callback_on_step_end: See :meth:`generate`.
            return_dict: See :meth:`generate`.

        Raises:
            PgpisError: Numbers of pictures that do not match, a map that is not DensePose's, or a face embedding of
                another size or that is not finite; else see :meth:`generate`.
        """
        height, width = self._default("height", height), self._default("width", width)
        self._check_size(height, width)
        return self.generate(
            self.prepare(source, texture, iuv, face, height, width, self.config.pose_canvas),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_pair=num_images_per_pair,
            generator=generator,
            latents=latents,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            return_dict=return_dict,
        )

    def prepare(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        height: int,
        width: int,
        pose_canvas: Sequence[int] | None = None,
    ) -> PairBatch:
        """Fit a user's pictures to the size of the result, as officially by squashing; arguments as in ``__call__``.

        With a ``pose_canvas``, as in ``__call__``, the map is checked and centred on a canvas of that shape first.
        """
        specs = self.input_specs(height, width)
        batch = prepare_pairs({"source": source, "texture": texture, "iuv": iuv}, specs, pose_canvas)
        batch["face"] = prepare_faces(face, int(self.conditioner.config.face_dim), len(batch["pose_image"]))
        return batch

    def input_specs(self, height: int = 512, width: int = 512) -> InputSpecs:
        """Return what the model reads of a pair."""
        return self.conditioner.input_specs(height, width, int(self.image_encoder.config.image_size))

    @torch.no_grad()
    def generate(
        self,
        batch: PairBatch,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
        return_dict: bool = True,
    ) -> MCLDPipelineOutput | tuple[Images]:
        """Generate pictures from a prepared batch of B pairs.

        Args:
            batch: What :meth:`prepare` returns; the result has ``pose_image``'s size.
            num_inference_steps: Denoising steps; None: the pipeline's own, as for the scale.
            guidance_scale: Weight of source, texture and face; the pose is never left out. Up to 1 the conditional
                prediction is taken as it is.
            num_images_per_pair: Results n per pair; results are ordered ``b0, b1, .., b0, b1, ..``.
            generator: One generator for all; or one per pair or per result.
            latents: Standard normal start ``(n * B, C, H / 8, W / 8)``; drawn if None.
            output_type: "pil", "np" ((R, H, W, 3) in [0, 1]), "pt" (tensor in [-1, 1]) or "latent".
            callback_on_step_end: Called as ``callback(pipeline, step, timestep, {"latents": latents})``; a returned
                ``latents`` replaces the current ones, ``pipeline._interrupt = True`` ends the denoising.
            return_dict: False returns a tuple instead.

        Raises:
            PgpisError: A batch entry is missing, or an argument is not what it should be.
            NotFiniteError: Results hold numbers that are not finite, as where float16 is too narrow.

        Source: MCLD, official sampling (20 DDIM steps, scale 3.5).
        """
        steps = self._default("num_inference_steps", num_inference_steps)
        scale: float = self._default("guidance_scale", guidance_scale)
        unread = ("source_image", "target_image")  # CLIP's pictures are made of the former
        needed = [key for key in self.input_specs() if key not in unread]
        self._check_call(batch, needed, steps, {"guidance_scale": scale}, num_images_per_pair, output_type)
        pairs = len(batch["pose_image"])
        generators = per_row(generator, pairs, num_images_per_pair)
        branches = 2 if scale > 1 else 1
        with evaluation_mode(self.components.values()):
            pose_features, conditions = self._condition(batch, branches, num_images_per_pair)

            def predict(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
                prediction = denoise_focal(self.unet, noisy, timestep, pose_features, conditions).float()
                return guide(prediction, branches, scale, scale)

            sample = self._sample(
                predict,
                latents,
                (pairs * num_images_per_pair, self.vae.config.latent_channels, *pose_features.shape[-2:]),
                branches=branches,
                num_inference_steps=steps,
                generators=generators,
                callback=callback_on_step_end,
            )
            images = self._finish(sample, output_type)
        return MCLDPipelineOutput(images=images) if return_dict else (images,)

    def _condition(self, batch: PairBatch, branches: int, num_images: int) -> tuple[torch.Tensor, FocalConditions]:
        """Compute everything that stays the same over the steps."""
        device, dtype = self._execution_device, self.unet.dtype
        textured, faced = self.conditioner.config.use_texture, self.conditioner.config.use_face
        encoded = EncodedFoci(
            encode_pictures(self.image_encoder, batch["source_clip"].to(device)),
            encode_pictures(self.image_encoder, batch["texture_clip"].to(device)) if textured else None,
            batch["face"].to(device) if faced else None,
        )
        ports = self.conditioner(encoded, batch["pose_image"].to(device))
        bank = None
        if self.reference_net is not None:
            # officially the middle of the posterior, not a draw from it
            texture = encode_moments(self.vae, batch["texture_image"].to(device, self.vae.dtype)).chunk(2, dim=1)[0]
            bank = self.reference_net.bank(texture * self.vae.config.scaling_factor, ports.reference_token)
        rows = num_images * len(encoded.source)
        conditions = self.unet.prepare(
            ports.tokens,
            bank,
            correspondence=ports.correspondence,
            zero_rows=rows if branches == 2 else 0,
            repeats=num_images,
        )
        return ports.pose_features.to(dtype).repeat(branches * num_images, 1, 1, 1), conditions
