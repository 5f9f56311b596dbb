"""MCLD's official tiny models, as this package's modules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler
from official_configs import known_fields
from safetensors.torch import load_file
from transformers import CLIPVisionConfig

from pgpis.models import load_vision_encoder
from pgpis.models.mcld import MCLDConditioner
from pgpis.models.multifocal import MultiFocalUNet
from pgpis.models.reference import ReferenceNet
from pgpis.pipelines import MCLDPipeline

BLOCKS = {
    "CrossAttnDownBlock3D": "CrossAttnDownBlock2D",
    "DownBlock3D": "DownBlock2D",
    "UpBlock3D": "UpBlock2D",
    "CrossAttnUpBlock3D": "CrossAttnUpBlock2D",
}
UNET_FIELDS = (
    "sample_size", "block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim",
    "attention_head_dim", "use_linear_projection",
)  # fmt: skip


@dataclass(frozen=True)
class OfficialMCLD:
    """Modules with the fixtures' weights, and the recorded tensors."""

    unet: MultiFocalUNet
    reference_net: ReferenceNet
    conditioner: MCLDConditioner
    io: dict[str, torch.Tensor]
    train: dict[str, torch.Tensor]
    meta: dict[str, Any]


VAE_FIELDS = ("block_out_channels", "layers_per_block", "norm_num_groups", "latent_channels", "scaling_factor")


def load_official_pipeline(root: Path, scheduler: dict[str, Any]) -> MCLDPipeline:
    """The official components as a pipeline; ``scheduler``: the recorded configuration of DDIM."""
    folder = root / "mcld_forward"
    official = load_official_mcld(root)
    config = {name: official.meta["vae_config"][name] for name in VAE_FIELDS if name in official.meta["vae_config"]}
    stages = len(config["block_out_channels"])
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * stages,
        "up_block_types": ["UpDecoderBlock2D"] * stages,
    }
    vae = AutoencoderKL(**config, **blocks)
    vae.load_state_dict(weights_of(folder / "vae.fp16.safetensors"))
    clip = known_fields(CLIPVisionConfig, official.meta["clip_config"])
    encoder = load_vision_encoder(clip, weights_of(folder / "image_encoder.fp16.safetensors"))
    pipeline = MCLDPipeline(
        vae=vae.eval(),
        unet=official.unet,
        reference_net=official.reference_net,
        scheduler=DDIMScheduler.from_config(scheduler),
        image_encoder=encoder.eval(),
        conditioner=official.conditioner,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {key: value.float() for key, value in load_file(path).items()}


def load_official_mcld(root: Path) -> OfficialMCLD:
    folder = root / "mcld_forward"
    meta = json.loads((folder / "meta.json").read_text())
    config = {name: meta["unet_config"][name] for name in UNET_FIELDS}
    config["down_block_types"] = [BLOCKS[name] for name in meta["unet_config"]["down_block_types"]]
    config["up_block_types"] = [BLOCKS[name] for name in meta["unet_config"]["up_block_types"]]
    unet = MultiFocalUNet(**config)
    unet.load_state_dict(weights_of(folder / "denoising_unet.fp16.safetensors"))

    reference_net = ReferenceNet(**config)
    official = weights_of(folder / "reference_unet.fp16.safetensors")
    known = reference_net.state_dict()
    dropped = official.keys() - known.keys()
    last = f"up_blocks.{len(config['up_block_types']) - 1}.attentions.{config['layers_per_block']}."
    assert dropped
    assert all(key.startswith(last) for key in dropped), "only the tail may be left out"
    reference_net.load_state_dict({key: value for key, value in official.items() if key in known})

    resampler, pose = meta["resampler"], meta["pose_guider"]
    conditioner = MCLDConditioner(
        token_dim=resampler["output_dim"],
        face_dim=resampler["embedding_dim"],
        resampler_dim=resampler["dim"],
        resampler_depth=resampler["depth"],
        resampler_heads=resampler["heads"],
        resampler_head_dim=resampler["dim_head"],
        face_tokens=resampler["num_queries"],
        pose_hidden_channels=tuple(pose["block_out_channels"]),
        pose_channels=pose["channels"],
    )
    conditioner.face_resampler.load_state_dict(weights_of(folder / "image_proj_model.fp16.safetensors"))
    conditioner.pose_encoder.load_state_dict(weights_of(folder / "pose_guider.fp16.safetensors"))
    for module in (unet, reference_net, conditioner):
        module.eval()
    return OfficialMCLD(
        unet,
        reference_net,
        conditioner,
        load_file(folder / "io.safetensors"),
        load_file(folder / "train.safetensors"),
        meta,
    )
