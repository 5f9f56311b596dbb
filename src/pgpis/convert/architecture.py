"""Configurations from tensor shapes; what shapes do not show is taken from the published models."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pgpis.errors import PgpisError

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Shape of each tensor of one component."""
Config: TypeAlias = dict[str, Any]

HEAD_DIM = 64
"""Width of an attention head in Stable Diffusion 2, CLIP and DINOv2."""
NORM_GROUPS = 32
"""Groups of the group norms of Stable Diffusion."""


@dataclass(frozen=True)
class Component:
    """The tensors of one component, and what is known of its configuration; what must be and is not is a PgpisError."""

    name: str
    shapes: Shapes
    known: Mapping[str, Any] = field(default_factory=dict)
    """Fields that replace what would be inferred."""
    hint: str | None = None
    """What mends a tensor that is missing or of another kind."""

    def shape(self, tensor: str, *ranks: int) -> tuple[int, ...]:
        """Return the shape of a tensor that must be there, with as many dimensions as one of ``ranks``, none empty."""
        if tensor not in self.shapes:
            raise PgpisError(f"{self.name}: the checkpoint lacks '{tensor}'", hint=self.hint)
        shape = self.shapes[tensor]
        if len(shape) not in ranks or 0 in shape:
            expected = f"{' or '.join(map(str, ranks))} dimensions, none of them empty"
            raise PgpisError(
                f"{self.name}: the checkpoint has '{tensor}' as {shape}, expected {expected}", hint=self.hint
            )
        return shape

    def has(self, prefix: str) -> bool:
        """Whether the name of a tensor begins so."""
        return any(tensor.startswith(prefix) for tensor in self.shapes)

    def ending(self, suffix: str, *ranks: int) -> tuple[int, ...]:
        """Return the shape of the first tensor whose name ends so, as :meth:`shape` does."""
        return self.shape(next((tensor for tensor in self.shapes if tensor.endswith(suffix)), f"any {suffix}"), *ranks)

    def numbers(self, pattern: str) -> list[int]:
        """Return the numbers that a pattern finds in the names, which must be 0, 1, 2, ..."""
        numbers = sorted({int(match[1]) for tensor in self.shapes if (match := re.match(pattern, tensor))})
        if not numbers or numbers != list(range(len(numbers))):
            raise PgpisError(
                f"{self.name}: the checkpoint's tensors '{pattern}' are not numbered without gaps", hint=self.hint
            )
        return numbers

    def heads(self, width: int, field: str) -> int:
        """Return how many attention heads of the usual width there are; the width must be a multiple of theirs."""
        if width % HEAD_DIM:
            raise self.unclear("attention heads", f"the width {width} is not a multiple of {HEAD_DIM}", field)
        return width // HEAD_DIM

    def stages(self, blocks: str) -> tuple[list[int], Config]:
        """Return the numbers of the blocks, and widths, layers and norm groups, which must divide the widths."""
        numbers = self.numbers(rf"{re.escape(blocks)}\.(\d+)\.")
        widths = [self.shape(f"{blocks}.{block}.resnets.0.conv1.weight", 4)[0] for block in numbers]
        if "norm_num_groups" not in self.known and any(width % NORM_GROUPS for width in widths):
            reason = f"the widths {widths} are not multiples of {NORM_GROUPS}"
            raise self.unclear("norm groups", reason, "norm_num_groups")
        layers = len(self.numbers(rf"{re.escape(blocks)}\.0\.resnets\.(\d+)\."))
        return numbers, {"block_out_channels": widths, "layers_per_block": layers, "norm_num_groups": NORM_GROUPS}

    def pose_encoder(self, prefix: str = "") -> Config:
        """Return the widths of a ``PoseEncoder``, whose tensors' names begin so."""
        stages = self.numbers(rf"{re.escape(prefix)}blocks\.(\d+)\.")[1::2]
        hidden = ["conv_in", *(f"blocks.{stage}" for stage in stages)]
        return {
            "pose_hidden_channels": [self.shape(f"{prefix}{layer}.weight", 4)[0] for layer in hidden],
            "pose_channels": self.shape(f"{prefix}conv_out.weight", 4)[0],
        }

    def unclear(self, what: str, reason: str, field: str) -> PgpisError:
        """Return the error that asks for a field of the configuration."""
        return PgpisError(
            f"{self.name}: cannot tell the number of {what}: {reason}",
            hint=f'state it in a JSON file, --config FILE with {{"{self.name}": {{"{field}": ...}}}}',
        )


def unet_config(shapes: Shapes, known: Mapping[str, Any], part: str = "unet", hint: str | None = None) -> Config:
    """Return the configuration of a ``UNet2DConditionModel``.

    Args:
        shapes: Shapes of its tensors.
        known: Fields that replace what would be inferred.
        part: What the denoiser is, for error messages.
        hint: What mends a tensor that is missing or of another kind.

    Raises:
        PgpisError: A tensor is missing or of another kind, or a field that shapes cannot say has no plausible value.

    Source: For what shapes cannot say, ``stabilityai/stable-diffusion-2-1``: heads of width 64, 32 norm groups,
        attention upcast to float32.
    """
    unet = Component(part, shapes, known, hint)
    blocks, stages = unet.stages("down_blocks")
    down = ["CrossAttn" if unet.has(f"down_blocks.{block}.attentions.") else "" for block in blocks]
    up = ["CrossAttn" if unet.has(f"up_blocks.{block}.attentions.") else "" for block in blocks]
    config = {
        "sample_size": 96,
        "in_channels": unet.shape("conv_in.weight", 4)[1],
        "out_channels": unet.shape("conv_out.weight", 4)[0],
        "down_block_types": [f"{kind}DownBlock2D" for kind in down],
        "up_block_types": [f"{kind}UpBlock2D" for kind in up],
        **stages,
        "cross_attention_dim": unet.ending("attn2.to_k.weight", 2)[1],
        "use_linear_projection": len(unet.ending("proj_in.weight", 2, 4)) == 2,
        "upcast_attention": True,
    }
    if "attention_head_dim" not in known and "num_attention_heads" not in known:
        # diffusers calls it the dimension, but SD2's configuration holds the number of heads
        config["attention_head_dim"] = [
            unet.heads(width, "attention_head_dim") for width in stages["block_out_channels"]
        ]
    return {**config, **known}


def vae_config(shapes: Shapes, known: Mapping[str, Any]) -> Config:
    """Return the configuration of an ``AutoencoderKL``; arguments as in :func:`unet_config`.

    Source: For what shapes cannot say, the autoencoder of Stable Diffusion: 32 norm groups, latents times 0.18215.
    """
    part = Component("vae", shapes, known)
    blocks, stages = part.stages("encoder.down_blocks")
    return {
        "sample_size": 768,
        "in_channels": part.shape("encoder.conv_in.weight", 4)[1],
        "out_channels": part.shape("decoder.conv_out.weight", 4)[0],
        "down_block_types": ["DownEncoderBlock2D"] * len(blocks),
        "up_block_types": ["UpDecoderBlock2D"] * len(blocks),
        **stages,
        "latent_channels": part.shape("decoder.conv_in.weight", 4)[1],
        "scaling_factor": 0.18215,
        **known,
    }


def vision_config(shapes: Shapes, known: Mapping[str, Any], part: str) -> Config:
    """Return the configuration of a CLIP or DINOv2 vision encoder, told apart by the names of its tensors.

    Args:
        shapes: Shapes of its tensors, under the names of transformers 4.
        known: Fields that replace what would be inferred.
        part: What the encoder is, for error messages.

    Raises:
        PgpisError: Neither CLIP nor DINOv2, a tensor is missing, or the number of heads has no plausible value.
    """
    encoder = Component(part, shapes, known)
    if encoder.has("vision_model.embeddings."):
        width, _, patch, _ = encoder.shape("vision_model.embeddings.patch_embedding.weight", 4)
        positions = encoder.shape("vision_model.embeddings.position_embedding.weight", 2)[0]
        layers = "vision_model.encoder.layers"
        family: Config = {
            "model_type": "clip_vision_model",
            "intermediate_size": encoder.shape(f"{layers}.0.mlp.fc1.weight", 2)[0],
            "projection_dim": encoder.shape("visual_projection.weight", 2)[0],
        }
    elif encoder.has("embeddings.cls_token"):
        width, _, patch, _ = encoder.shape("embeddings.patch_embeddings.projection.weight", 4)
        positions = encoder.shape("embeddings.position_embeddings", 3)[1]
        layers = "encoder.layer"
        gated = f"{layers}.0.mlp.weights_in.weight" in shapes
        family = {"model_type": "dinov2", "use_swiglu_ffn": gated}
        if not gated:
            family["mlp_ratio"] = encoder.shape(f"{layers}.0.mlp.fc1.weight", 2)[0] // width
    else:
        raise PgpisError(f"{part}: neither a CLIP nor a DINOv2 vision encoder")
    if "num_attention_heads" not in known:
        family["num_attention_heads"] = encoder.heads(width, "num_attention_heads")
    return {
        **family,
        "hidden_size": width,
        "patch_size": patch,
        "image_size": math.isqrt(positions - 1) * patch,
        "num_hidden_layers": len(encoder.numbers(rf"{re.escape(layers)}\.(\d+)\.")),
        **known,
    }
