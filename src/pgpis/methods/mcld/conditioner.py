"""MCLD: fills the denoiser's ports from a source picture, a texture, a face embedding and an IUV map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from pgpis.batch import ImageSpec, InputSpecs, VectorSpec
from pgpis.denoiser.multifocal import FocalConditions, FocalTokens, MultiFocalUNet
from pgpis.errors import PgpisError, check_range, nearest
from pgpis.methods.mcld.correspondence import Correspondence
from pgpis.methods.mcld.resampler import FaceResampler
from pgpis.models.pose import PoseEncoder
from pgpis.pictures.iuv import PART_CHANNEL

__all__ = ["EncodedFoci", "FocalPorts", "MCLDConditioner", "ModelMixin", "denoise_focal"]

AGGREGATIONS = ("stage", "all", "ip")
FILTERS = ("nearest", "bicubic")


@dataclass(frozen=True)
class EncodedFoci:
    """What the frozen encoders say about a batch.

    ``source`` and ``texture``: CLIP image embeddings ``(B, D)``; ``face``: raw face embeddings ``(B, 512)``, zeros
    where there is no face. Models without texture or face take None.
    """

    source: torch.Tensor
    texture: torch.Tensor | None
    face: torch.Tensor | None


@dataclass(frozen=True)
class FocalPorts:
    """What the denoiser receives beside noisy latents, time steps and the ReferenceNet's hidden states."""

    tokens: FocalTokens
    pose_features: torch.Tensor
    """Added to ``conv_in``'s result, ``(B, block_out_channels[0], h, w)``."""
    reference_token: torch.Tensor
    """The ReferenceNet's only cross-attention token, ``(B, 1, D)``."""
    correspondence: Correspondence | None = None
    """Where each picture shows what of its texture; None: nothing is said of it."""


class MCLDConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """The trained projections of MCLD, and which stage of the denoiser reads which token.

    Down blocks read the source's token, the mid block source and texture, up blocks the texture; all read the face.

    Args:
        token_dim: Width of CLIP's image embedding and of the denoiser's cross-attention.
        face_dim: Width of the face embedding.
        resampler_dim: Width inside the face resampler.
        resampler_depth: Its layers.
        resampler_heads: Its heads.
        resampler_head_dim: Width of one.
        face_tokens: Number of face tokens.
        pose_hidden_channels: Channels of the pose encoder's stages.
        pose_channels: Channels after the denoiser's first convolution.
        use_face: Ablation: False zeroes the face tokens and builds no resampler.
        use_texture: Ablation: False leaves the texture's token and the ReferenceNet out; up blocks then read the
            source's token.
        aggregation: ``stage`` as published; ``all``: every stage reads source and texture; ``ip``: plain
            IP-attention, every stage reads the source, and texture and face through the second attention.
        iuv_filter: How DensePose's map was resized for training: ``nearest``, or ``bicubic`` as officially, which mixes
            labels.
        part_scale: Factor on the map's part, 0..24, before the pose encoder. 1 as officially, where neighbouring parts
            are 1/255 apart; 10 spreads them over the range, which a net that starts from nothing tells apart sooner.
        correspondence: How strongly the attention to the ReferenceNet is drawn to the texture's cells that a cell of
            the target shows, see ``Correspondence``; 0 as officially, not at all.

    Source: MCLD, "Multi-Focal Condition Aggregation"; table of stages as in the official code.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        *,
        token_dim: int = 768,
        face_dim: int = 512,
        resampler_dim: int = 1280,
        resampler_depth: int = 4,
        resampler_heads: int = 20,
        resampler_head_dim: int = 64,
        face_tokens: int = 16,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        pose_channels: int = 320,
        use_face: bool = True,
        use_texture: bool = True,
        aggregation: str = "stage",
        iuv_filter: str = "nearest",
        part_scale: int = 1,
        correspondence: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, known in (("aggregation", aggregation, AGGREGATIONS), ("iuv_filter", iuv_filter, FILTERS)):
            if value not in known:
                raise PgpisError(f"{name}: no such choice '{value}'{nearest(value, known)}; one of {', '.join(known)}")
        check_range("correspondence", correspondence, 0)
        check_range("part_scale", part_scale, 1, whole=True)
        self.face_resampler = None
        if use_face:
            self.face_resampler = FaceResampler(
                dim=resampler_dim,
                depth=resampler_depth,
                heads=resampler_heads,
                head_dim=resampler_head_dim,
                tokens=face_tokens,
                embedding_dim=face_dim,
                token_dim=token_dim,
            )
        self.pose_encoder = PoseEncoder(pose_channels, tuple(pose_hidden_channels))

    def forward(self, encoded: EncodedFoci, iuv: torch.Tensor) -> FocalPorts:
        """Fill the ports.

        Args:
            encoded: What the frozen encoders say.
            iuv: DensePose's map as its PNG is read, channels V, U, part, in [-1, 1], ``(B, 3, H, W)``.
        """
        dtype = next(self.parameters()).dtype
        source = encoded.source[:, None].to(dtype)
        found = None
        if self.config.use_texture and self.config.correspondence:
            factor = 2 ** (len(self.config.pose_hidden_channels) - 1)
            size = (iuv.shape[2] // factor, iuv.shape[3] // factor)
            found = Correspondence(iuv, size, self.config.correspondence)
        if self.config.part_scale != 1:
            iuv = iuv.clone()
            iuv[:, PART_CHANNEL] = (iuv[:, PART_CHANNEL] / 2 + 0.5) * self.config.part_scale * 2 - 1
        return FocalPorts(self._aggregate(source, encoded), self.pose_encoder(iuv.to(dtype)), source, found)

    def _aggregate(self, source: torch.Tensor, encoded: EncodedFoci) -> FocalTokens:
        """Say which stage reads what."""
        face = self._face_tokens(source, encoded)
        if encoded.texture is None:
            return FocalTokens(source, source, source, face)
        texture = encoded.texture[:, None].to(source)
        both = torch.cat([source, texture], dim=1)
        if self.config.aggregation == "all":
            return FocalTokens(both, both, both, face)
        if self.config.aggregation == "ip":
            return FocalTokens(source, source, source, torch.cat([texture, face], dim=1))
        return FocalTokens(source, both, texture, face)

    def _face_tokens(self, source: torch.Tensor, encoded: EncodedFoci) -> torch.Tensor:
        if self.face_resampler is None or encoded.face is None:
            return source.new_zeros(len(source), self.config.face_tokens, self.config.token_dim)
        tokens: torch.Tensor = self.face_resampler(encoded.face.to(source))
        return tokens

    def input_specs(self, height: int, width: int, clip_size: int) -> InputSpecs:
        """Return what MCLD reads of a pair.

        Args:
            height: Rows of the result, in pixels.
            width: Columns of the result, in pixels.
            clip_size: Side of CLIP's input, in pixels.

        Source: Official loader: everything squashed to one size, CLIP's pictures made from the squashed ones.
        """
        specs: dict[str, ImageSpec | VectorSpec] = {
            "source_image": ImageSpec("source", height, width),
            "source_clip": ImageSpec("source", clip_size, clip_size, base="source_image"),
            "pose_image": ImageSpec("iuv", height, width, filter=self.config.iuv_filter),
            "target_image": ImageSpec("target", height, width),
        }
        if self.config.use_texture:
            specs["texture_image"] = ImageSpec("texture", height, width)
            specs["texture_clip"] = ImageSpec("texture", clip_size, clip_size, base="texture_image")
        if self.config.use_face:
            specs["face"] = VectorSpec("face", self.config.face_dim)
        return specs


def denoise_focal(
    unet: MultiFocalUNet,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    pose_features: torch.Tensor,
    conditions: FocalConditions,
) -> torch.Tensor:
    """Run the denoiser once.

    Args:
        unet: The denoiser.
        latents: Noisy latents, scaled, ``(R, C, h, w)``.
        timesteps: int64 ``(R,)`` or a scalar.
        pose_features: ``(R, block_out_channels[0], h, w)``.
        conditions: Keys and values for R rows, from :meth:`MultiFocalUNet.prepare`.

    Returns:
        The prediction, ``(R, C, h, w)``.
    """
    # the stock block asks for tokens to tell cross- from self-attention; the processors read the conditions
    first_tokens = next(iter(conditions.tokens.values()))[0]
    unread = latents.new_empty(len(latents), first_tokens.shape[2], unet.config.cross_attention_dim)
    prediction: torch.Tensor = unet(
        torch.cat([latents.to(pose_features.dtype), pose_features], dim=1),
        timesteps,
        encoder_hidden_states=unread.to(pose_features.dtype),
        cross_attention_kwargs={"conditions": conditions},
        return_dict=False,
    )[0]
    return prediction
