"""MCLD's sampling against the official code: conditions, every step, and the pictures."""

from __future__ import annotations

import json

import pytest
import torch
from official_mcld import load_official_pipeline
from PIL import Image
from safetensors.torch import load_file

from pgpis.models.encoders import encode_pictures
from pgpis.models.reference import ReferenceNet

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", params=["nocfg", "pil", "tensor"])
def run(request, parity_root):
    folder = parity_root / "mcld_sampling"
    run = json.loads((folder / f"{request.param}.json").read_text())
    run["tensors"] = load_file(folder / f"{request.param}.safetensors")
    run["inputs"] = load_file(folder / "inputs.safetensors")
    run["name"] = request.param
    return run


@pytest.fixture(scope="module")
def pipeline(parity_root, run):
    return load_official_pipeline(parity_root, run["scheduler"])


def enlarged(pictures, factor):
    large = pictures.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    return [Image.fromarray(picture.numpy()) for picture in large]


@pytest.fixture(scope="module")
def batch(pipeline, run):
    inputs, rows = run["inputs"], len(run["tensors"]["init_noise"])
    factor = run["height"] // inputs["pose_u8_div8"].shape[1]
    whole = pipeline.prepare(
        enlarged(inputs["clip_u8"], 1),
        enlarged(inputs["clip2_u8"], 1),
        enlarged(inputs["pose_u8_div8"], factor),
        list(inputs["face_emb"][:, 0].numpy()),
        run["height"],
        run["width"],
    )
    # in the fixtures the ReferenceNet's texture is another picture than CLIP's
    reference = pipeline.prepare(
        enlarged(inputs["clip_u8"], 1),
        enlarged(inputs["ref_u8_div8"], factor),
        enlarged(inputs["pose_u8_div8"], factor),
        None,
        run["height"],
        run["width"],
    )
    whole["texture_image"] = reference["texture_image"]
    return {key: value[:rows] for key, value in whole.items()}


def test_image_embeddings(pipeline, batch, run):
    for name, key in (("clip0", "source_clip"), ("clip1", "texture_clip")):
        with torch.no_grad():
            embedded = encode_pictures(pipeline.image_encoder, batch[key])
        torch.testing.assert_close(embedded, run["tensors"][f"{name}.image_embeds"], atol=1e-4, rtol=1e-4)


def test_steps_and_pictures(pipeline, batch, run, monkeypatch):
    official = run["tensors"]
    bank = ReferenceNet.bank

    def rounded(self, latents, tokens):  # the official code keeps the bank in float16
        return {name: value.half().float() for name, value in bank(self, latents, tokens).items()}

    monkeypatch.setattr(ReferenceNet, "bank", rounded)
    steps, times = [], []

    def record(_pipeline, _step, timestep, tensors):
        steps.append(tensors["latents"])
        times.append(timestep)
        return {}

    images = pipeline.generate(
        batch,
        num_inference_steps=run["steps"],
        guidance_scale=run["guidance_scale"],
        latents=official["init_noise"],
        output_type="pt",
        callback_on_step_end=record,
    ).images
    assert times == run["timesteps"]
    for number, latents in enumerate(steps):
        expected = official[f"step{number}.latents_out"][:, :, 0]
        torch.testing.assert_close(latents, expected, atol=2e-4, rtol=1e-4)
    expected = official["image"][:, :, 0].float()
    torch.testing.assert_close(images / 2 + 0.5, expected, atol=2e-4, rtol=1e-4)
