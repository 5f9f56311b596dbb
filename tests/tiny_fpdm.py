"""FPDM of the real classes at tiny size, with random weights that depend on nothing but the seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pgpis.denoiser import build_unet
from pgpis.methods.fpdm import FPDMConditioner, FPDMPipeline, FusionEmbedder
from pgpis.models import build_scheduler, build_vae, build_vision_encoder

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "projection_dim": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 8,
    "image_size": 32,
}
DINO = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 14,
    "image_size": 42,
}
UNET = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": (2, 4),
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (4, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 2,
    "layers_per_block": 1,
}
POSE_HIDDEN_CHANNELS = (4, 8)
HEIGHT, WIDTH = 24, 20
"""Latents are half as large, 12 x 10: the UNet's second level then has 5 columns, an odd number as at real size."""


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value that matters: zero-initialised layers would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            scale = 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(values * scale + (parameter.ndim < 2 and name.endswith("weight")))
    return module.eval()


def tiny_fusion_embedder(**arguments: Any) -> FusionEmbedder:
    return randomize(FusionEmbedder(encoder_config=CLIP, **{"projection_dim": 8, "hidden_dim": 8, **arguments}))


def tiny_components(
    *, prior: bool = True, source: dict[str, Any] | None = None, combiner: bool = True
) -> dict[str, Any]:
    """Return the pipeline's components by name."""
    source_encoder = randomize(build_vision_encoder(source or DINO), 1)
    fusion_embedder = tiny_fusion_embedder(combiner=combiner) if prior else None
    unet = randomize(build_unet(UNET, fusion=prior), 2)
    conditioner = FPDMConditioner.for_components(
        unet,
        source_encoder,
        fusion_embedder,
        token_hidden_dim=10,
        pose_hidden_channels=POSE_HIDDEN_CHANNELS,
        source_size=32 if source else 56,
    )
    return {
        "vae": randomize(build_vae(VAE), 3),
        "unet": unet,
        "scheduler": build_scheduler(),
        "source_encoder": source_encoder,
        "conditioner": randomize(conditioner, 4),
        "fusion_embedder": fusion_embedder,
    }


def tiny_pipeline(**arguments: Any) -> FPDMPipeline:
    pipeline = FPDMPipeline(**tiny_components(**arguments))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def random_batch(pipeline: FPDMPipeline, pairs: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a batch of random pictures in [-1, 1] of the sizes that the pipeline declares."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(pairs, 3, spec.height, spec.width, generator=generator) * 2 - 1
        for key, spec in pipeline.input_specs(HEIGHT, WIDTH).items()
        if spec.origin != "target"
    }
