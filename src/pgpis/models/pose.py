"""Encoder of the drawn target pose."""

from __future__ import annotations

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding


class PoseEncoder(ControlNetConditioningEmbedding):  # type: ignore[misc, unused-ignore]
    """Encode a drawn pose into features of the latents' size: the small convolutional net of ControlNet.

    The last convolution starts at zero, so that training starts from the pretrained denoiser.

    Args:
        out_channels: Channels of the result: the denoiser's first ``block_out_channels``.
        hidden_channels: Channels of the stages; each step between two of them halves the size.

    Source: FPDM, official code ``pose_t_proj``; ControlNet, section 3.
    """

    def __init__(self, out_channels: int = 320, hidden_channels: tuple[int, ...] = (16, 32, 96, 256)) -> None:
        super().__init__(out_channels, conditioning_channels=3, block_out_channels=tuple(hidden_channels))

    def forward(self, pose_image: torch.Tensor) -> torch.Tensor:
        """Encode drawn poses.

        Args:
            pose_image: RGB in [-1, 1], ``(B, 3, H, W)``; the net itself sees [0, 1], as the official one does.

        Returns:
            Features ``(B, out_channels, H / 8, W / 8)`` for four stages.
        """
        features: torch.Tensor = super().forward(pose_image / 2 + 0.5)
        return features
