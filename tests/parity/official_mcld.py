"""MCLD's official tiny models, as this package's modules."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from official_configs import known_fields
from transformers import CLIPVisionConfig

from parity_files import Recorded, read_weights
from pgpis.denoiser import ConditionedUNet
from pgpis.methods.mcld import MCLDPipeline
from pgpis.methods.mcld.conditioner import MCLDConditioner
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.methods.mcld.resampler import renamed_resampler
from pgpis.models import load_vision_encoder


@dataclass(frozen=True)
class OfficialMCLD:
    """Modules with the fixtures' weights, and the recorded tensors."""

    unet: ConditionedUNet
    reference_net: ReferenceNet
    conditioner: MCLDConditioner
    io: dict[str, torch.Tensor]
    train: dict[str, torch.Tensor]
    meta: dict[str, Any]


def load_official_pipeline(root: Path, scheduler: dict[str, Any]) -> MCLDPipeline:
    """The official components as a pipeline; ``scheduler``: the recorded configuration of DDIM."""
    folder = root / "mcld_forward"
    official = load_official_mcld(root)
    vae = AutoencoderKL.from_config(official.meta["vae_config"])
    vae.load_state_dict(read_weights(folder / "vae.fp16.safetensors"))
    clip = known_fields(CLIPVisionConfig, official.meta["clip_config"])
    encoder = load_vision_encoder(clip, read_weights(folder / "image_encoder.fp16.safetensors"))
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


def as_2d(config: dict[str, Any]) -> dict[str, Any]:
    """The official denoiser is a video's net with one frame: its 3D blocks are the 2D ones of the same name."""
    known = set(inspect.signature(UNet2DConditionModel.__init__).parameters) & config.keys()
    config = {name: config[name] for name in known}
    for name in ("down_block_types", "up_block_types"):
        config[name] = [kind.replace("3D", "2D") for kind in config[name]]
    return {**config, "mid_block_type": config["mid_block_type"].replace("3D", "2D")}


def last_attention(meta: dict[str, Any]) -> str:
    """Prefix of the ReferenceNet's last transformer block, of which the last ``norm1`` alone is read."""
    blocks = [number for number, kind in enumerate(meta["reference_config"]["up_block_types"]) if "CrossAttn" in kind]
    return f"up_blocks.{blocks[-1]}.attentions.{meta['reference_config']['layers_per_block']}."


def load_official_mcld(root: Path) -> OfficialMCLD:
    folder = root / "mcld_forward"
    meta = Recorded(folder / "meta.json")
    unet = ConditionedUNet(**as_2d(meta["unet_config"]), extra_tokens=True)
    unet.load_state_dict(read_weights(folder / "denoising_unet.fp16.safetensors"))

    reference_net = ReferenceNet(**as_2d(meta["reference_config"]))
    official = read_weights(folder / "reference_unet.fp16.safetensors")
    known = reference_net.state_dict()
    dropped = official.keys() - known.keys()
    assert dropped
    assert all(key.startswith(last_attention(meta)) for key in dropped), "only the tail may be left out"
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
    conditioner.face_resampler.load_state_dict(
        renamed_resampler(read_weights(folder / "image_proj_model.fp16.safetensors"))
    )
    conditioner.pose_encoder.load_state_dict(read_weights(folder / "pose_guider.fp16.safetensors"))
    for module in (unet, reference_net, conditioner):
        module.eval()
    return OfficialMCLD(
        unet,
        reference_net,
        conditioner,
        Recorded(folder / "io.safetensors"),
        Recorded(folder / "train.safetensors"),
        meta,
    )
