"""MCLD's sampling against the official code: conditions, every step, and the pictures."""

from __future__ import annotations

import pytest
import torch
from official_mcld import load_official_pipeline
from PIL import Image

from parity_files import Recorded, close, enlarged, names, with_number
from pgpis.batch import ImageSpec
from pgpis.methods.mcld.reference import ReferenceNet
from pgpis.models.encoders import encode_pictures, normalize_pictures
from pgpis.pictures.images import fit_images

pytestmark = pytest.mark.parity

CLIP_PICTURES = {"source_clip": "clip_u8", "texture_clip": "clip2_u8"}


@pytest.fixture(scope="module", params=names("mcld_sampling/*.json"))
def run(request, parity_root):
    folder = parity_root / "mcld_sampling"
    run = Recorded(folder / f"{request.param}.json")
    run["tensors"] = Recorded(folder / f"{request.param}.safetensors")
    run["inputs"] = Recorded(folder / "inputs.safetensors")
    return run


@pytest.fixture(scope="module")
def pipeline(parity_root, run):
    return load_official_pipeline(parity_root, run["scheduler"])


def images(pictures):
    return [Image.fromarray(picture.numpy()) for picture in pictures]


def as_clip_fits_it(picture, size):
    """CLIP's own processor scales the short edge and crops the centre; ours squashes, as the official loader does."""
    return fit_images({"source": picture}, {"clip": ImageSpec("source", size, size, fit="crop")})["clip"]


@pytest.fixture(scope="module")
def batch(pipeline, run):
    inputs, rows = run["inputs"], len(run["tensors"]["init_noise"])
    batch = pipeline.prepare(
        images(inputs["clip_u8"]),
        images(enlarged(inputs, "ref_u8")),
        images(enlarged(inputs, "pose_u8")),
        list(inputs["face_emb"][:, 0].numpy()),
        run["height"],
        run["width"],
    )
    # in the fixtures the ReferenceNet's texture is another picture than CLIP's
    size = pipeline.image_encoder.config.image_size
    for key, name in CLIP_PICTURES.items():
        batch[key] = torch.stack([as_clip_fits_it(picture, size) for picture in images(inputs[name])])
    return {key: value[:rows] for key, value in batch.items()}


@pytest.mark.parametrize("number", [0, 1])
def test_image_embeddings(pipeline, batch, run, number):
    picture = batch[list(CLIP_PICTURES)[number]]
    expected, stride = with_number(run["tensors"], f"clip{number}.pixel_values_s#")
    close(normalize_pictures(pipeline.image_encoder, picture)[:, :, ::stride, ::stride], expected, "clip")
    with torch.no_grad():
        embedded = encode_pictures(pipeline.image_encoder, picture)
    close(embedded, run["tensors"][f"clip{number}.image_embeds"], "clip", rtol=1e-4)


def test_steps_and_pictures(pipeline, batch, run, monkeypatch):
    official = run["tensors"]
    bank = ReferenceNet.bank

    def recorded(self, latents, tokens):
        """The official bank: rounding our own would flip a last bit here and there, as the processor has it."""
        rows = slice(-len(latents), None)  # those without conditions come first, if at all
        close(latents, official["ref_in_latents"][rows], "vae")
        ours = bank(self, latents, tokens)
        theirs = {name: official[f"bank.{name}.0"][rows].float() for name in ours}
        for name in ours:
            close(ours[name], theirs[name], "mcld rounded", name, rtol=1e-3)
        return theirs

    monkeypatch.setattr(ReferenceNet, "bank", recorded)
    steps, times = [], []

    def record(_pipeline, _step, timestep, tensors):
        steps.append(tensors["latents"])
        times.append(timestep)
        return {}

    pictures = pipeline.generate(
        batch,
        num_inference_steps=run["steps"],
        guidance_scale=run["guidance_scale"],
        latents=official["init_noise"],
        output_type="pt",
        callback_on_step_end=record,
    ).images
    assert times == run["timesteps"]
    for number, latents in enumerate(steps):
        close(latents, official[f"step{number}.latents_out"], "mcld sampled", rtol=1e-4)
    close(pictures / 2 + 0.5, official["image"].float(), "mcld sampled", rtol=1e-4)
