"""Torch modules that methods share: encoders, autoencoders, projections, the pose encoder, and their loading."""

from pgpis.models.encoders import VisionEncoder, encode_pictures, encode_tokens, set_position_interpolation
from pgpis.models.factory import (
    ModelSpec,
    build_scheduler,
    build_vae,
    build_vision_encoder,
    load_vision_encoder,
    vision_encoder_config,
)
from pgpis.models.pose import PoseEncoder
from pgpis.models.projection import FusionProjection, TokenProjection

__all__ = [
    "FusionProjection",
    "ModelSpec",
    "PoseEncoder",
    "TokenProjection",
    "VisionEncoder",
    "build_scheduler",
    "build_vae",
    "build_vision_encoder",
    "encode_pictures",
    "encode_tokens",
    "load_vision_encoder",
    "set_position_interpolation",
    "vision_encoder_config",
]
