"""MCLD's networks and training step against the official code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from official_mcld import OfficialMCLD, load_official_mcld

from parity_files import TOLERANCES, close, enlarged, signed
from pgpis.denoiser import Ports, denoise
from pgpis.methods.mcld.resampler import renamed_resampler

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def mcld(parity_root) -> OfficialMCLD:
    return load_official_mcld(parity_root)


def half_precision(bank):
    """The official code keeps the bank in float16."""
    return {name: value.half().float() for name, value in bank.items()}


@pytest.fixture(scope="module")
def ports(mcld) -> Ports:
    io = mcld.io
    encoded = (io[name][:, 0] for name in ("clip_image_embeds", "clip_image_embeds2", "face_pretrained_embeds"))
    with torch.no_grad():
        return mcld.conditioner(*encoded, signed(enlarged(io, "pose_u8")))


@pytest.fixture(scope="module")
def bank(mcld, ports):
    with torch.no_grad():
        return mcld.reference_net.bank(mcld.io["ref_image_latents"], mcld.io["clip_image_embeds"][:, :1])


def test_face_tokens_and_pose_features(mcld, ports):
    close(ports.extra_tokens, mcld.io["cond.face_tokens"])
    close(ports.pose_features, mcld.io["cond.pose_fea"])


@pytest.fixture(scope="module")
def recorded_bank(mcld, bank):
    """The official bank: rounding our own would flip a last bit here and there, on one processor and not on another."""
    return {name: mcld.io[f"cond.bank.{name}.0"].float() for name in bank}


def test_every_block_of_the_reference_is_banked(mcld, bank, recorded_bank):
    assert set(bank) == {pair[0] for pair in mcld.meta["bank_pairing"]}
    for name, value in bank.items():
        close(value, recorded_bank[name], "mcld rounded", name, rtol=1e-3)


@pytest.mark.parametrize("precision", ["official", "full"])
def test_denoiser_with_reference(mcld, ports, bank, recorded_bank, precision):
    shown = recorded_bank if precision == "official" else bank
    expected = mcld.io["cond.model_pred" if precision == "official" else "control.model_pred_fp32bank"]
    with torch.no_grad():
        conditions = mcld.unet.prepare(replace(ports, reference=shown))
        latents, steps = mcld.io["noisy_latents"][:, :, 0], mcld.io["timesteps"]
        close(denoise(mcld.unet, latents, steps, conditions), expected)


def test_denoiser_without_reference(mcld, ports):
    with torch.no_grad():
        conditions = mcld.unet.prepare(ports)
        latents, steps = mcld.io["noisy_latents"][:, :, 0], mcld.io["timesteps"]
        close(denoise(mcld.unet, latents, steps, conditions), mcld.io["uncond.model_pred"])


def test_pictures_that_skip_the_reference_are_masked_one_by_one(mcld, ports, recorded_bank):
    """A mixed batch is row by row what whole batches are."""
    io = mcld.io
    keep = torch.zeros(len(io["timesteps"]), dtype=torch.bool)
    keep[0] = True
    with torch.no_grad():
        conditions = mcld.unet.prepare(replace(ports, reference=recorded_bank, keep_reference=keep))
        mixed = denoise(mcld.unet, io["noisy_latents"][:, :, 0], io["timesteps"], conditions)
    close(mixed[0], io["cond.model_pred"][0])
    close(mixed[1:], io["uncond.model_pred"][1:])


BRANCHES = ("cond", "clipzero", "uncond")


@pytest.mark.slow
@pytest.mark.parametrize("branch", BRANCHES)
def test_training_prediction(mcld, branch):
    """The three kinds of training step, from recorded draws to the prediction."""
    train = mcld.train

    def of(name):
        return train[f"{branch}.{name}"]

    encoded = (of("image_prompt_embeds")[:, 0], of("image_prompt_embeds2")[:, 0], train["face_emb"][:, 0].float())
    with torch.no_grad():
        ports = mcld.conditioner(*encoded, signed(enlarged(train, "tgt_pose_u8")))
        bank = None
        if branch != "uncond":
            bank = half_precision(mcld.reference_net.bank(of("ref_image_latents"), encoded[0][:, None]))
        alphas = mcld.io["alphas_cumprod_train"][of("timesteps")].view(-1, 1, 1, 1)
        latents, noise = of("latents")[:, :, 0], of("noise")[:, :, 0]
        noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * noise
        conditions = mcld.unet.prepare(replace(ports, reference=bank))
        prediction = denoise(mcld.unet, noisy, of("timesteps"), conditions)
    close(prediction, of("model_pred"), "mcld rounded")
    assert (prediction - of("model_pred")[:, :, 0]).abs().mean() < TOLERANCES["mcld"]


@pytest.mark.slow
def test_gradients_reach_every_trained_part(mcld):
    """Gradients of the official loss, at one weight of each net."""
    train = mcld.train
    encoded = (
        train["cond.image_prompt_embeds"][:, 0],
        train["cond.image_prompt_embeds2"][:, 0],
        train["face_emb"][:, 0].float(),
    )
    ports = mcld.conditioner(*encoded, signed(enlarged(train, "tgt_pose_u8")))
    bank = half_precision(mcld.reference_net.bank(train["cond.ref_image_latents"], encoded[0][:, None]))
    conditions = mcld.unet.prepare(replace(ports, reference=bank))
    noisy, steps = train["cond.noisy_latents"][:, :, 0], train["cond.timesteps"]
    prediction = denoise(mcld.unet, noisy, steps, conditions)
    weight = train["cond.mse_loss_weights"]
    squared = (prediction - train["cond.target"][:, :, 0]) ** 2 * (1 + train["cond.face_mask"].float())
    loss = (squared.flatten(1).mean(1) * weight).mean()
    assert float(loss) == pytest.approx(mcld.meta["scalars"]["train_cond"]["loss"], rel=TOLERANCES["mcld"])
    loss.backward()
    parameters = {
        "denoising_unet": dict(mcld.unet.named_parameters()),
        "reference_unet": dict(mcld.reference_net.named_parameters()),
        "pose_guider": dict(mcld.conditioner.pose_encoder.named_parameters()),
        "image_proj_model": dict(mcld.conditioner.face_resampler.named_parameters()),
    }
    checked = 0
    for key in train:
        if key.startswith("grad."):
            net, name = key.removeprefix("grad.").split(".", 1)
            expected = {name: train[key]}
            for own, value in (renamed_resampler(expected) if net == "image_proj_model" else expected).items():
                close(parameters[net][own].grad, value, "gradient", key, rtol=2e-3)
            checked += 1
    assert checked >= 5
