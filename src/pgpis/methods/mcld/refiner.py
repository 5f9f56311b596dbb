"""The last step of MCLD, ours: what the source shows exactly is put back into the picture that latents decode to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pgpis.errors import PgpisError
from pgpis.methods.mcld.rendering import MARKS
from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL

__all__ = ["ModelMixin", "Refiner"]  # the base class, for diffusers' loader

CELL = 2
"""Pixels a side of a cell of the trunk."""
PART_WIDTH = 8
"""Numbers that stand for a part of the body."""
GROUPS = 8
"""Of channels that are normalised together."""


class Refiner(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """A UNet on pixels: a share of the texture seen through the map, by pixel, and what is to be added.

    Latents of an eighth of the picture's side do not hold prints and faces; the rendered picture does where the source
    shows them, but shifted, shaded otherwise and full of seams. It starts as the identity on the draft.

    Args:
        channels: Widths of its levels, multiples of 8; the first has cells of 2 x 2 pixels, each further one of twice
            the side.

    Raises:
        PgpisError: Other widths.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(self, channels: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        if not channels or any(width < 1 or width % GROUPS for width in channels):
            raise PgpisError(f"channels are {tuple(channels)}, expected multiples of {GROUPS}")
        pictures = 2 * 3 * CELL**2
        self.part = nn.Embedding(PARTS + 1, PART_WIDTH)
        self.first = nn.Conv2d(pictures + MARKS + 2 + PART_WIDTH, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            _Block(previous, channel) for previous, channel in zip((channels[0], *channels), channels, strict=False)
        )
        self.up = nn.ModuleList(
            _Block(low + high, high) for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], 4 * CELL**2, 3, padding=1)
        with torch.no_grad():
            for weights in self.last.parameters():
                weights.zero_()

    def forward(
        self, draft: torch.Tensor, rendered: torch.Tensor, marks: torch.Tensor, iuv: torch.Tensor
    ) -> torch.Tensor:
        """Refine pictures.

        Args:
            draft: What the latents decode to, RGB in [-1, 1], ``(B, 3, H, W)``, both sides even.
            rendered: The texture seen through the map, likewise; see :func:`~pgpis.methods.mcld.rendering.render`.
            marks: What its pixels are, in {0, 1}, ``(B, 3, H, W)``.
            iuv: The target's map, channels V, U, part, in [-1, 1], ``(B, 3, H, W)``.

        Returns:
            RGB, ``(B, 3, H, W)``, which may leave [-1, 1].
        """
        dtype = self.first.weight.dtype
        cells = iuv[:, :, ::CELL, ::CELL]
        part = ((cells[:, PART_CHANNEL] / 2 + 0.5) * 255).round().long().clamp(0, PARTS)
        inputs = [
            F.pixel_unshuffle(draft, CELL),
            F.pixel_unshuffle(rendered, CELL),
            F.avg_pool2d(marks, CELL),
            cells[:, [U_CHANNEL, V_CHANNEL]],
            self.part(part).permute(0, 3, 1, 2),
        ]
        features = self.first(torch.cat([value.to(dtype) for value in inputs], dim=1))
        skips = []
        for level, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2, ceil_mode=True) if level else features)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            larger = F.interpolate(features, scale_factor=2.0, mode="nearest")
            larger = larger[..., : skip.shape[-2], : skip.shape[-1]]
            features = block(torch.cat([larger, skip], dim=1))
        change = F.pixel_shuffle(self.last(features), CELL).to(draft.dtype)  # what to add, and the rendered one's share
        return draft + change[:, 3:] * (rendered - draft) + change[:, :3]


class _Block(nn.Module):
    """Two normalised convolutions beside the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(GROUPS, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.beside = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.beside(features) + self.layers(features)
        return result
