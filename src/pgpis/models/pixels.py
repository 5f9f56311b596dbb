"""What nets on pixels behind an autoencoder are made of: they put back what its latents do not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pgpis.errors import PgpisError

CELL = 2
"""Pixels a side of a cell of the trunk."""
GROUPS = 8
"""Of channels that are normalised together."""


class ResidualBlock(nn.Module):
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
        """Return ``(B, outputs, h, w)`` of ``(B, inputs, h, w)``."""
        result: torch.Tensor = self.beside(features) + self.layers(features)
        return result


class PixelUNet(nn.Module):
    """A UNet on cells of 2 x 2 pixels, whose last layer starts at zero; a refiner calls :meth:`make_trunk`."""

    config: Any
    """A refiner's own, which diffusers registers."""

    def make_trunk(self, inputs: int, channels: Sequence[int], outputs: int) -> None:
        """Make the layers.

        Args:
            inputs: Numbers per cell.
            channels: Widths of the levels, multiples of 8; each further level has cells of twice the side.
            outputs: Numbers per pixel of the result.

        Raises:
            PgpisError: Other widths.
        """
        check_widths("channels", channels)
        self.first = nn.Conv2d(inputs, channels[0], 3, padding=1)
        self.down = levels(channels)
        self.up = nn.ModuleList(
            ResidualBlock(low + high, high) for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], outputs * CELL**2, 3, padding=1)
        with torch.no_grad():
            for weights in self.last.parameters():
                weights.zero_()

    def run_trunk(
        self, cells: torch.Tensor, look: Callable[[int, torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Run the layers on ``(B, inputs, H / 2, W / 2)``; return ``(B, outputs, H, W)``.

        ``look`` is given the number of each level on the way down, 0 first, and its features, and returns others.
        """
        features = self.first(cells)
        skips = []
        for level, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2, ceil_mode=True) if level else features)
            features = features if look is None else look(level, features)
            skips.append(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            larger = F.interpolate(features, scale_factor=2.0, mode="nearest")
            larger = larger[..., : skip.shape[-2], : skip.shape[-1]]
            features = block(torch.cat([larger, skip], dim=1))
        return F.pixel_shuffle(self.last(features), CELL)


def levels(channels: Sequence[int]) -> nn.ModuleList:
    """Return a block for each level, the first of which keeps its width."""
    return nn.ModuleList(
        ResidualBlock(previous, channel) for previous, channel in zip((channels[0], *channels), channels, strict=False)
    )


def check_widths(name: str, channels: Sequence[int]) -> None:
    """Raise ``PgpisError`` unless there are widths, all of which can be normalised in groups."""
    if not channels or any(width < 1 or width % GROUPS for width in channels):
        raise PgpisError(f"{name} are {tuple(channels)}, expected multiples of {GROUPS}")
