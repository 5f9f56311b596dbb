"""FPDM's networks and training loss against the official code."""

from __future__ import annotations

import pytest
import torch

from parity_files import TOLERANCES, close
from pgpis.denoiser import Ports, denoise
from pgpis.denoiser.diffusion import add_noise, velocity
from pgpis.methods.fpdm import KeepMasks, encode_pair

pytestmark = pytest.mark.parity


@pytest.fixture
def encoded(fpdm, official_batch) -> tuple[torch.Tensor, torch.Tensor]:
    return encode_pair(fpdm.source_encoder, fpdm.fusion_embedder, official_batch)


@pytest.fixture
def ports(fpdm, encoded, official_batch) -> Ports:
    return fpdm.conditioner(*encoded, official_batch["pose_image"])


def test_encoders_and_projections(fpdm, encoded, ports, official_batch):
    close(encoded[0], fpdm.io["src_last_hidden_state"])
    close(encoded[1], fpdm.io["fusion_embed"])
    close(fpdm.fusion_embedder.embed(official_batch["prior_source"]), fpdm.io["fusion_source_embeds"])
    close(fpdm.fusion_embedder.embed(official_batch["prior_pose"]), fpdm.io["fusion_pose_embeds"])
    close(ports.tokens, fpdm.io["s_img_proj_f"])
    close(ports.pose_features, fpdm.io["pose_t_cond"])
    close(ports.time_embedding, fpdm.io["class_emb"])


BRANCHES = {"fwd_pred": (True, True, True), "fwd_pred_src": (True, True, False), "fwd_pred_uncond": (False,) * 3}


@pytest.mark.parametrize("expected", BRANCHES)
def test_denoiser(fpdm, encoded, official_batch, expected):
    rows = len(official_batch["pose_image"])
    keep = KeepMasks(*(torch.full((rows,), flag) for flag in BRANCHES[expected]))
    conditions = fpdm.unet.prepare(fpdm.conditioner(*encoded, official_batch["pose_image"], keep))
    close(denoise(fpdm.unet, fpdm.io["fwd_latents"], fpdm.io["fwd_timesteps"], conditions), fpdm.io[expected])


def test_latents_noise_and_target(fpdm, official_target):
    posterior = fpdm.vae.encode(official_target).latent_dist
    close(posterior.mean, fpdm.io["train_vae_mean"], "vae")
    close(posterior.std, fpdm.io["train_vae_std"], "vae")
    latents = (posterior.mean + posterior.std * fpdm.io["train_vae_eps"]) * fpdm.vae.config.scaling_factor
    close(latents, fpdm.io["train_latents"], "vae")
    latents = fpdm.io["train_latents"]
    noise = fpdm.io["train_noise_raw"] + 0.1 * fpdm.io["train_noise_offset"]
    schedule = (fpdm.scheduler.alphas_cumprod, fpdm.io["train_timesteps"])
    close(add_noise(latents, noise, *schedule), fpdm.io["train_noisy"])
    close(velocity(latents, noise, *schedule), fpdm.io["train_target"])


DROPS = {
    "nodrop": (True, True, True),
    "posedrop": (True, False, True),
    "moddrop": (False, True, False),
    "alldrop": (False, False, False),
}


def training_loss(fpdm, encoded, official_batch, kept: tuple[bool, bool, bool]) -> torch.Tensor:
    rows = len(official_batch["pose_image"])
    tokens, pose, fusion = (torch.full((rows,), flag) for flag in kept)
    ports = fpdm.conditioner(*encoded, official_batch["pose_image"], KeepMasks(tokens, pose, fusion))
    conditions = fpdm.unet.prepare(ports, cache=False)
    prediction = denoise(fpdm.unet, fpdm.io["train_noisy"], fpdm.io["train_timesteps"], conditions)
    return torch.nn.functional.mse_loss(prediction, fpdm.io["train_target"])


@pytest.mark.parametrize("drop", DROPS)
def test_training_loss(fpdm, encoded, official_batch, drop):
    loss = training_loss(fpdm, encoded, official_batch, DROPS[drop])
    assert loss.item() == pytest.approx(fpdm.meta["scalars"][f"train_loss_{drop}"], abs=TOLERANCES["network"])


def test_training_gradients(fpdm, official_batch):
    for parameter in fpdm.trained_parameters():
        parameter.grad = None
    with torch.no_grad():
        encoded = encode_pair(fpdm.source_encoder, fpdm.fusion_embedder, official_batch)
    training_loss(fpdm, encoded, official_batch, DROPS["nodrop"]).backward()
    gradients = [parameter.grad for parameter in fpdm.trained_parameters() if parameter.grad is not None]
    scalars = fpdm.meta["scalars"]
    assert len(gradients) == scalars["train_grad_keys_count"]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
    assert norm == pytest.approx(scalars["train_grad_norm_nodrop"], rel=1e-4)
    listed = [name for name in fpdm.io if name.startswith("grad.")]
    assert listed
    for name in listed:
        close(fpdm.parameter(name.removeprefix("grad.")).grad, fpdm.io[name], "gradient", name)
