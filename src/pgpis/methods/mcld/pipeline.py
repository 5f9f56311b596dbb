"""MCLD's pipeline: a picture, its texture, its face and a target IUV in, the person in that pose out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from numpy.typing import NDArray
from transformers import CLIPVisionModelWithProjection

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.denoiser import ConditionedUNet, Ports
from pgpis.denoiser.attention import refuse_unread
from pgpis.errors import PgpisError
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.methods.mcld.refiner import Refiner
from pgpis.methods.mcld.rendering import surface_of_texture
from pgpis.models.autoencoder import Autoencoder, mean_latents
from pgpis.models.encoders import encode_pictures
from pgpis.models.sources import encode_sources, present_sources, side_by_side
from pgpis.pictures.uv_texture import TEXTURE_SIZE
from pgpis.pipelines.base import SamplingPipeline
from pgpis.pipelines.inputs import Picture, prepare_faces, prepare_pairs
from pgpis.pipelines.options import Images, SamplingOptions, shows_options_of

STAND_INS = ("surface", "backdrop")
"""What the published call knows nothing of, and may therefore be left out."""

log = logging.getLogger(__name__)


class MCLDPipeline(SamplingPipeline):
    """Generate a person in a new pose from multi-focal conditions.

    Args:
        vae: Autoencoder.
        unet: Denoiser.
        reference_net: Net that reads the texture; it must have the denoiser's blocks. None for models without texture.
        scheduler: One of diffusers whose steps are noise levels of training; officially DDIM with zero terminal SNR and
            trailing steps.
        image_encoder: CLIP for the source and the texture.
        conditioner: Trained projections.
        refiner: Puts details of the source back into the finished picture (ours); None: the latents decode to it.
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

    _optional_components: ClassVar[list[str]] = ["reference_net", "refiner"]
    _unread: ClassVar[tuple[str, ...]] = ("source_image",)  # CLIP's picture is made of it
    model_cpu_offload_seq = "image_encoder->conditioner->reference_net->unet->vae->refiner"

    def __init__(
        self,
        *,
        vae: Autoencoder,
        unet: ConditionedUNet,
        scheduler: SchedulerMixin,
        image_encoder: CLIPVisionModelWithProjection,
        conditioner: MCLDConditioner,
        reference_net: ReferenceNet | None = None,
        refiner: Refiner | None = None,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.5,
        output_size: list[int] | None = None,
        pose_canvas: list[int] | None = None,
        stick_width: int | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            reference_net=reference_net,
            scheduler=scheduler,
            image_encoder=image_encoder,
            conditioner=conditioner,
            refiner=refiner,
        )
        self._check_components()
        self.set_defaults(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            output_size=output_size,
            pose_canvas=pose_canvas,
            stick_width=stick_width,
        )

    def _check_components(self) -> None:
        self._check_reference()
        if self.refiner is not None and not self.conditioner.config.rendered_texture:
            raise PgpisError(
                "the components do not fit together: a refiner reads the texture seen through the map, and this model "
                "was trained without",
                hint="conditioner.rendered_texture: true",
            )
        config, unet = self.conditioner.config, self.unet.config
        lent = unet if self.reference_net is None else self.reference_net.config
        pairs = (
            ("token_dim", config.token_dim, unet.cross_attention_dim),
            ("token_dim of the image encoder", config.token_dim, self.image_encoder.config.projection_dim),
            ("pose_channels", config.pose_channels, unet.block_out_channels[0]),
            ("pose_hidden_channels", 2 ** (len(config.pose_hidden_channels) - 1), self.vae_scale_factor),
            ("latent channels", unet.in_channels, self.vae.config.latent_channels),
            ("blocks of the ReferenceNet", tuple(lent.block_out_channels), tuple(unet.block_out_channels)),
            ("second attention of the unet (extra_tokens)", unet.extra_tokens, True),
        )
        for name, own, other in pairs:
            if own != other:
                raise PgpisError(f"the components do not fit together: {name} is {own}, the others have {other}")

    def _check_reference(self) -> None:
        uses_texture = self.conditioner.config.use_texture
        if uses_texture and self.reference_net is None:
            raise PgpisError(
                "the components do not fit together: the model was trained with a texture, but has no reference_net",
                hint="use_texture=False is a model without one, to be trained anew",
            )
        if not uses_texture and self.reference_net is not None:
            message = "the components do not fit together: a model without texture has no use for a reference_net"
            raise PgpisError(message)

    def input_specs(self, height: int = 512, width: int = 512) -> InputSpecs:
        """Return what MCLD reads of a pair."""
        return self.conditioner.input_specs(height, width, int(self.image_encoder.config.image_size))

    @shows_options_of(SamplingPipeline.generate)
    def __call__(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        *,
        surface: Picture | Sequence[Picture] | None = None,
        backdrop: Picture | Sequence[Picture] | None = None,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: float | None = None,
        **options: Unpack[SamplingOptions],
    ) -> ImagePipelineOutput | tuple[Images]:
        """Generate pictures from pictures.

        Args:
            source: Picture of the person, or a list of B.
            texture: The person's texture map, or a list of B; None for models without texture, which do not look at it.
            iuv: DensePose's map of the target pose as its PNG reads, channels V, U, part; or a list of B.
            face: Raw face embedding ``(512,)``, or a list of B; None: no face is known. Models without faces do not
                look at it.
            surface: What the source shows of the body (:mod:`pgpis.pictures.surface`), or a list of B; for models with
                ``rendered_texture``. None: the texture, as if all of it were guessed.
            backdrop: The source without the person, or a list of B; for models with ``backdrop``. None: white.
            height: Rows of the result, a multiple of 8; None: the pipeline's own, officially 512.
            width: Columns of the result, a multiple of 8; None: the pipeline's own, officially 512, squashed later.
            guidance_scale: Weight of source, texture and face; the pose is never left out. See :meth:`generate`.
            **options: See :class:`SamplingOptions`; officially 20 DDIM steps, scale 3.5.

        Raises:
            PgpisError: Numbers of pictures that do not match, a surface or backdrop that the model does not read, a map
                that is not DensePose's, or a face embedding of another size or that is not finite; else see
                :meth:`generate`.
        """
        height, width = self._size(height, width)
        pictures = {"source": source, "texture": texture, "iuv": iuv, "surface": surface, "backdrop": backdrop}
        batch = self._batch(pictures, face, self.input_specs(height, width), self.config.pose_canvas)
        return self.generate(batch, guidance_scale=guidance_scale, **options)

    def prepare(
        self,
        source: Picture | Sequence[Picture],
        texture: Picture | Sequence[Picture] | None,
        iuv: Picture | Sequence[Picture],
        face: NDArray[np.floating] | Sequence[NDArray[np.floating]] | None,
        height: int,
        width: int,
        pose_canvas: Sequence[int] | None = None,
        *,
        surface: Picture | Sequence[Picture] | None = None,
        backdrop: Picture | Sequence[Picture] | None = None,
    ) -> PairBatch:
        """Fit pictures to the size of the result, as officially by squashing; arguments as in ``__call__``.

        With a ``pose_canvas``, as in ``__call__``, the map is checked and centred on a canvas of that shape first.
        """
        pictures = {"source": source, "texture": texture, "iuv": iuv, "surface": surface, "backdrop": backdrop}
        return self._batch(pictures, face, self.input_specs(height, width), pose_canvas)

    def _batch(
        self,
        pictures: Mapping[str, Picture | Sequence[Picture] | None],
        face: Any,
        specs: InputSpecs,
        pose_canvas: Sequence[int] | None,
    ) -> PairBatch:
        lacking = {
            key: spec for key, spec in specs.items() if spec.origin in STAND_INS and pictures.get(spec.origin) is None
        }
        read = {spec.origin for spec in specs.values()}
        for name in STAND_INS:
            if pictures.get(name) is not None and name not in read:
                raise PgpisError(f"{name}: this model was trained without it, expected None")
        given = {key: spec for key, spec in specs.items() if key not in lacking}
        batch: Any = prepare_pairs(pictures, given, pose_canvas)
        if lacking:
            names = " and ".join(spec.origin for spec in lacking.values())
            log.warning(
                "%s not given: the model was trained with it, and gets a guess; 'pgpis predict' makes it", names
            )
            sized: Any = {"texture": ImageSpec("texture", TEXTURE_SIZE, TEXTURE_SIZE, filter="nearest")}
            textures: Any = prepare_pairs(pictures, sized, pose_canvas)
            surface = surface_of_texture(textures["texture"]).expand(len(batch["pose_image"]), -1, -1, -1)
            stand_ins = {"surface": surface, "backdrop": torch.ones_like(batch["source_image"])}
            batch |= {key: stand_ins[spec.origin] for key, spec in lacking.items()}
        batch["face"] = prepare_faces(face, int(self.conditioner.config.face_dim), len(batch["pose_image"]))
        return batch

    def condition(self, batch: PairBatch, scales: Mapping[str, float]) -> list[Ports]:
        """Return the ports of the branches that must run: all but the pose left out, and everything."""
        if not self.unet.supports_cache:
            refuse_unread()
        config = self.conditioner.config
        source = encode_sources(batch, "source_clip", lambda images, _: encode_pictures(self.image_encoder, images))
        present, face = present_sources(batch, len(source)), self.conditioner.faces(batch)
        texture = encode_pictures(self.image_encoder, batch["texture_clip"]) if config.use_texture else None
        rendered = self.conditioner.rendered_latents(batch, self.vae)
        ports: Ports = self.conditioner(source, texture, face, batch["pose_image"], rendered, present)
        self._check_reference()
        if self.reference_net is not None:
            # officially the middle of the posterior, not a draw from it
            latents = mean_latents(self.vae, batch["texture_image"])
            bank = self.reference_net.bank(latents * self.vae.config.scaling_factor, side_by_side(source, present))
            ports = replace(ports, reference=bank)
        return [replace(ports, tokens=None), ports] if scales["guidance_scale"] > 1 else [ports]

    def finish(self, images: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Refine what the latents decode to, where there is a refiner."""
        rendered = None if self.refiner is None else self.conditioner.render(batch)
        if rendered is None:
            return images
        number = len(images) // len(batch["pose_image"])
        conditions = [value.repeat(number, 1, 1, 1) for value in (*rendered, batch["pose_image"])]
        refined: torch.Tensor = self.refiner(images.clamp(-1, 1), *conditions)
        return refined
