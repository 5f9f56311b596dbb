"""The converter on files in the official formats, and on the names and shapes of the real ones."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from parity_files import Recorded, names
from pgpis.convert import architecture, read_state_dict
from pgpis.convert.conversion import ConversionReport
from pgpis.methods.fpdm import FPDMPipeline, assemble, convert_fpdm
from pgpis.methods.fpdm.convert import map_official_keys
from pgpis.models import load_vision_encoder

pytestmark = pytest.mark.parity

FILES = {"fusion": "fusion_last.ckpt", "diffusion": "diffusion_last.ckpt"}
UNTOLD_BY_SHAPES = {
    "unet": ("unet_config", ("attention_head_dim", "norm_num_groups", "upcast_attention", "sample_size")),
    "vae": ("vae_config", ("norm_num_groups", "scaling_factor", "sample_size")),
    "source_encoder": ("dino_config", ("num_attention_heads", "hidden_act", "layer_norm_eps")),
    "fusion_encoder": ("clip_config", ("num_attention_heads", "hidden_act", "layer_norm_eps")),
}


def told(meta: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the part of the official configurations that no shape tells."""
    config = {part: {key: meta[name][key] for key in keys} for part, (name, keys) in UNTOLD_BY_SHAPES.items()}
    known = inspect.signature(DDPMScheduler.__init__).parameters
    config["scheduler"] = {key: value for key, value in meta["scheduler_config"].items() if key in known}
    config["conditioner"] = {"source_size": meta["io"]["src_processed_source_image"][1][-1]}
    return config


@pytest.fixture(scope="module")
def meta(parity_root: Path) -> dict[str, Any]:
    return Recorded(parity_root / "fpdm_unet" / "meta.json")


@pytest.fixture(scope="module")
def converted(parity_root: Path, meta: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    (folder / "config.json").write_text(json.dumps(told(meta)))
    official = parity_root / "official_checkpoints"
    paths = {name: official / file for name, file in FILES.items()}
    convert_fpdm(**paths, out=folder / "out", config=folder / "config.json")
    return folder / "out"


@pytest.fixture(scope="module")
def pipeline(converted: Path) -> FPDMPipeline:
    pipeline = FPDMPipeline.from_pretrained(converted)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_every_tensor_is_reported(parity_root, converted):
    report = json.loads((converted / "conversion.json").read_text())
    assert report["added"] == {}
    for file in FILES.values():
        path = parity_root / "official_checkpoints" / file
        entry = next(entry for name, entry in report["files"].items() if Path(name).name == file)
        assert set(entry["renamed"]) | set(entry["dropped"]) == set(read_state_dict(path).tensors)
        assert not set(entry["renamed"]) & set(entry["dropped"])


@pytest.mark.parametrize("name", ["unet", "vae", "source_encoder", "conditioner", "fusion_embedder"])
@pytest.mark.parametrize("fpdm", ["fpdm_unet"], indirect=True)
def test_weights(fpdm, pipeline, name):
    ours, official = getattr(pipeline, name).state_dict(), getattr(fpdm, name).state_dict()
    assert ours.keys() == official.keys()
    assert all(torch.equal(ours[key], official[key]) for key in official)


@pytest.mark.parametrize(
    ("name", "official"), [("unet", "unet_config"), ("vae", "vae_config"), ("scheduler", "scheduler_config")]
)
def test_configurations(meta, pipeline, name, official):
    ours = getattr(pipeline, name).config
    port = {"class_embed_type", "projection_class_embeddings_input_dim"}  # the official projection is our conditioner's
    compared = [key for key in meta[official] if key in ours and not key.startswith("_") and key not in port]
    assert len(compared) > 5
    for key in compared:
        value = list(ours[key]) if isinstance(ours[key], tuple) else ours[key]
        assert value == meta[official][key], key


@pytest.mark.parametrize("run_name", names("fpdm_sampling/*.json"))
@pytest.mark.parametrize("fpdm", ["fpdm_unet"], indirect=True)
def test_sampled_pictures(fpdm, pipeline, official_batch, parity_root, run_name, monkeypatch):
    run = Recorded(parity_root / "fpdm_sampling" / f"{run_name}.json")
    official = Recorded(parity_root / "fpdm_sampling" / f"{run_name}.safetensors")
    steps = [f"step{step}.variance_noise" for step in range(run["steps"])]
    noise = iter([official[name] for name in steps if name in official])
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(noise))
    pairs = len(official["init_noise"]) // run["num_images_per_prompt"]
    images = pipeline.generate(
        {key: value[:pairs] for key, value in official_batch.items()},
        latents=official["init_noise"],
        num_inference_steps=run["steps"],
        guidance_scale=run["guidance_scale"],
        num_images_per_pair=run["num_images_per_prompt"],
    ).images
    pictures = np.stack([np.asarray(image) for image in images]).astype(int)
    assert np.abs(pictures - official["image_uint8"].numpy().astype(int)).max() <= 1


def test_safetensors_give_the_same_pipeline(parity_root, meta, pipeline, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(told(meta)))
    weights = parity_root / "fpdm_unet" / "state_dict.fp16.safetensors"
    prior = parity_root / "fpdm_ipf" / "state_dict.fp16.safetensors"
    convert_fpdm(prior, weights, tmp_path / "out", config=tmp_path / "config.json")
    other = FPDMPipeline.from_pretrained(tmp_path / "out")
    for name in ("unet", "vae", "source_encoder", "conditioner", "fusion_embedder"):
        ours, expected = getattr(other, name).state_dict(), getattr(pipeline, name).state_dict()
        assert all(torch.equal(ours[key], expected[key]) for key in expected), name


def read_keys(path: Path) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in Recorded(path).items()}


@pytest.fixture(scope="module")
def real_parts(parity_root: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The components of the official checkpoint at real size, without values."""
    state = read_keys(parity_root / "keys" / "fpdm_diffusion_last_ckpt.json")
    parts, report = map_official_keys(state)
    assert len(report.renamed) + len(report.dropped) == len(state)
    assert sum(map(len, parts.values())) == len(report.renamed)
    return parts


def test_real_names_of_the_prior(parity_root, real_parts):
    state = read_keys(parity_root / "keys" / "fpdm_fusion_last_ckpt.json")
    parts, report = map_official_keys(state)
    assert len(report.renamed) + len(report.dropped) == len(state)
    shapes = {name: value.shape for name, value in parts["fusion_embedder"].items()}
    assert shapes == {name: value.shape for name, value in real_parts["fusion_embedder"].items()}


def test_tiny_names_with_real_projections(parity_root):
    folder = parity_root / "fpdm_unet_fulldims"
    state = read_keys(folder / "official_ckpt_keys.json")
    parts, report = map_official_keys(state)
    assert len(report.renamed) + len(report.dropped) == len(state)
    config = told(Recorded(folder / "meta.json"))
    built = {
        "unet": assemble._build_unet(parts["unet"], config["unet"], None, fusion=True),
        "conditioner": assemble._build_conditioner(
            parts["conditioner"], config["conditioner"], {"model_type": "dinov2"}
        ),
    }
    for name, module in built.items():
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        assert shapes == {key: value.shape for key, value in parts[name].items()}, name


def test_denoiser_autoencoder_and_conditioner_fit_at_real_size(real_parts):
    report = ConversionReport(Path())
    built = {
        "unet": assemble._build_unet(real_parts["unet"], {}, None, fusion=True),
        "vae": assemble._build_vae(real_parts["vae"], {}, None, report),
        "conditioner": assemble._build_conditioner(real_parts["conditioner"], {}, {"model_type": "dinov2"}),
    }
    for name, module in built.items():
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        assert shapes == {key: value.shape for key, value in real_parts[name].items()}, name
    assert not report.added


@pytest.mark.parametrize(
    ("component", "prefix", "layer"),
    [
        ("source_encoder", "", r"encoder\.layer\.(\d+)\."),
        ("fusion_embedder", "encoder.", r"vision_model\.encoder\.layers\.(\d+)\."),
    ],
)
def test_encoders_fit_at_real_width(real_parts, component, prefix, layer):
    named = {
        name.removeprefix(prefix): value for name, value in real_parts[component].items() if name.startswith(prefix)
    }
    numbers = {name: int(match[1]) if (match := re.match(layer, name)) else 0 for name in named}
    shapes = {name: tuple(value.shape) for name, value in named.items()}
    config = architecture.vision_config(shapes, {}, component)
    assert config["num_hidden_layers"] == 1 + max(numbers.values())
    # two layers with values: all of them would take gigabytes and show nothing more
    few = {name: torch.zeros(shape) for name, shape in shapes.items() if numbers[name] < 2}
    encoder = load_vision_encoder({**config, "num_hidden_layers": 2}, few)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == sum(value.numel() for value in few.values())
