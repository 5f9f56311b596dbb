"""Diffusion arithmetic as pure functions: noise, targets, guidance and condition dropout."""

from __future__ import annotations

import torch

from pgpis.errors import PgpisError, check_range, nearest

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def offset_noise(latents: torch.Tensor, strength: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw Gaussian noise whose mean differs from picture to picture and channel to channel.

    Returns:
        ``n + strength * o``, with Gaussian ``n`` of the latents' shape ``(B, C, h, w)``, dtype and device, and ``o`` of
        shape ``(B, C, 1, 1)``.

    Source: FPDM trains with strength 0.1.
    """

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=latents.device, dtype=latents.dtype)

    noise = draw(*latents.shape)
    return noise if strength == 0 else noise + strength * draw(*latents.shape[:2], 1, 1)


def sample_timesteps(
    batch_size: int,
    num_train_timesteps: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw one time step per sample, uniform over ``0 .. num_train_timesteps - 1``, int64 ``(B,)``."""
    return torch.randint(0, num_train_timesteps, (batch_size,), generator=generator, device=device)


def add_noise(
    latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Run the forward process, ``x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise``.

    Args:
        latents: Clean latents ``x_0``, ``(B, C, h, w)``.
        noise: Same shape.
        alphas_cumprod: ``abar`` by time step, ``(T,)``.
        timesteps: int64 ``(B,)``.

    Source: FPDM eq. 1.
    """
    signal, sigma = _signal_and_sigma(latents, alphas_cumprod, timesteps)
    return signal * latents + sigma * noise


def velocity(
    latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Return the velocity ``sqrt(abar_t) noise - sqrt(1 - abar_t) x_0``; arguments as in :func:`add_noise`.

    Source: Salimans & Ho 2022, the target of Stable Diffusion 2.1 and FPDM.
    """
    signal, sigma = _signal_and_sigma(latents, alphas_cumprod, timesteps)
    return signal * noise - sigma * latents


def denoising_target(
    prediction_type: str,
    latents: torch.Tensor,
    noise: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """Return what the denoiser has to predict by ``scheduler.config.prediction_type``; tensors as in :func:`add_noise`.

    Raises:
        PgpisError: Unknown prediction type.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise PgpisError(
            f"unknown prediction_type '{prediction_type}'{nearest(prediction_type, PREDICTION_TYPES)}; "
            f"expected one of {', '.join(PREDICTION_TYPES)}"
        )
    if prediction_type == "v_prediction":
        return velocity(latents, noise, alphas_cumprod, timesteps)
    return noise if prediction_type == "epsilon" else latents


def _signal_and_sigma(
    latents: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    alphas = alphas_cumprod.to(latents.device)[timesteps].to(latents.dtype)
    alphas = alphas.reshape(-1, *[1] * (latents.ndim - 1))  # (B, 1, 1, 1)
    return alphas.sqrt(), (1 - alphas).sqrt()


def keep_mask(
    batch_size: int,
    drop_probability: float,
    generator: torch.Generator | None = None,
    *,
    per_sample: bool = True,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw which samples keep a condition in this training step: bool ``(B,)``, False where it is dropped.

    Args:
        batch_size: Number of samples B.
        drop_probability: Chance in [0, 1] that a condition is dropped.
        generator: Source of the random numbers, on ``device``.
        per_sample: Draw for each sample; False draws once for the whole batch.
        device: Where the mask lies.

    Source: FPDM drops with probability 0.2.
    Deviation: The official code draws once per batch (``per_sample=False``), for pose features in validation too.
    """
    check_range("drop_probability", drop_probability, 0, 1)
    draws = torch.rand(batch_size if per_sample else 1, generator=generator, device=device, dtype=torch.float32)
    return (draws >= drop_probability).expand(batch_size)


def guide_two_branches(unconditional: torch.Tensor, conditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Return ``u + g (c - u)``: classifier-free guidance with all conditions at once."""
    return unconditional + scale * (conditional - unconditional)


def guide_three_branches(
    unconditional: torch.Tensor,
    pose: torch.Tensor,
    conditional: torch.Tensor,
    pose_scale: float,
    fusion_scale: float,
) -> torch.Tensor:
    """Return ``u + g_p (s - u) + g_f (c - s)``: cumulative classifier-free guidance.

    With ``g_p == g_f`` the middle branch cancels, and :func:`guide_two_branches` gives the same for two thirds of
    the work.

    Args:
        unconditional: Prediction ``u`` with every condition zero.
        pose: Prediction ``s`` with source tokens and pose.
        conditional: Prediction ``c`` with source tokens, pose and fusion embedding.
        pose_scale: ``g_p``.
        fusion_scale: ``g_f``.

    Source: FPDM eq. 12.
    """
    return unconditional + pose_scale * (pose - unconditional) + fusion_scale * (conditional - pose)


def guidance_branches(fusion_scale: float, pose_scale: float, *, fusion: bool = True) -> int:
    """Return how many branches the denoiser must run: 1 (c), 2 (u, c) or 3 (u, s, c).

    Scales that differ need all three, below 1 too. One scale for both needs two, and up to 1, where ``c`` is taken as
    it is, one.

    Args:
        fusion_scale: ``g_f`` of :func:`guide_three_branches`.
        pose_scale: ``g_p``.
        fusion: Whether the model has a fusion embedding; without one, ``s`` and ``c`` are the same branch.

    Source: Official behaviour: one scale of at most 1 samples without guidance.
    """
    if fusion and fusion_scale != pose_scale:
        return 3
    return 2 if pose_scale > 1 else 1
