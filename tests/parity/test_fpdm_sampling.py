"""FPDM's sampling against the official code: every step, with two and three branches, and the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pgpis.images import tensor_to_images
from pgpis.pipelines import FPDMPipeline

pytestmark = pytest.mark.parity


@pytest.fixture
def pipeline(fpdm) -> FPDMPipeline:
    pipeline = FPDMPipeline(
        vae=fpdm.vae,
        unet=fpdm.unet,
        scheduler=fpdm.scheduler,
        source_encoder=fpdm.source_encoder,
        conditioner=fpdm.conditioner,
        fusion_embedder=fpdm.fusion_embedder,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(params=["single", "batch", "nocfg"])
def run(request, fpdm) -> dict:
    folder = Path(fpdm.root) / fpdm.name.replace("unet", "sampling")
    run = json.loads((folder / f"{request.param}.json").read_text())
    run["tensors"] = load_file(folder / f"{request.param}.safetensors")
    return run


@pytest.fixture
def official_noise(run, monkeypatch) -> pytest.MonkeyPatch:
    """Give the scheduler the recorded noise: officially it is drawn from the global generator."""
    recorded = iter([run["tensors"][f"step{step}.variance_noise"] for step in range(run["steps"])])
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(recorded))
    return monkeypatch


@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no-cache"])
@pytest.mark.parametrize("branches", ["two", "three"])
def test_steps(pipeline, official_batch, official_noise, run, branches, cache):
    if branches == "three":
        if run["guidance_scale"] <= 1:
            pytest.skip("without guidance there is one branch")
        official_noise.setattr("pgpis.pipelines.fpdm.guidance_branches", lambda *_, **__: 3)
    official = run["tensors"]
    rows = len(official["init_noise"])
    pairs = rows // run["num_images_per_prompt"]
    batch = {key: value[:pairs] for key, value in official_batch.items()}
    steps: list[torch.Tensor] = []
    times: list[int] = []

    def record(_pipeline, _step, timestep, tensors):
        steps.append(tensors["latents"])
        times.append(timestep)
        return {}

    arguments = {
        "num_inference_steps": run["steps"],
        "guidance_scale": run["guidance_scale"],
        "num_images_per_pair": run["num_images_per_prompt"],
        "cache_keys_values": cache,
        "callback_on_step_end": record,
    }
    final = pipeline.generate(batch, latents=official["init_noise"], output_type="latent", **arguments).images
    assert times == official["timesteps"].tolist()
    for step, latents in enumerate(steps):
        torch.testing.assert_close(latents, official[f"step{step}.latents_out"], atol=1e-4, rtol=0)
    decoder_input = final / pipeline.vae.config.scaling_factor
    torch.testing.assert_close(decoder_input, official["vae_decode_in"], atol=1e-3, rtol=0)


def test_pictures(fpdm, pipeline, official_batch, official_noise, run):
    official = run["tensors"]
    pictures = [np.asarray(picture) for picture in tensor_to_images(official["image_raw"])]
    np.testing.assert_array_equal(pictures, official["image_uint8"].numpy())
    if not fpdm.stored_weights:
        pytest.skip("the weights of this set's decoder are not the recipe's: pictures cannot be compared, latents are")
    images = pipeline.generate(
        {key: value[: len(pictures) // run["num_images_per_prompt"]] for key, value in official_batch.items()},
        latents=official["init_noise"],
        num_inference_steps=run["steps"],
        guidance_scale=run["guidance_scale"],
        num_images_per_pair=run["num_images_per_prompt"],
    ).images
    difference = np.stack([np.asarray(image) for image in images]).astype(int) - np.stack(pictures).astype(int)
    assert np.abs(difference).max() <= 1


def test_conditions_of_the_branches(pipeline, official_batch, run):
    official = run["tensors"]
    num_images = run["num_images_per_prompt"]
    pairs = len(official["init_noise"]) // num_images
    batch = {key: value[:pairs] for key, value in official_batch.items()}
    branches = len(official["unet_in.pose_cond"]) // len(official["init_noise"])
    with torch.no_grad():
        ports, _ = pipeline._condition(batch, branches, num_images, use_cache=False)
        time_embedding = pipeline.conditioner.fusion_projection(official["unet_in.class_labels"].squeeze(1))
    torch.testing.assert_close(ports.tokens, official["unet_in.encoder_hidden_states"], atol=1e-5, rtol=0)
    torch.testing.assert_close(ports.pose_features, official["unet_in.pose_cond"], atol=1e-5, rtol=0)
    torch.testing.assert_close(ports.time_embedding, time_embedding, atol=1e-5, rtol=0)
