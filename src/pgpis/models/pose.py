"""Encoder of the drawn target pose."""

from __future__ import annotations

import torch
from diffusers import ControlNetModel
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

from pgpis.errors import PgpisError
from pgpis.models.loading import load_diffusers


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
        """Encode drawn poses, RGB in [-1, 1]: ``(B, 3, H, W)`` to ``(B, out_channels, H / 8, W / 8)`` for four stages.

        The net itself sees [0, 1], as the official one does.
        """
        return super().forward(pose_image / 2 + 0.5)

    def start_from_controlnet(self, spec: str) -> None:
        """Take over the convolutions of a ControlNet's encoder; the last one stays zero.

        Args:
            spec: Hub id or folder of a ``ControlNetModel``, say ``lllyasviel/control_v11p_sd15_seg``.

        Raises:
            PgpisError: Not found, or its stages have other widths.

        Source: MCLD starts from ControlNet-seg.
        """
        stock = load_diffusers(ControlNetModel, "pose_encoder", spec).controlnet_cond_embedding.state_dict()
        own = self.state_dict()
        for name in (name for name in own if not name.startswith("conv_out.")):
            if name not in stock or stock[name].shape != own[name].shape:
                shape = "has none" if name not in stock else f"has {tuple(stock[name].shape)}"
                raise PgpisError(f"pose_encoder: '{spec}' {shape} for '{name}' of shape {tuple(own[name].shape)}")
            own[name] = stock[name]
        self.load_state_dict(own)
