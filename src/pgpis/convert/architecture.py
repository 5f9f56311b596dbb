"""Configurations from tensor shapes; what shapes cannot say is taken from the published models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from pgpis.convert.sizes import NORM_GROUPS
from pgpis.errors import PgpisError

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Shape of each tensor of one component."""
Config: TypeAlias = dict[str, Any]

HEAD_DIM = 64
"""Width of an attention head in Stable Diffusion 2, CLIP and DINOv2."""


def unet_config(shapes: Shapes, given: Mapping[str, Any]) -> Config:
    """Return the configuration of a ``UNet2DConditionModel``.

    Args:
        shapes: Shapes of its tensors.
        given: Fields that are known; they replace what would be inferred.

    Raises:
        PgpisError: A tensor is missing, or a field that shapes cannot say has no plausible value.

    Source: For what shapes cannot say, ``stabilityai/stable-diffusion-2-1``: heads of width 64, 32 norm groups,
        attention upcast to float32.
    """
    part = "unet"
    blocks = _numbers(shapes, r"down_blocks\.(\d+)\.", part)
    widths = [_shape(shapes, f"down_blocks.{block}.resnets.0.conv1.weight", part)[0] for block in blocks]
    down = ["CrossAttn" if _has(shapes, f"down_blocks.{block}.attentions.") else "" for block in blocks]
    up = ["CrossAttn" if _has(shapes, f"up_blocks.{block}.attentions.") else "" for block in blocks]
    attention = next((name for name in shapes if name.endswith("attn2.to_k.weight")), "any attn2.to_k.weight")
    projection = next((name for name in shapes if name.endswith("proj_in.weight")), "any proj_in.weight")
    config = {
        "sample_size": 96,
        "in_channels": _shape(shapes, "conv_in.weight", part)[1],
        "out_channels": _shape(shapes, "conv_out.weight", part)[0],
        "down_block_types": [f"{kind}DownBlock2D" for kind in down],
        "up_block_types": [f"{kind}UpBlock2D" for kind in up],
        "block_out_channels": widths,
        "layers_per_block": len(_numbers(shapes, r"down_blocks\.0\.resnets\.(\d+)\.", part)),
        "cross_attention_dim": _shape(shapes, attention, part)[1],
        "use_linear_projection": len(_shape(shapes, projection, part)) == 2,
        "upcast_attention": True,
    }
    if "attention_head_dim" not in given and "num_attention_heads" not in given:
        # diffusers calls it the dimension, but SD2's configuration holds the number of heads
        config["attention_head_dim"] = [_heads(width, part, "attention_head_dim") for width in widths]
    return {**config, **_norm_groups(widths, part, given), **given}


def vae_config(shapes: Shapes, given: Mapping[str, Any]) -> Config:
    """Return the configuration of an ``AutoencoderKL``; arguments as in :func:`unet_config`.

    Source: For what shapes cannot say, the autoencoder of Stable Diffusion: 32 norm groups, latents times 0.18215.
    """
    part = "vae"
    blocks = _numbers(shapes, r"encoder\.down_blocks\.(\d+)\.", part)
    widths = [_shape(shapes, f"encoder.down_blocks.{block}.resnets.0.conv1.weight", part)[0] for block in blocks]
    config = {
        "sample_size": 768,
        "in_channels": _shape(shapes, "encoder.conv_in.weight", part)[1],
        "out_channels": _shape(shapes, "decoder.conv_out.weight", part)[0],
        "down_block_types": ["DownEncoderBlock2D"] * len(blocks),
        "up_block_types": ["UpDecoderBlock2D"] * len(blocks),
        "block_out_channels": widths,
        "layers_per_block": len(_numbers(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", part)),
        "latent_channels": _shape(shapes, "decoder.conv_in.weight", part)[1],
        "scaling_factor": 0.18215,
    }
    return {**config, **_norm_groups(widths, part, given), **given}


def vision_config(shapes: Shapes, given: Mapping[str, Any], part: str) -> Config:
    """Return the configuration of a CLIP or DINOv2 vision encoder, told apart by the names of its tensors.

    Args:
        shapes: Shapes of its tensors, under the names of transformers 4.
        given: Fields that are known; they replace what would be inferred.
        part: What the encoder is, for error messages.

    Raises:
        PgpisError: Neither CLIP nor DINOv2, a tensor is missing, or the number of heads has no plausible value.
    """
    if _has(shapes, "vision_model.embeddings."):
        return _clip_config(shapes, given, part)
    if _has(shapes, "embeddings.cls_token"):
        return _dinov2_config(shapes, given, part)
    raise PgpisError(f"{part}: neither a CLIP nor a DINOv2 vision encoder")


def _clip_config(shapes: Shapes, given: Mapping[str, Any], part: str) -> Config:
    width, _, patch, _ = _shape(shapes, "vision_model.embeddings.patch_embedding.weight", part)
    positions = _shape(shapes, "vision_model.embeddings.position_embedding.weight", part)[0]
    config = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "patch_size": patch,
        "image_size": math.isqrt(positions - 1) * patch,
        "num_hidden_layers": len(_numbers(shapes, r"vision_model\.encoder\.layers\.(\d+)\.", part)),
        "intermediate_size": _shape(shapes, "vision_model.encoder.layers.0.mlp.fc1.weight", part)[0],
        "projection_dim": _shape(shapes, "visual_projection.weight", part)[0],
    }
    return {**config, **_vision_heads(width, part, given), **given}


def _dinov2_config(shapes: Shapes, given: Mapping[str, Any], part: str) -> Config:
    width, _, patch, _ = _shape(shapes, "embeddings.patch_embeddings.projection.weight", part)
    positions = _shape(shapes, "embeddings.position_embeddings", part)[1]
    gated = "encoder.layer.0.mlp.weights_in.weight" in shapes
    config: Config = {
        "model_type": "dinov2",
        "hidden_size": width,
        "patch_size": patch,
        "image_size": math.isqrt(positions - 1) * patch,
        "num_hidden_layers": len(_numbers(shapes, r"encoder\.layer\.(\d+)\.", part)),
        "use_swiglu_ffn": gated,
    }
    if not gated:
        config["mlp_ratio"] = _shape(shapes, "encoder.layer.0.mlp.fc1.weight", part)[0] // width
    return {**config, **_vision_heads(width, part, given), **given}


def combiner_config(shapes: Shapes) -> Config:
    """Return ``projection_dim`` and ``hidden_dim`` of the prior's combiner from the shapes of ``FusionEmbedder``."""
    part = "fusion_embedder"
    return {
        "projection_dim": _shape(shapes, "fusion_head.pose_projection.weight", part)[0],
        "hidden_dim": _shape(shapes, "fusion_head.hidden_layer.weight", part)[0],
    }


def conditioner_config(shapes: Shapes, given: Mapping[str, Any]) -> Config:
    """Return the configuration of an ``FPDMConditioner``; arguments as in :func:`unet_config`.

    Source: The official code sees sources of 512 pixels and, with transformers 4.40, interpolates positions by scale.
    """
    part = "conditioner"
    stages = _numbers(shapes, r"pose_encoder\.blocks\.(\d+)\.", part)[1::2]
    fusion = _has(shapes, "fusion_projection.")
    config = {
        "source_dim": _shape(shapes, "source_projection.net.0.weight", part)[1],
        "token_hidden_dim": _shape(shapes, "source_projection.net.0.weight", part)[0],
        "token_dim": _shape(shapes, "source_projection.net.4.weight", part)[0],
        "pose_hidden_channels": [
            _shape(shapes, "pose_encoder.conv_in.weight", part)[0],
            *(_shape(shapes, f"pose_encoder.blocks.{stage}.weight", part)[0] for stage in stages),
        ],
        "pose_channels": _shape(shapes, "pose_encoder.conv_out.weight", part)[0],
        "fusion_dim": _shape(shapes, "fusion_projection.net.0.weight", part)[1] if fusion else None,
        "position_interpolation": "scale_factor",
        "source_size": 512,
    }
    if fusion:
        config["fusion_hidden_dim"] = _shape(shapes, "fusion_projection.net.0.weight", part)[0]
        config["time_embed_dim"] = _shape(shapes, "fusion_projection.net.3.weight", part)[0]
    return {**config, **given}


def _shape(shapes: Shapes, name: str, part: str) -> tuple[int, ...]:
    if name not in shapes:
        raise PgpisError(f"{part}: the checkpoint lacks '{name}'")
    return shapes[name]


def _has(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


def _numbers(shapes: Shapes, pattern: str, part: str) -> list[int]:
    """Return the sorted distinct numbers that a pattern finds in the names."""
    numbers = sorted({int(match[1]) for name in shapes if (match := re.match(pattern, name))})
    if not numbers or numbers != list(range(len(numbers))):
        raise PgpisError(f"{part}: the checkpoint has no unbroken row of tensors '{pattern}'")
    return numbers


def _heads(width: int, part: str, field: str) -> int:
    if width % HEAD_DIM:
        raise PgpisError(
            f"{part}: cannot tell the number of attention heads: the width {width} is no multiple of {HEAD_DIM}",
            hint=f'say it in a JSON file, --config FILE with {{"{part}": {{"{field}": ...}}}}',
        )
    return width // HEAD_DIM


def _vision_heads(width: int, part: str, given: Mapping[str, Any]) -> Config:
    field = "num_attention_heads"
    return {} if field in given else {field: _heads(width, part, field)}


def _norm_groups(widths: list[int], part: str, given: Mapping[str, Any]) -> Config:
    if "norm_num_groups" in given:
        return {}
    if any(width % NORM_GROUPS for width in widths):
        raise PgpisError(
            f"{part}: cannot tell the number of norm groups: the widths {widths} are no multiples of {NORM_GROUPS}",
            hint=f'say it in a JSON file, --config FILE with {{"{part}": {{"norm_num_groups": ...}}}}',
        )
    return {"norm_num_groups": NORM_GROUPS}
