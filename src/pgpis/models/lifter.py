"""From key points and a silhouette to DensePose's map.

The net sees no picture, and so no difference between drawn people and photographs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL

LIFTED_POINTS = 26
"""OpenPose's 18 of the body; then big toe and heel, left and right; knuckles of index and little finger, likewise."""
BODY18_COUNT = 18
BODY_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
OTHER_LIMBS = ((13, 18), (13, 19), (10, 20), (10, 21), (7, 22), (7, 23), (4, 24), (4, 25))
LIMBS = BODY_LIMBS + OTHER_LIMBS
TAPER = 0.7
"""How much darker a limb is at its far end, which tells its direction."""
CELL = 4
"""Pixels a side of a cell of the trunk."""


class SurfaceLifter(ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """A UNet on the points' heat maps, the limbs between them and the silhouette.

    Args:
        channels: Widths of its levels; the first has cells of 4 x 4 pixels, each further one of twice the side.
        head_channels: Width at half of the picture's size, where parts and coordinates are told.
        spread: Deviation of a heat map and half the width of a limb, in cells.
        height: Rows of the pictures that it was trained on; it takes others, but knows people of this size.
        width: Columns of them.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 128, 192),
        head_channels: int = 24,
        spread: float = 1.2,
        height: int = 128,
        width: int = 88,
    ) -> None:
        super().__init__()
        inputs = LIFTED_POINTS + len(LIMBS) + CELL**2 + 2
        self.down = nn.ModuleList(
            _block(previous, channel) for previous, channel in zip((inputs, *channels), channels, strict=False)
        )
        self.middle = _block(channels[-1], channels[-1])
        self.up = nn.ModuleList(
            _block(low + high, high) for low, high in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Sequential(_layer(channels[0] + 4, head_channels), _layer(head_channels, head_channels))
        self.parts = nn.Conv2d(head_channels, PARTS + 1, 1)
        self.places = nn.Conv2d(head_channels, 2 * PARTS, 1)

    def forward(self, points: torch.Tensor, silhouette: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tell part and place of each pixel.

        Args:
            points: ``(B, 26, 3)``: x and y as shares of width and height, and 1 where the point is known, else 0.
            silhouette: ``(B, 1, H, W)``, 1 on the person; both sides multiples of 4.

        Returns:
            Logits of background and 24 parts ``(B, 25, H / 2, W / 2)``; U and V of each part in [0, 1],
            ``(B, 24, 2, H / 2, W / 2)``.
        """
        rows, columns = silhouette.shape[-2] // CELL, silhouette.shape[-1] // CELL
        drawn = torch.cat([*self._drawn(points, rows, columns), F.pixel_unshuffle(silhouette, CELL)], dim=1)
        features = drawn.to(self.dtype)
        skips = []
        for level, block in enumerate(self.down):
            features = block(F.avg_pool2d(features, 2, ceil_mode=True) if level else features)
            skips.append(features)
        features = self.middle(features)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            larger = F.interpolate(features, size=skip.shape[-2:], mode="nearest")
            features = block(torch.cat([larger, skip], dim=1))
        larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        features = self.head(torch.cat([larger, F.pixel_unshuffle(silhouette, 2).to(larger.dtype)], dim=1))
        places = self.places(features).sigmoid().to(points.dtype)
        return self.parts(features).to(points.dtype), places.view(len(places), PARTS, 2, *places.shape[-2:])

    def _drawn(self, points: torch.Tensor, rows: int, columns: int) -> list[torch.Tensor]:
        """Return heat maps, limbs and coordinates, each ``(B, C, rows, columns)``."""
        y = (torch.arange(rows, device=points.device) + 0.5).view(1, 1, rows, 1)
        x = (torch.arange(columns, device=points.device) + 0.5).view(1, 1, 1, columns)
        place = points[..., :2] * points.new_tensor([columns, rows])
        known = points[..., 2, None, None]
        twice = 2 * self.config.spread**2
        across, down = place[..., 0, None, None], place[..., 1, None, None]
        heat = torch.exp(-((x - across) ** 2 + (y - down) ** 2) / twice) * known
        first, second = (list(ends) for ends in zip(*LIMBS, strict=True))
        from_x, from_y, by_x, by_y = (
            *(across[:, first], down[:, first]),
            *(across[:, second] - across[:, first], down[:, second] - down[:, first]),
        )
        along = ((x - from_x) * by_x + (y - from_y) * by_y) / (by_x**2 + by_y**2 + 1e-3)
        along = along.clamp(0, 1)
        distance = (x - from_x - along * by_x) ** 2 + (y - from_y - along * by_y) ** 2
        limbs = torch.exp(-distance / twice) * (1 - TAPER * along) * known[:, first] * known[:, second]
        shape = (len(points), 1, rows, columns)
        grid = [(share * 2 - 1).expand(shape) for share in (y / rows, x / columns)]
        return [heat, limbs, *grid]


def _layer(previous: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(previous, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.SiLU())


def _block(previous: int, channels: int) -> nn.Sequential:
    return nn.Sequential(_layer(previous, channels), _layer(channels, channels))


def lift(lifter: SurfaceLifter, points: torch.Tensor, silhouette: torch.Tensor) -> torch.Tensor:
    """Return the map of people at the silhouette's size.

    Args:
        lifter: The net.
        points: As the net takes them.
        silhouette: ``(B, 1, H, W)``, 0 or 1.

    Returns:
        As tensors of maps are, see :mod:`pgpis.pictures.iuv`, ``(B, 3, H, W)``; background outside the silhouette.
    """
    parts, places = lifter(points, silhouette)
    size = silhouette.shape[-2:]
    part = F.interpolate(parts, size=size, mode="bilinear", align_corners=False).argmax(dim=1)
    part = part * (silhouette[:, 0] > 0)
    larger = F.interpolate(places.flatten(1, 2), size=size, mode="bilinear", align_corners=False)
    chosen = (part - 1).clamp(min=0)[:, None, None].expand(-1, 1, 2, -1, -1)
    place = larger.view(len(larger), PARTS, 2, *size).gather(1, chosen)[:, 0] * (part > 0)[:, None]
    result = torch.empty_like(silhouette).repeat(1, 3, 1, 1)
    result[:, PART_CHANNEL] = part
    result[:, [U_CHANNEL, V_CHANNEL]] = (place * 255).round()
    return result / 127.5 - 1
