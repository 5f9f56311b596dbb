"""FPDM: fills the denoiser's ports from a source picture, a drawn pose and the prior's fusion embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from pgpis.batch import ImageSpec, ImageSpecs, PairBatch
from pgpis.denoiser.attention import KeyValueCache
from pgpis.denoiser.unet import PoseUNet
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.prior import FusionEmbedder
from pgpis.models.encoders import PositionInterpolation, VisionEncoder, encode_tokens, token_width
from pgpis.models.pose import PoseEncoder
from pgpis.models.projection import FusionProjection, TokenProjection


@dataclass(frozen=True)
class Ports:
    """What the denoiser receives beside noisy latents and time steps."""

    tokens: torch.Tensor
    """Source tokens for cross-attention, ``(B, N, cross_attention_dim)``."""
    pose_features: torch.Tensor
    """Added to ``conv_in``'s result, ``(B, block_out_channels[0], h, w)``."""
    time_embedding: torch.Tensor | None
    """Added to the time embedding, ``(B, time_embed_dim)``; None for models without a prior (B1-B3)."""


@dataclass(frozen=True)
class EncodedPair:
    """What the frozen encoders say about a batch of pairs."""

    source_tokens: torch.Tensor
    """``(B, N, source_dim)``, class token first."""
    fusion_embedding: torch.Tensor | None
    """``(B, fusion_dim)``; None without a prior."""


@dataclass(frozen=True)
class KeepMasks:
    """Which samples keep a condition in a training step, bool ``(B,)`` each.

    Source: Official code, where a drop zeroes projected tokens and pose features, but the fusion embedding *before* its
        projection: without fusion embedding the time embedding still receives the projection of zeros.
    """

    tokens: torch.Tensor
    pose_features: torch.Tensor
    fusion_embedding: torch.Tensor


class FPDMConditioner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """The trained projections of FPDM.

    Args:
        source_dim: Width of the source encoder's tokens.
        token_dim: Width of the denoiser's cross-attention.
        token_hidden_dim: Width inside the token projection.
        pose_hidden_channels: Channels of the pose encoder's stages.
        pose_channels: Channels after the denoiser's first convolution.
        fusion_dim: Width of the fusion embedding; None for models without a prior (B1-B3).
        fusion_hidden_dim: Width inside the fusion projection; None is ``fusion_dim``, which it was in every pipeline
            saved before this argument.
        time_embed_dim: Width of the denoiser's time embedding.
        dropout: Dropout inside the projections.
        source_size: Side in pixels of the square source picture that the source encoder sees.
        position_interpolation: How a DINOv2 source encoder interpolates its positions; official weights need
            ``scale_factor``. Kept here because it belongs to the weights that were trained on these tokens.

    Source: FPDM, section "Fusion Embedding Conditioned Diffusion Model"; official code, where both projections have the
        same width inside (:meth:`for_components`).
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        *,
        source_dim: int = 1024,
        token_dim: int = 1024,
        token_hidden_dim: int = 768,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        pose_channels: int = 320,
        fusion_dim: int | None = 768,
        fusion_hidden_dim: int | None = None,
        time_embed_dim: int = 1280,
        dropout: float = 0.2,
        source_size: int = 512,
        position_interpolation: PositionInterpolation = "size",
    ) -> None:
        super().__init__()
        self.source_projection = TokenProjection(source_dim, token_dim, token_hidden_dim, dropout)
        self.pose_encoder = PoseEncoder(pose_channels, tuple(pose_hidden_channels))
        self.fusion_projection = (
            None
            if fusion_dim is None
            else FusionProjection(fusion_dim, time_embed_dim, fusion_hidden_dim or fusion_dim, dropout)
        )

    @classmethod
    def for_components(
        cls,
        unet: PoseUNet,
        source_encoder: VisionEncoder,
        fusion_embedder: FusionEmbedder | None = None,
        *,
        token_hidden_dim: int = 768,
        pose_hidden_channels: tuple[int, ...] = (16, 32, 96, 256),
        dropout: float = 0.2,
        source_size: int = 512,
        position_interpolation: PositionInterpolation = "size",
    ) -> FPDMConditioner:
        """Build a conditioner whose widths follow from the components.

        Arguments are as the class's, except that ``token_hidden_dim`` is the width inside both projections.
        """
        conditioner: FPDMConditioner = cls(
            source_dim=token_width(source_encoder),
            token_dim=unet.config.cross_attention_dim,
            token_hidden_dim=token_hidden_dim,
            pose_hidden_channels=tuple(pose_hidden_channels),
            pose_channels=unet.config.block_out_channels[0],
            fusion_dim=None if fusion_embedder is None else fusion_embedder.embedding_dim,
            fusion_hidden_dim=None if fusion_embedder is None else token_hidden_dim,
            time_embed_dim=unet.time_embedding.linear_2.out_features,
            dropout=dropout,
            source_size=source_size,
            position_interpolation=position_interpolation,
        )
        return conditioner

    def forward(self, encoded: EncodedPair, pose_image: torch.Tensor, keep: KeepMasks | None = None) -> Ports:
        """Fill the ports.

        Args:
            encoded: Result of :func:`encode_pair`.
            pose_image: Drawn target pose, RGB in [-1, 1], ``(B, 3, H, W)``.
            keep: Samples that keep each condition; None keeps all.

        Raises:
            PgpisError: The model has a fusion port but no fusion embedding was given, or the reverse.
        """
        if (encoded.fusion_embedding is None) != (self.fusion_projection is None):
            raise PgpisError("the fusion embedding and the fusion projection must be both present or both absent")
        dtype = next(self.parameters()).dtype
        tokens = self.source_projection(encoded.source_tokens.to(dtype))
        pose_features = self.pose_encoder(pose_image.to(dtype))
        time_embedding = None
        if self.fusion_projection is not None and encoded.fusion_embedding is not None:
            fusion = encoded.fusion_embedding.to(dtype)
            time_embedding = self.fusion_projection(fusion if keep is None else _keep(fusion, keep.fusion_embedding))
        if keep is not None:
            tokens, pose_features = _keep(tokens, keep.tokens), _keep(pose_features, keep.pose_features)
        return Ports(tokens, pose_features, time_embedding)

    def empty_time_embedding(self) -> torch.Tensor | None:
        """Return what the time embedding receives without a fusion embedding, ``(1, time_embed_dim)``."""
        if self.fusion_projection is None:
            return None
        parameter = next(self.parameters())
        empty: torch.Tensor = self.fusion_projection(parameter.new_zeros(1, self.config.fusion_dim))
        return empty


def _keep(condition: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return condition * mask.to(condition).reshape(-1, *[1] * (condition.ndim - 1))


def encode_pair(source_encoder: VisionEncoder, fusion_embedder: FusionEmbedder | None, batch: PairBatch) -> EncodedPair:
    """Run the frozen encoders once on a batch.

    Args:
        source_encoder: CLIP or DINOv2.
        fusion_embedder: The prior, or None.
        batch: ``source_image`` or its ``source_tokens`` and, with a prior, ``prior_source`` and (where it fuses)
            ``prior_pose``.
    """
    if "source_tokens" in batch:
        tokens = batch["source_tokens"]
    else:
        tokens = encode_tokens(source_encoder, batch["source_image"])
    fusion = None
    if fusion_embedder is not None:
        pose = None if fusion_embedder.fusion_head is None else batch["prior_pose"]
        fusion = fusion_embedder(batch["prior_source"], pose)
    return EncodedPair(tokens, fusion)


def denoise(
    unet: PoseUNet,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    ports: Ports,
    cache: KeyValueCache | None = None,
) -> torch.Tensor:
    """Run the denoiser once.

    Args:
        unet: The denoiser.
        latents: Noisy latents, scaled, ``(R, C, h, w)``.
        timesteps: int64 ``(R,)`` or a scalar.
        ports: Conditions for R rows. With a cache, ``tokens`` are those of the cached pictures.
        cache: Keys and values computed from the tokens.

    Returns:
        The prediction, ``(R, C, h, w)``.
    """
    prediction: torch.Tensor = unet(
        torch.cat([latents.to(ports.pose_features.dtype), ports.pose_features], dim=1),
        timesteps,
        encoder_hidden_states=ports.tokens,
        class_labels=ports.time_embedding,
        cross_attention_kwargs=None if cache is None else {"cache": cache},
        return_dict=False,
    )[0]
    return prediction


def image_specs(
    height: int,
    width: int,
    source_size: int = 512,
    fusion_embedder: FusionEmbedder | None = None,
    *,
    source_detour: bool = True,
) -> ImageSpecs:
    """Return the pictures that FPDM needs.

    Args:
        height: Rows of the result, in pixels.
        width: Columns of the result, in pixels.
        source_size: Side of the source encoder's input, in pixels.
        fusion_embedder: The prior, or None.
        source_detour: In training, squash every second source to half its size first.

    Source: Official loader: all pictures squashed, the prior's source made from the 8-bit source of the encoder.
    Deviation: The official detour exists at 512 pixels only; here it is an option.
    """
    half = source_size // 2
    specs = {
        "source_image": ImageSpec(
            "source", source_size, source_size, train_detour=(half, half) if source_detour else None
        ),
        "target_image": ImageSpec("target", height, width),
        "pose_image": ImageSpec("pose", height, width),
    }
    if fusion_embedder is not None:
        size = fusion_embedder.input_size
        specs["prior_source"] = ImageSpec("source", size, size, base="source_image")
        if fusion_embedder.fusion_head is not None:
            specs["prior_pose"] = ImageSpec("pose", size, size)
    return specs
