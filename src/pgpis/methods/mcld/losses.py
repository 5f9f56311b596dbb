"""MCLD's loss: min-SNR weights, and the face's region counted twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pgpis.pictures.iuv import PART_CHANNEL

FACE_PARTS = (23, 24)
"""DensePose's parts of the head, which MCLD's loss counts twice."""


def min_snr_weights(
    alphas_cumprod: torch.Tensor, timesteps: torch.Tensor, gamma: float = 5.0, prediction_type: str = "v_prediction"
) -> torch.Tensor:
    """Return the min-SNR weight of each sample, float32 ``(B,)``, by what the denoiser predicts.

    ``min(SNR + 1, gamma) / (SNR + 1)`` for a velocity, ``min(SNR, gamma) / SNR`` for noise (``epsilon``, 1 where the
    SNR is zero) and ``min(SNR + 1, gamma)`` for the picture itself (``sample``), whose squared error is that of the
    velocity divided by ``SNR + 1``: where nothing but noise is left, ``min(SNR, gamma)`` would teach nothing.

    From the noise schedule ``(T,)``, whose terminal SNR may be zero, and time steps ``(B,)``.

    Source: MCLD's released training, of a velocity; Hang et al. 2023, of noise.
    """
    alphas = alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]
    noise = 1 - alphas  # 1 / (SNR + 1)
    if prediction_type == "sample":
        return (1 / noise).clamp(max=gamma)
    return (gamma * (noise / alphas if prediction_type == "epsilon" else noise)).clamp(max=1)


def face_region(iuv: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return where the head is in a target pose, at the size of the latents: float32 ``(B, 1, height, width)``, 0 or 1.

    ``iuv`` is DensePose's map in [-1, 1], channels V, U, part, ``(B, 3, H, W)``, whose labels are not interpolated.
    """
    labels = _parts(iuv)
    face = (labels == FACE_PARTS[0]) | (labels == FACE_PARTS[1])
    return F.interpolate(face.float(), (height, width), mode="nearest")


def person_region(iuv: torch.Tensor) -> torch.Tensor:
    """Return where the person is in a target pose, a DensePose map as above: bool ``(B, 1, H, W)``."""
    return _parts(iuv) > 0


def _parts(iuv: torch.Tensor) -> torch.Tensor:
    return ((iuv[:, [PART_CHANNEL]] + 1) * 127.5).round()


def focal_loss(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, face: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute MCLD's loss, ``mean_b weight_b * mean[(1 + face) * (prediction - target)^2]``.

    Prediction and target are ``(B, C, h, w)``, weights ``(B,)``; without ``face``, ``(B, 1, h, w)``, no region counts
    twice.

    Source: MCLD, "Face-region loss".
    """
    squared = (prediction.float() - target.float()).square()
    if face is not None:
        squared = squared * (1 + face)
    return (squared.flatten(1).mean(dim=1) * weights).mean()
