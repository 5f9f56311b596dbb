"""FPDM: fills the denoiser's ports from a source picture, a drawn pose and the prior's fusion embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from pgpis.batch import ImageSpec, ImageSpecs, PairBatch
from pgpis.denoiser import ConditionedUNet, Ports
from pgpis.errors import PgpisError
from pgpis.methods.fpdm.prior import FusionEmbedder
from pgpis.models.encoders import PositionInterpolation, VisionEncoder, encode_tokens, token_width
from pgpis.models.pose import PoseEncoder
from pgpis.models.projection import FusionProjection, TokenProjection
from pgpis.models.sources import encode_sources, mean_of_sources, present_sources, side_by_side

INTERPOLATION = "position_interpolation"
"""In a checkpoint, and of the conditioner: how the source encoder interpolates positions, which no weight tells."""


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

    ``source_dim`` is the width of the source encoder's tokens, ``token_dim`` that of the denoiser's cross-attention,
    ``pose_channels`` what its first convolution has, ``time_embed_dim`` the width of its time embedding, and
    ``fusion_dim`` that of the fusion embedding, None for models without a prior (B1-B3). ``FPDMPorts`` documents the
    others; ``position_interpolation`` is kept here because it belongs to the weights that were trained on these tokens.
    ``fusion_hidden_dim`` None is ``fusion_dim``, which it was in every pipeline saved before this argument.

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
        self.fusion_projection = None
        if fusion_dim is not None:
            hidden_dim = fusion_hidden_dim or fusion_dim
            self.fusion_projection = FusionProjection(fusion_dim, time_embed_dim, hidden_dim, dropout)

    @classmethod
    def for_components(
        cls,
        unet: ConditionedUNet,
        source_encoder: VisionEncoder,
        fusion_embedder: FusionEmbedder | None = None,
        *,
        token_hidden_dim: int = 768,
        **options: Any,
    ) -> FPDMConditioner:
        """Build a conditioner whose widths follow from the components; other arguments are the class's.

        ``token_hidden_dim`` is the width inside both projections.
        """
        return cls(
            source_dim=token_width(source_encoder),
            token_dim=unet.config.cross_attention_dim,
            token_hidden_dim=token_hidden_dim,
            pose_channels=unet.config.block_out_channels[0],
            fusion_dim=None if fusion_embedder is None else fusion_embedder.embedding_dim,
            fusion_hidden_dim=None if fusion_embedder is None else token_hidden_dim,
            time_embed_dim=unet.time_embedding.linear_2.out_features,
            **options,
        )

    def forward(
        self,
        source_tokens: torch.Tensor,
        fusion_embedding: torch.Tensor | None,
        pose_image: torch.Tensor,
        keep: KeepMasks | None = None,
    ) -> Ports:
        """Fill the ports.

        Args:
            source_tokens: The source encoder's, class token first, ``(B, N, source_dim)``.
            fusion_embedding: The prior's, ``(B, fusion_dim)``; None for models without one.
            pose_image: Drawn target pose, RGB in [-1, 1], ``(B, 3, H, W)``.
            keep: Samples that keep each condition; None keeps all.

        Raises:
            PgpisError: The model has a fusion port but no fusion embedding was given, or the reverse.
        """
        if (fusion_embedding is None) != (self.fusion_projection is None):
            raise PgpisError("the fusion embedding and the fusion projection must be both present or both absent")
        dtype = next(self.parameters()).dtype
        tokens = self.source_projection(source_tokens.to(dtype))
        pose_features = self.pose_encoder(pose_image.to(dtype))
        time_embedding = None
        if self.fusion_projection is not None and fusion_embedding is not None:
            fusion = fusion_embedding.to(dtype)
            time_embedding = self.fusion_projection(fusion if keep is None else _keep(fusion, keep.fusion_embedding))
        if keep is not None:
            tokens, pose_features = _keep(tokens, keep.tokens), _keep(pose_features, keep.pose_features)
        return Ports(tokens, pose_features, time_embedding)

    def empty_time_embedding(self, device: torch.device | None = None) -> torch.Tensor | None:
        """Return what the time embedding receives without a fusion embedding, ``(1, time_embed_dim)``.

        ``device`` is the one that computes, where the weights wait elsewhere.
        """
        if self.fusion_projection is None:
            return None
        return self.fusion_projection(
            torch.zeros(1, self.config.fusion_dim, dtype=self.dtype, device=device or self.device)
        )

    def input_specs(
        self, height: int, width: int, fusion_embedder: FusionEmbedder | None = None, *, source_detour: bool = True
    ) -> ImageSpecs:
        """Return the pictures that FPDM reads of a pair, by the size of the result in pixels.

        With ``source_detour`` training squashes every second source to half its size first.

        Source: Official loader: all pictures squashed, the prior's source made from the 8-bit source of the encoder.
        Deviation: The official detour exists at 512 pixels only; here it is an option.
        """
        size = self.config.source_size
        detour = (size // 2, size // 2) if source_detour else None
        specs = {
            "source_image": ImageSpec("source", size, size, train_detour=detour),
            "target_image": ImageSpec("target", height, width),
            "pose_image": ImageSpec("pose", height, width),
        }
        if fusion_embedder is not None:
            side = fusion_embedder.input_size
            specs["prior_source"] = ImageSpec("source", side, side, base="source_image")
            if fusion_embedder.fusion_head is not None:
                specs["prior_pose"] = ImageSpec("pose", side, side)
        return specs


def _keep(condition: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return condition * mask.to(condition).reshape(-1, *[1] * (condition.ndim - 1))


def encode_pair(
    source_encoder: VisionEncoder, fusion_embedder: FusionEmbedder | None, batch: PairBatch
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the frozen encoders once on a batch; return source tokens and fusion embedding.

    The batch holds ``source_image`` or its ``source_tokens`` and, with a prior, ``prior_source`` and (where it fuses)
    ``prior_pose``. The tokens of a pair's sources follow each other, and its embedding is their mean.
    """
    if "source_tokens" in batch:
        tokens = batch["source_tokens"]
    else:
        each = encode_sources(batch, "source_image", lambda images, _: encode_tokens(source_encoder, images))
        tokens = side_by_side(each, present_sources(batch, len(each))).flatten(1, 2)  # (B, L * N, source_dim)
    if fusion_embedder is None:
        return tokens, None
    pose = None if fusion_embedder.fusion_head is None else batch["prior_pose"]
    embeddings = encode_sources(
        batch, "prior_source", lambda images, pairs: fusion_embedder(images, None if pose is None else pose[pairs])
    )
    return tokens, mean_of_sources(embeddings, present_sources(batch, len(embeddings)))
