"""The denoiser: a stock UNet with ports, the attention that fills them, and diffusion's arithmetic."""

from pgpis.denoiser.attention import CachedAttentionProcessor, KeyValueCache
from pgpis.denoiser.building import build_focal_unet, build_unet
from pgpis.denoiser.multifocal import MultiFocalUNet
from pgpis.denoiser.unet import PoseUNet

__all__ = [
    "CachedAttentionProcessor",
    "KeyValueCache",
    "MultiFocalUNet",
    "PoseUNet",
    "build_focal_unet",
    "build_unet",
]
