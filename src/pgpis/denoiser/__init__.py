"""The denoiser: a stock UNet with ports, the attention that reads them, and diffusion's arithmetic."""

from pgpis.denoiser.conditions import Conditions, Ports
from pgpis.denoiser.unet import ConditionedUNet, build_unet, denoise

__all__ = ["ConditionedUNet", "Conditions", "Ports", "build_unet", "denoise"]
