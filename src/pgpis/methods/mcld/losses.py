"""MCLD's loss: min-SNR weights, and the face's region counted twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pgpis.pictures.iuv import PART_CHANNEL

FACE_PARTS = (23, 24)
"""DensePose's parts of the head, which MCLD's loss counts twice."""


def min_snr_weights(alphas_cumprod: torch.Tensor, timesteps: torch.Tensor, gamma: float = 5.0) -> torch.Tensor:
    """Return ``min(SNR + 1, gamma) / (SNR + 1)``: the min-SNR weight of each sample for velocity prediction.

    Args:
        alphas_cumprod: Noise schedule ``(T,)``; zero terminal SNR is allowed.
        timesteps: int64 ``(B,)``.
        gamma: Where the weight begins to fall.

    Returns:
        float32 ``(B,)`` in (0, 1].

    Source: MCLD's released training; Hang et al. 2023.
    """
    alphas = alphas_cumprod.to(timesteps.device, torch.float32)[timesteps]
    inverse = 1 - alphas  # 1 / (SNR + 1)
    return torch.minimum(torch.ones_like(inverse), gamma * inverse)


def face_region(iuv: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return where the face is in a target pose.

    Args:
        iuv: DensePose map in [-1, 1], channels V, U, part, ``(B, 3, H, W)``; labels not interpolated.
        height: Rows of the latents.
        width: Columns of the latents.

    Returns:
        float32 ``(B, 1, height, width)``, 1 where the nearest pixel belongs to the head, else 0.
    """
    labels = ((iuv[:, [PART_CHANNEL]] + 1) * 127.5).round()
    face = (labels == FACE_PARTS[0]) | (labels == FACE_PARTS[1])
    return F.interpolate(face.float(), (height, width), mode="nearest")


def focal_loss(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, face: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute MCLD's loss, ``mean_b weight_b * mean[(1 + face) * (prediction - target)^2]``.

    Args:
        prediction: ``(B, C, h, w)``.
        target: Same shape.
        weights: Weight of each sample ``(B,)``.
        face: ``(B, 1, h, w)``; None: no region counts twice.

    Source: MCLD, "Face-region loss".
    """
    squared = (prediction.float() - target.float()).square()
    if face is not None:
        squared = squared * (1 + face)
    return (squared.flatten(1).mean(dim=1) * weights).mean()
