"""Torch modules: encoders, the prior, the denoiser and the conditioners that fill its ports."""

from pgpis.models.attention import CachedAttentionProcessor, KeyValueCache
from pgpis.models.encoders import VisionEncoder, encode_pictures, encode_tokens, set_position_interpolation
from pgpis.models.factory import (
    ModelSpec,
    build_scheduler,
    build_unet,
    build_vae,
    build_vision_encoder,
    load_vision_encoder,
    vision_encoder_config,
)
from pgpis.models.fpdm import (
    EncodedPair,
    FPDMConditioner,
    KeepMasks,
    Ports,
    denoise,
    encode_pair,
    image_specs,
)
from pgpis.models.fusion import Combiner, FusionEmbedder, TripletEmbeddings
from pgpis.models.pose import PoseEncoder
from pgpis.models.projection import FusionProjection, TokenProjection
from pgpis.models.unet import PoseUNet

__all__ = [
    "CachedAttentionProcessor",
    "Combiner",
    "EncodedPair",
    "FPDMConditioner",
    "FusionEmbedder",
    "FusionProjection",
    "KeepMasks",
    "KeyValueCache",
    "ModelSpec",
    "Ports",
    "PoseEncoder",
    "PoseUNet",
    "TokenProjection",
    "TripletEmbeddings",
    "VisionEncoder",
    "build_scheduler",
    "build_unet",
    "build_vae",
    "build_vision_encoder",
    "denoise",
    "encode_pair",
    "encode_pictures",
    "encode_tokens",
    "image_specs",
    "load_vision_encoder",
    "set_position_interpolation",
    "vision_encoder_config",
]
