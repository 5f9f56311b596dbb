"""Running frozen or trained vision encoders (CLIP, DINOv2) on pictures in [-1, 1]."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import nn
from transformers import CLIPVisionModelWithProjection, Dinov2Model
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from pgpis.errors import PgpisError, nearest

VisionEncoder: TypeAlias = CLIPVisionModelWithProjection | Dinov2Model
PositionInterpolation: TypeAlias = Literal["size", "scale_factor"]

POSITION_INTERPOLATIONS = get_args(PositionInterpolation)


def normalize_pictures(encoder: VisionEncoder, images: torch.Tensor) -> torch.Tensor:
    """Shift and scale RGB pictures in [-1, 1] as the encoder's family was trained, and cast them to its dtype."""
    if encoder.config.model_type == "dinov2":
        mean, deviation = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    else:
        mean, deviation = OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
    center = images.new_tensor(mean).view(1, 3, 1, 1)
    scale = images.new_tensor(deviation).view(1, 3, 1, 1)
    return ((images / 2 + 0.5 - center) / scale).to(encoder.dtype)


def encode_tokens(encoder: VisionEncoder, images: torch.Tensor) -> torch.Tensor:
    """Return all tokens of the last layer, the class token first, ``(B, 1 + patches, D)``.

    Args:
        encoder: CLIP or DINOv2.
        images: RGB in [-1, 1], ``(B, 3, H, W)``; CLIP takes its own size only, DINOv2 any multiple of its patch.
    """
    _check_size(encoder, images)
    return encoder(normalize_pictures(encoder, images)).last_hidden_state


def encode_pictures(encoder: VisionEncoder, images: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    """Return one unnormalised embedding per picture: CLIP's ``image_embeds``, DINOv2's class token, ``(B, D)``.

    Args:
        encoder: CLIP or DINOv2.
        images: As in :func:`encode_tokens`.
        keep: bool ``(B,)``; the others' normalised pixels are zeroed (a plain picture of the family's mean colour).
    """
    _check_size(encoder, images)
    pixels = normalize_pictures(encoder, images)
    if keep is not None:
        pixels = pixels * keep.to(pixels)[:, None, None, None]
    output = encoder(pixels)
    return output.pooler_output if encoder.config.model_type == "dinov2" else output.image_embeds


def token_width(encoder: VisionEncoder) -> int:
    """Return the width of :func:`encode_tokens`."""
    return int(encoder.config.hidden_size)


def embedding_width(encoder: VisionEncoder) -> int:
    """Return the width of :func:`encode_pictures`."""
    is_dino = encoder.config.model_type == "dinov2"
    return int(encoder.config.hidden_size if is_dino else encoder.config.projection_dim)


def _check_size(encoder: VisionEncoder, images: torch.Tensor) -> None:
    (height, width), config = images.shape[-2:], encoder.config
    if config.model_type == "dinov2":
        if min(height, width) < config.patch_size:
            raise PgpisError(f"DINOv2 got {height}x{width} pixels, less than one patch of {config.patch_size}")
    elif (height, width) != (config.image_size, config.image_size):
        size = config.image_size
        raise PgpisError(
            f"the CLIP encoder takes pictures of {size}x{size} pixels, got {height}x{width}",
            hint=f"set the size of its input (source_size, image_size) to {size}",
        )


class ScaleFactorEmbeddings(Dinov2Embeddings):  # type: ignore[misc, unused-ignore]
    """DINOv2's embeddings, with position embeddings interpolated as transformers 4.40 did.

    For n rows of patches, the trained grid is sampled with step ``side / (n + 0.1)`` instead of ``side / n``. The
    tokens differ by a few per cent of their deviation, so weights belong to the rule they were trained with.

    Source: Official FPDM runs transformers 4.40; the 0.1 kept DINO's code from rounding a size down.
    """

    def interpolate_pos_encoding(self, embeddings: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Return position embeddings ``(1, 1 + patches, D)`` for a picture of ``height`` x ``width`` pixels."""
        positions: torch.Tensor = self.position_embeddings
        side = round((positions.shape[1] - 1) ** 0.5)
        patch_size = self.config.patch_size
        rows, columns = height // patch_size, width // patch_size
        if (rows, columns) == (side, side):
            return positions
        grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(
            grid.float(), scale_factor=((rows + 0.1) / side, (columns + 0.1) / side), mode="bicubic"
        ).to(positions.dtype)
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def position_interpolation_of(encoder: VisionEncoder) -> PositionInterpolation:
    """Return what :func:`set_position_interpolation` chose; ``size`` where nobody did, and for CLIP."""
    return "scale_factor" if isinstance(getattr(encoder, "embeddings", None), ScaleFactorEmbeddings) else "size"


def set_position_interpolation(encoder: VisionEncoder, mode: PositionInterpolation) -> None:
    """Choose how a DINOv2 interpolates its position embeddings at sizes other than its own; CLIP has no other.

    Args:
        encoder: The encoder, changed in place.
        mode: ``size`` (transformers 5) or ``scale_factor`` (transformers 4.40, the official weights).

    Raises:
        PgpisError: Unknown mode.
    """
    if mode not in POSITION_INTERPOLATIONS:
        raise PgpisError(
            f"unknown position_interpolation '{mode}'{nearest(mode, POSITION_INTERPOLATIONS)}; "
            f"expected one of {', '.join(POSITION_INTERPOLATIONS)}"
        )
    embeddings_class = ScaleFactorEmbeddings if mode == "scale_factor" else Dinov2Embeddings
    if encoder.config.model_type != "dinov2" or type(encoder.embeddings) is embeddings_class:
        return
    former = encoder.embeddings
    with torch.device("meta"):
        embeddings = embeddings_class(encoder.config)
    embeddings.load_state_dict(former.state_dict(), assign=True)
    for parameter, old in zip(embeddings.parameters(), former.parameters(), strict=True):
        parameter.requires_grad_(old.requires_grad)
    encoder.embeddings = embeddings.train(former.training)
