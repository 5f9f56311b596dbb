"""FPDM's sampling against the official code: every step, with two and three branches, and the pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity_files import Recorded, close, names
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.pictures.images import tensor_to_images

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


SETS = [(name, run) for name in names("fpdm_unet*") for run in names(f"{name.replace('unet', 'sampling')}/*.json")]
every_run = pytest.mark.parametrize(("fpdm", "run"), SETS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def run(request, fpdm) -> Recorded:
    folder = fpdm.root / fpdm.name.replace("unet", "sampling")
    run = Recorded(folder / f"{request.param}.json")
    run["tensors"] = Recorded(folder / f"{request.param}.safetensors")
    return run


@pytest.fixture
def official_noise(run, monkeypatch) -> pytest.MonkeyPatch:
    """Give the scheduler the recorded noise: officially it is drawn from the global generator."""
    steps = [f"step{step}.variance_noise" for step in range(run["steps"])]
    recorded = iter([run["tensors"][name] for name in steps if name in run["tensors"]])  # none at t = 0
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(recorded))
    return monkeypatch


@every_run
@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no-cache"])
@pytest.mark.parametrize("branches", ["two", "three"])
def test_steps(pipeline, official_batch, official_noise, run, branches, cache):
    if branches == "three":
        if run["guidance_scale"] <= 1:
            pytest.skip("without guidance there is one branch")
        official_noise.setattr("pgpis.methods.fpdm.pipeline.guidance_branches", lambda *_, **__: 3)
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
        close(latents, official[f"step{step}.latents_out"], "sampled")
    close(final / pipeline.vae.config.scaling_factor, official["vae_decode_in"], "vae input")


@every_run
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


@every_run
def test_conditions_of_the_branches(pipeline, official_batch, official_noise, run):
    official = run["tensors"]
    num_images = run["num_images_per_prompt"]
    pairs = len(official["init_noise"]) // num_images
    batch = {key: value[:pairs] for key, value in official_batch.items()}
    scales = dict.fromkeys(("guidance_scale", "pose_guidance_scale"), run["guidance_scale"])
    if run["guidance_scale"] > 1:
        official_noise.setattr("pgpis.methods.fpdm.pipeline.guidance_branches", lambda *_, **__: 3)
    with torch.no_grad():
        ports = pipeline.unet.prepare(*pipeline.condition(batch, scales), repeats=num_images, cache=False)
        time_embedding = pipeline.conditioner.fusion_projection(official["unet_in.class_labels"].squeeze(1))
    close(ports.tokens, official["unet_in.encoder_hidden_states"])
    close(ports.pose_features, official["unet_in.pose_cond"])
    close(ports.time_embedding, time_embedding)
