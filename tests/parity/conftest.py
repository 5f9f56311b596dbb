"""Fixtures of the official code: where they lie, and how their weights reach our modules."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from official_configs import known_fields
from transformers import CLIPVisionConfig, Dinov2Config

from parity_files import REPOSITORY, Recorded, enlarged, names, read_weights, recipe_tensor, require_parity_root, signed
from pgpis.denoiser import ConditionedUNet
from pgpis.methods.fpdm import FPDMConditioner, FusionEmbedder
from pgpis.models import load_vision_encoder
from pgpis.models.encoders import VisionEncoder, normalize_pictures, set_position_interpolation

STORED_WEIGHTS = "state_dict.fp16.safetensors"


@pytest.fixture(scope="session")
def parity_root() -> Path:
    """Folder with the outputs of the official code."""
    return require_parity_root()


@pytest.fixture(scope="session")
def samples_root(parity_root: Path) -> Path:
    """Folder with the real sample pictures: named, or beside the fixtures, or beside the usual ones."""
    beside = [parity_root.parent / "samples", (REPOSITORY / "../shared/samples").resolve()]
    usual = next((folder for folder in beside if folder.is_dir()), beside[0])
    root = Path(os.environ.get("PGPIS_SAMPLES", usual))
    if not root.is_dir():
        pytest.skip(f"PARITY NOT CHECKED: {root} is absent; set PGPIS_SAMPLES to the folder with the sample pictures")
    return root


COMBINER_NAMES = {
    "combiner.kpt_projection_layer.": "fusion_head.pose_projection.",
    "combiner.image_projection_layer.": "fusion_head.source_projection.",
    "combiner.combiner_layer.": "fusion_head.hidden_layer.",
    "combiner.output_layer.": "fusion_head.output_layer.",
    "combiner.dynamic_scalar.": "fusion_head.gate.",
    "img_encoder.": "encoder.",
}
CONDITIONER_NAMES = {
    "sd_model.srcimage_proj_model.": "source_projection.",
    "sd_model.pose_t_proj.": "pose_encoder.",
    "unet.class_embedding.": "fusion_projection.",
}


def rename(name: str, names: dict[str, str]) -> str | None:
    """Translate an official name; None if none of the prefixes fits."""
    for official, ours in names.items():
        if name.startswith(official):
            return ours + name.removeprefix(official)
    return None


def select(weights: dict[str, torch.Tensor], names: dict[str, str]) -> dict[str, torch.Tensor]:
    renamed = {rename(name, names): value for name, value in weights.items()}
    return {name: value for name, value in renamed.items() if name is not None}


def load_fusion_embedder(clip_config: dict[str, Any], weights: dict[str, torch.Tensor]) -> FusionEmbedder:
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    embedder = FusionEmbedder(
        encoder_config=known_fields(CLIPVisionConfig, clip_config),
        projection_dim=shapes["combiner.kpt_projection_layer.weight"][0],
        hidden_dim=shapes["combiner.combiner_layer.weight"][0],
    )
    embedder.load_state_dict(select(weights, COMBINER_NAMES))
    return embedder.eval()


@dataclass
class OfficialFPDM:
    """One set of FPDM fixtures with its weights in our modules, all in evaluation mode."""

    name: str
    root: Path
    meta: dict[str, Any]
    io: dict[str, torch.Tensor]
    stored_weights: bool
    source_encoder: VisionEncoder
    fusion_embedder: FusionEmbedder
    conditioner: FPDMConditioner
    unet: ConditionedUNet
    vae: AutoencoderKL
    scheduler: DDPMScheduler

    def parameter(self, official: str) -> torch.nn.Parameter:
        """Return our parameter for an official name."""
        ours = rename(official, CONDITIONER_NAMES)
        if ours is not None:
            return self.conditioner.get_parameter(ours)
        return self.unet.get_parameter(official.removeprefix("unet."))

    def trained_parameters(self) -> list[torch.nn.Parameter]:
        return [*self.unet.parameters(), *self.conditioner.parameters()]


def read_fpdm_weights(folder: Path, meta: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights of the diffusion model and of its prior, by official names."""
    prefix = "fusion_model."
    stored = folder / STORED_WEIGHTS
    if stored.is_file():
        weights = read_weights(stored)
    else:
        weights = {key: recipe_tensor(key, tuple(shape), meta["seed"]) for key, shape in meta["param_shapes"].items()}
    prior = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not prior:
        prior = read_weights(folder / meta["fusion_weights"].split()[0])
    return weights, prior


def load_official_fpdm(root: Path, name: str) -> OfficialFPDM:
    folder = root / name
    meta = Recorded(folder / "meta.json")
    weights, prior = read_fpdm_weights(folder, meta)
    shapes = {key: tuple(value.shape) for key, value in weights.items()}

    source = {
        key.removeprefix("src_image_encoder."): value
        for key, value in weights.items()
        if key.startswith("src_image_encoder.")
    }
    source_encoder = load_vision_encoder(known_fields(Dinov2Config, meta["dino_config"]), source)
    set_position_interpolation(source_encoder, "scale_factor")  # as transformers 4.40 does
    fusion_embedder = load_fusion_embedder(meta["clip_config"], prior)

    unet = ConditionedUNet.from_config({**meta["unet_config"], "class_embed_type": "identity"})
    unet.load_state_dict(
        {
            key.removeprefix("unet."): value
            for key, value in weights.items()
            if key.startswith("unet.") and not key.startswith("unet.class_embedding.")
        }
    )
    vae = AutoencoderKL.from_config(meta["vae_config"])
    vae.load_state_dict({key.removeprefix("vae."): value for key, value in weights.items() if key.startswith("vae.")})

    pose = "sd_model.pose_t_proj"
    blocks = sorted(int(key.split(".")[3]) for key in shapes if key.startswith(f"{pose}.blocks.") and "weight" in key)
    stages = [shapes[f"{pose}.conv_in.weight"][0]] + [shapes[f"{pose}.blocks.{i}.weight"][0] for i in blocks[1::2]]
    tensors = Recorded(folder / "io.safetensors")
    conditioner = FPDMConditioner.for_components(
        unet,
        source_encoder,
        fusion_embedder,
        token_hidden_dim=shapes["sd_model.srcimage_proj_model.net.0.weight"][0],
        pose_hidden_channels=tuple(stages),
        source_size=tensors["src_processed_source_image"].shape[-1],
        position_interpolation="scale_factor",
    )
    conditioner.load_state_dict(select(weights, CONDITIONER_NAMES))
    for module in (unet, vae, conditioner):
        module.eval()
    return OfficialFPDM(
        name=name,
        root=root,
        meta=meta,
        io=tensors,
        stored_weights=(folder / STORED_WEIGHTS).is_file(),
        source_encoder=source_encoder,
        fusion_embedder=fusion_embedder,
        conditioner=conditioner,
        unet=unet,
        vae=vae,
        scheduler=DDPMScheduler.from_config(meta["scheduler_config"]),
    )


@pytest.fixture(scope="session", params=names("fpdm_unet*"))
def fpdm(request: pytest.FixtureRequest, parity_root: Path) -> OfficialFPDM:
    """FPDM's official inputs, outputs and weights, in each set of shapes."""
    return load_official_fpdm(parity_root, request.param)


@dataclass
class OfficialPrior:
    """Fixtures of the prior."""

    meta: dict[str, Any]
    io: dict[str, torch.Tensor]
    embedder: FusionEmbedder

    def parameter(self, official: str) -> torch.nn.Parameter:
        """Return our parameter for an official name."""
        ours = rename(official, COMBINER_NAMES)
        assert ours is not None, official
        return self.embedder.get_parameter(ours)


@pytest.fixture(scope="session")
def prior(parity_root: Path) -> OfficialPrior:
    """The prior's official inputs, outputs and weights."""
    folder = parity_root / "fpdm_ipf"
    meta = Recorded(folder / "meta.json")
    weights = read_weights(folder / STORED_WEIGHTS)
    return OfficialPrior(meta, Recorded(folder / "io.safetensors"), load_fusion_embedder(meta["clip_config"], weights))


@pytest.fixture(scope="session")
def unnormalize() -> Callable[[VisionEncoder, torch.Tensor], torch.Tensor]:
    """Turn an encoder's input, as the fixtures store it, into the picture in [-1, 1] that our modules take."""

    def undo(encoder: VisionEncoder, pixels: torch.Tensor) -> torch.Tensor:
        zero = normalize_pictures(encoder, torch.full((1, 3, 1, 1), -1.0))
        one = normalize_pictures(encoder, torch.full((1, 3, 1, 1), 1.0))
        return (pixels - zero) / (one - zero) * 2 - 1

    return undo


@pytest.fixture
def official_batch(fpdm: OfficialFPDM, unnormalize: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
    """The official inputs as a batch of ours."""
    prior_encoder = fpdm.fusion_embedder.encoder
    return {
        "source_image": unnormalize(fpdm.source_encoder, fpdm.io["src_processed_source_image"]),
        "prior_source": unnormalize(prior_encoder, fpdm.io["fusion_processed_source_image"]),
        "prior_pose": unnormalize(prior_encoder, fpdm.io["fusion_processed_target_pose"]),
        "pose_image": signed(enlarged(fpdm.io, "target_pose_u8")),
    }


@pytest.fixture
def official_target(fpdm: OfficialFPDM) -> torch.Tensor:
    """The official target pictures."""
    return signed(enlarged(fpdm.io, "target_image_u8"))
