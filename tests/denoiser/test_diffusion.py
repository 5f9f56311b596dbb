"""Noise, targets, guidance and condition dropout."""

from __future__ import annotations

import pytest
import torch

from pgpis.denoiser.diffusion import (
    add_noise,
    denoising_target,
    guidance_branches,
    guide_three_branches,
    guide_two_branches,
    keep_mask,
    offset_noise,
    sample_timesteps,
    velocity,
)
from pgpis.errors import PgpisError
from pgpis.models import build_scheduler


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def schedule():
    return build_scheduler()


@pytest.fixture
def latents():
    return torch.randn(4, 4, 6, 5, generator=seeded())


def test_offset_shifts_whole_channels():
    noise = offset_noise(torch.empty(2000, 2, 8, 8), 0.5, seeded())
    means = noise.mean(dim=(2, 3))
    # a channel's mean has the variance of 64 averaged draws plus that of the offset
    assert means.var().item() == pytest.approx(1 / 64 + 0.25, rel=0.1)
    assert (noise - means[..., None, None]).var().item() == pytest.approx(63 / 64, rel=0.05)


def test_no_offset_is_plain_noise(latents):
    torch.testing.assert_close(offset_noise(latents, 0.0, seeded(3)), torch.randn(latents.shape, generator=seeded(3)))


def test_forward_process_and_velocity_match_diffusers(schedule, latents):
    noise, timesteps = torch.randn(latents.shape, generator=seeded(1)), torch.tensor([0, 1, 500, 999])
    noisy = add_noise(latents, noise, schedule.alphas_cumprod, timesteps)
    torch.testing.assert_close(noisy, schedule.add_noise(latents, noise, timesteps))
    target = velocity(latents, noise, schedule.alphas_cumprod, timesteps)
    torch.testing.assert_close(target, schedule.get_velocity(latents, noise, timesteps))
    alphas = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    torch.testing.assert_close(alphas.sqrt() * noisy - (1 - alphas).sqrt() * target, latents, atol=1e-5, rtol=0)
    torch.testing.assert_close((1 - alphas).sqrt() * noisy + alphas.sqrt() * target, noise, atol=1e-5, rtol=0)


def test_target_follows_the_prediction_type(schedule, latents):
    noise, timesteps = torch.randn(latents.shape, generator=seeded(1)), torch.tensor([0, 1, 500, 999])
    rest = (latents, noise, schedule.alphas_cumprod, timesteps)
    assert denoising_target("epsilon", *rest) is noise
    assert denoising_target("sample", *rest) is latents
    torch.testing.assert_close(denoising_target("v_prediction", *rest), velocity(*rest))
    with pytest.raises(PgpisError, match="did you mean 'v_prediction'"):
        denoising_target("v_predictoin", *rest)


def test_timesteps_cover_the_range():
    timesteps = sample_timesteps(4000, 10, seeded())
    assert timesteps.bincount(minlength=10).min() > 300
    assert timesteps.max() == 9


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_drops_happen_as_often_as_asked(per_sample, probability):
    generator = seeded()
    masks = torch.stack([keep_mask(4, probability, generator, per_sample=per_sample) for _ in range(3000)])
    assert 1 - masks.float().mean().item() == pytest.approx(probability, abs=0.02)
    whole_batch = bool((masks == masks[:, :1]).all())
    assert whole_batch == (not per_sample or probability in (0.0, 1.0))


def test_drop_probability_is_checked():
    with pytest.raises(PgpisError, match="expected a number from 0 to 1"):
        keep_mask(2, 1.5)


def test_equal_scales_cancel_the_middle_branch():
    unconditional, pose, conditional = torch.randn(3, 2, 4, 3, 3, generator=seeded())
    three = guide_three_branches(unconditional, pose, conditional, pose_scale=2.0, fusion_scale=2.0)
    torch.testing.assert_close(three, guide_two_branches(unconditional, conditional, 2.0))


def test_each_scale_weighs_its_own_difference():
    unconditional, pose, conditional = torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)
    assert guide_three_branches(unconditional, pose, conditional, pose_scale=2, fusion_scale=3) == 1 + 2 * 9 + 3 * 90


@pytest.mark.parametrize(
    ("fusion_scale", "pose_scale", "fusion", "branches"),
    [
        (2, 2, True, 2),
        (2, 3, True, 3),
        (1, 1, True, 1),
        (0, 0, True, 1),
        (1, 3, True, 3),
        (2, 3, False, 2),
        (2, 1, False, 1),
    ],
)
def test_number_of_branches(fusion_scale, pose_scale, fusion, branches):
    assert guidance_branches(fusion_scale, pose_scale, fusion=fusion) == branches
