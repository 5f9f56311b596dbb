"""MCLD's pipeline: a picture, its texture, its face and a target IUV in, the person in that pose out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.errors import PgpisError
from pgpis.images import fit_images
from pgpis.models.autoencoder import Autoencoder, encode_moments, scale_factor
from pgpis.models.encoders import encode_pictures
from pgpis.models.mcld import EncodedFoci, MCLDConditioner, denoise_focal
from pgpis.models.multifocal import FocalConditions, MultiFocalUNet
from pgpis.models.reference import ReferenceNet
from pgpis.pipelines.base import OutputType, SamplingPipeline, StepCallback, evaluation_mode
from pgpis.pipelines.branches import Generators, per_row
from pgpis.pipelines.inputs import Picture, as_pictures


@dataclass
class MCLDPipelineOutput(BaseOutput):  # type: ignore[misc, unused-ignore]
    """Result of :class:`MCLDPipeline`."""

    images: list[Image.Image] | torch.Tensor
    """Pictures; a tensor ``(R, 3, H, W)`` in [-1, 1] for "pt"; scaled latents ``(R, C, h, w)`` for "latent"."""


class MCLDPipeline(SamplingPipeline):
    """Generate a person in a new pose from multi-focal conditions.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        reference_net: Net that reads the texture; it must have the denoiser's blocks. None for models without texture.
        scheduler: Any diffusers scheduler; officially DDIM with zero terminal SNR and trailing steps.
        image_encoder: CLIP for the source and the texture.
        conditioner: Trained projections.

    Raises:
        PgpisError: Components that do not fit together.

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

    @torch.no_grad()
    def __call__(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        *,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
    ) -> MCLDPipelineOutput:
        """Generate pictures from pictures; see :meth:`generate` for the other arguments.

        Args:
            source: Picture of the person, or a list of B.
            texture: The person's texture map, or a list of B; None for models without texture.
            iuv: DensePose's map of the target pose as its PNG reads, channels V, U, part; or a list of B.
            face: Raw face embedding ``(512,)``, or a list of B; None: no face is known.
            height: Rows of the result, a multiple of 8; officially 512.
            width: Columns of the result, a multiple of 8; officially 512, squashed later.
            num_inference_steps: See :meth:`generate`.
            guidance_scale: See :meth:`generate`.
            num_images_per_pair: See :meth:`generate`.
            generator: See :meth:`generate`.
            latents: See :meth:`generate`.
            output_type: See :meth:`generate`.
            callback_on_step_end: See :meth:`generate`.

        Raises:
            PgpisError: Numbers of pictures that do not match, or a face embedding of another size.
        """
        return self.generate(
            self.prepare(source, texture, iuv, face, height, width),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_pair=num_images_per_pair,
            generator=generator,
            latents=latents,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
        )

    def prepare(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        height: int,
        width: int,
    ) -> PairBatch:
        """Fit a user's pictures, squashed to the size of the result as officially; arguments as in ``__call__``."""
        given = {
            "source": as_pictures(source, "source"),
            "texture": [] if texture is None else as_pictures(texture, "texture"),
            "iuv": as_pictures(iuv, "iuv"),
        }
        specs = {
            key: spec
            for key, spec in self.input_specs(height, width).items()
            if isinstance(spec, ImageSpec) and spec.origin != "target"
        }
        count = max(len(pictures) for pictures in given.values())
        for name, pictures in given.items():
            if len(pictures) not in (1, count) and (pictures or self.conditioner.config.use_texture):
                raise PgpisError(f"got {len(pictures)} pictures of the {name}, expected 1 or {count}")
        pairs = [
            fit_images({name: pictures[number % len(pictures)] for name, pictures in given.items() if pictures}, specs)
            for number in range(count)
        ]
        tensors: Any = {key: torch.stack([pair[key] for pair in pairs]) for key in specs}
        batch: PairBatch = tensors
        batch["face"] = self._faces(face, count)
        return batch

    def input_specs(self, height: int = 512, width: int = 512) -> InputSpecs:
        """Return what the model reads of a pair."""
        return self.conditioner.input_specs(height, width, int(self.image_encoder.config.image_size))

    def _faces(self, face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None, count: int) -> torch.Tensor:
        size = int(self.conditioner.config.face_dim)
        if face is None:
            return torch.zeros(count, size)
        faces = torch.from_numpy(np.atleast_2d(np.asarray(face, dtype=np.float32)))
        if faces.shape[1:] != (size,) or len(faces) not in (1, count):
            raise PgpisError(f"face embeddings have shape {tuple(faces.shape)}, expected ({count}, {size})")
        return faces.expand(count, -1)

    @torch.no_grad()
    def generate(
        self,
        batch: PairBatch,
        *,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
        num_images_per_pair: int = 1,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
    ) -> MCLDPipelineOutput:
        """Generate pictures from a prepared batch of B pairs.

        Args:
            batch: What :meth:`prepare` returns; the result has ``pose_image``'s size.
            num_inference_steps: Denoising steps.
            guidance_scale: Weight of source, texture and face; the pose is never left out. Up to 1 the conditional
                prediction is taken as it is.
            num_images_per_pair: Results n per pair; results are ordered ``b0, b1, .., b0, b1, ..``.
            generator: One generator for all; or one per pair or per result.
            latents: Standard normal start ``(n * B, C, H / 8, W / 8)``; drawn if None.
            output_type: "pil", "pt" (tensor in [-1, 1]) or "latent".
            callback_on_step_end: Called as ``callback(pipeline, step, timestep, {"latents": latents})``; a returned
                ``latents`` replaces the current ones.

        Raises:
            PgpisError: A size is no multiple of 8, or a number of generators or latents does not fit.

        Source: MCLD, official sampling (20 DDIM steps, scale 3.5).
        """
        height, width = batch["pose_image"].shape[-2:]
        factor = self.vae_scale_factor
        if not height or not width or height % factor or width % factor:
            raise PgpisError(f"height and width are {height} and {width}, expected multiples of {factor}")
        pairs = len(batch["pose_image"])
        generators = per_row(generator, pairs, num_images_per_pair)
        branches = 2 if guidance_scale > 1 else 1
        with evaluation_mode(self.components.values()):
            pose_features, conditions = self._condition(batch, branches, num_images_per_pair)
            self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
            shape = (pairs * num_images_per_pair, self.vae.config.latent_channels, *pose_features.shape[-2:])
            sample = self._start(latents, shape, generators)
            extra = self._step_arguments(generators)
            with self.progress_bar(total=len(self.scheduler.timesteps)) as progress:
                for step, timestep in enumerate(self.scheduler.timesteps):
                    noisy = self.scheduler.scale_model_input(torch.cat([sample] * branches), timestep)
                    prediction = denoise_focal(self.unet, noisy, timestep, pose_features, conditions).float()
                    if branches == 2:
                        without, conditional = prediction.chunk(2)
                        prediction = without + guidance_scale * (conditional - without)
                    sample = self.scheduler.step(prediction, timestep, sample, **extra, return_dict=False)[0]
                    sample = self._call_back(callback_on_step_end, step, timestep, sample)
                    progress.update()
            return MCLDPipelineOutput(images=self._finish(sample, output_type))

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
            bank = self.reference_net.bank(
                (texture * self.vae.config.scaling_factor).to(self.reference_net.dtype),
                ports.reference_token.to(self.reference_net.dtype),
            )
        rows = num_images * len(encoded.source)
        conditions = self.unet.prepare(
            ports.tokens,
            bank,
            correspondence=ports.correspondence,
            zero_rows=rows if branches == 2 else 0,
            repeats=num_images,
        )
        return ports.pose_features.to(dtype).repeat(branches * num_images, 1, 1, 1), conditions
