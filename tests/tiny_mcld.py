"""MCLD of the real classes at tiny size, with random weights that depend on nothing but the seed."""

from __future__ import annotations

import torch

from pgpis.denoiser import ConditionedUNet
from pgpis.methods.mcld import MCLDPipeline
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.models import build_scheduler, build_vae, build_vision_encoder
from tiny_fpdm import CLIP, HEIGHT, POSE_HIDDEN_CHANNELS, UNET, VAE, WIDTH

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
}
__all__ = ["HEIGHT", "WIDTH", "tiny_mcld"]


def tiny_mcld(seed: int = 0, **conditioner) -> MCLDPipeline:
    torch.manual_seed(seed)
    pipeline = MCLDPipeline(
        vae=build_vae(VAE),
        unet=ConditionedUNet(**UNET, extra_tokens=True),
        reference_net=ReferenceNet(**UNET) if conditioner.get("use_texture", True) else None,
        scheduler=build_scheduler(SCHEDULER),
        image_encoder=build_vision_encoder(CLIP),
        conditioner=MCLDConditioner(
            token_dim=CLIP["projection_dim"],
            resampler_dim=16,
            resampler_depth=1,
            resampler_heads=2,
            resampler_head_dim=8,
            face_tokens=4,
            pose_hidden_channels=POSE_HIDDEN_CHANNELS,
            pose_channels=UNET["block_out_channels"][0],
            **conditioner,
        ),
    )
    for module in filter(None, pipeline.components.values()):
        if not isinstance(module, torch.nn.Module):
            continue
        module.eval()
        for parameter in module.parameters():  # zero-initialised layers would hide what is fed to them
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.1)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
