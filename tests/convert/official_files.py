"""Official checkpoints of a tiny FPDM, as Lightning writes them, with objects inside that nobody can import."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pgpis.methods.fpdm import FPDMPipeline
from tiny_fpdm import CLIP, DINO, UNET, VAE

HEADS = "num_attention_heads"
CONFIG = {
    "unet": {"attention_head_dim": UNET["attention_head_dim"], "norm_num_groups": UNET["norm_num_groups"]},
    "vae": {"norm_num_groups": VAE["norm_num_groups"], "sample_size": 32},
    "source_encoder": {HEADS: DINO[HEADS]},
    "fusion_encoder": {HEADS: CLIP[HEADS]},
    "conditioner": {"source_size": 56},
}
PREFIXES = {
    "conditioner": {
        "fusion_projection.": "unet.class_embedding.",
        "source_projection.": "sd_model.srcimage_proj_model.",
        "pose_encoder.": "sd_model.pose_t_proj.",
    },
    "fusion_embedder": {
        "encoder.": "fusion_model.img_encoder.",
        "fusion_head.pose_projection.": "fusion_model.combiner.kpt_projection_layer.",
        "fusion_head.source_projection.": "fusion_model.combiner.image_projection_layer.",
        "fusion_head.hidden_layer.": "fusion_model.combiner.combiner_layer.",
        "fusion_head.output_layer.": "fusion_model.combiner.output_layer.",
        "fusion_head.gate.": "fusion_model.combiner.dynamic_scalar.",
    },
    "unet": {"": "unet."},
    "vae": {"": "vae."},
    "source_encoder": {"": "src_image_encoder."},
}


@dataclass
class OfficialFiles:
    """Checkpoints, the configuration that describes them, and the pipeline that they came from."""

    fusion: Path
    diffusion: Path
    config: Path
    pipeline: FPDMPipeline
    prior_state: dict[str, torch.Tensor]
    state: dict[str, torch.Tensor]


def save_lightning(path: Path, state_dict: dict[str, Any], **entries: Any) -> Path:
    """Write a Lightning checkpoint whose hyper-parameters are objects of a module that is gone afterwards."""
    module = types.ModuleType("foreign_settings")
    for name in ("Settings", "Node"):
        setattr(module, name, type(name, (), {"__module__": "foreign_settings"}))
    settings = module.Settings()
    settings.content = {"lr": module.Node(), "sizes": [1, 2]}
    sys.modules["foreign_settings"] = module
    try:
        content = {"epoch": 7, "global_step": 123, "pytorch-lightning_version": "2.2.1", "state_dict": state_dict}
        torch.save({**content, "hyper_parameters": settings, "loops": {None: {1, 2}}, **entries}, path)
    finally:
        del sys.modules["foreign_settings"]
    return path


def official_state(pipeline: FPDMPipeline, folder: Path) -> dict[str, torch.Tensor]:
    """Return a pipeline's weights by official name, without the duplicates; names as transformers publishes them."""
    pipeline.save_pretrained(folder)
    state = {}
    for component, prefixes in PREFIXES.items():
        for file in (folder / component).glob("*.safetensors"):
            for name, value in load_file(file).items():
                ours, official = next(pair for pair in prefixes.items() if name.startswith(pair[0]))
                state[official + name.removeprefix(ours)] = value
    return state


def with_duplicates(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add what the official classes register twice."""
    copies = {}
    for name, value in state.items():
        if name.startswith("unet."):
            copies[f"sd_model.{name}"] = value
        if "img_encoder." in name:
            copies[name.replace("img_encoder.", "pose_encoder.")] = value
    return {**state, **copies}
