"""The texture seen through the target's map: a picture that only needs mending, as a condition behind ``conv_in``."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn

from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL
from pgpis.pictures.uv_texture import CHART_SIZE, TEXTURE_SIZE, chart_places, part_table

SEEN, UNKNOWN = 0.5, -0.5
"""Of what is known of a texel in [-1, 1]: above the first it is seen, below the second nothing is."""
MARKS = 3
"""Channels that say what a cell of the rendered picture is: seen in the source, filled in, backdrop of the source."""
GROUPS = ((1, 2), (3, 4), (5, 6), (7, 8, 9, 10), (11, 12, 13, 14), (15, 16, 17, 18), (19, 20, 21, 22), (23, 24))
"""Parts that clothes and skin cover alike: a part that the source does not show has the mean colour of its group."""


def render(
    surface: torch.Tensor, iuv: torch.Tensor, backdrop: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw people from what their sources show of them.

    Args:
        surface: See :mod:`pgpis.pictures.surface`, in [-1, 1], ``(P, 3, 512, 1024)``.
        iuv: The target's map, channels V, U, part, in [-1, 1], ``(P, 3, H, W)``.
        backdrop: What lies behind the source, RGB in [-1, 1], ``(P, 3, H, W)``; None: grey.

    Returns:
        RGB in [-1, 1], ``(P, 3, H, W)``, and :data:`MARKS` of each pixel in {0, 1}, ``(P, 3, H, W)``.
    """
    values = ((iuv / 2 + 0.5) * 255).round().long().clamp(0, 255)
    part = values[:, PART_CHANNEL].clamp(max=PARTS)
    row = (255 - values[:, V_CHANNEL]) * (CHART_SIZE - 1) // 255
    column = values[:, U_CHANNEL] * (CHART_SIZE - 1) // 255
    texel = _texels().to(iuv.device)[(part - 1).clamp(min=0), row, column].flatten(1)  # (P, H * W)
    texture, known = (half.flatten(2) for half in surface.chunk(2, dim=3))
    drawn = texture.gather(2, texel[:, None].expand(-1, 3, -1)).view_as(iuv)
    state = known[:, 0].gather(1, texel).view_as(part)[:, None]  # 1 seen, about 0 filled, -1 unknown
    means = _group_colours(texture, known[:, 0] > SEEN)  # (P, 3, 25)
    guessed = means.gather(2, part.flatten(1)[:, None].expand(-1, 3, -1)).view_as(iuv)
    person = (part > 0)[:, None]
    behind = torch.zeros_like(iuv) if backdrop is None else backdrop
    picture = torch.where(person, torch.where(state > UNKNOWN, drawn, guessed), behind)
    has_backdrop = ~person if backdrop is not None else torch.zeros_like(person)
    return picture, torch.cat([person & (state > SEEN), person & (state <= SEEN), has_backdrop], dim=1).float()


def surface_of_texture(texture: torch.Tensor) -> torch.Tensor:
    """Return the surface of a texture ``(P, 3, 512, 512)`` of which nobody knows what was seen: all is a guess."""
    return torch.cat([texture, torch.zeros_like(texture)], dim=3)


def _group_colours(texture: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the mean colour of what is seen of each part's group, else grey, ``(P, 3, 25)``."""
    parts = torch.from_numpy(part_table()).to(texture.device).long().flatten()
    weights = seen.to(texture.dtype)
    counts = texture.new_zeros(len(texture), PARTS + 1).index_add(1, parts, weights)
    sums = texture.new_zeros(len(texture), 3, PARTS + 1).index_add(2, parts, texture * weights[:, None])
    means = torch.zeros_like(sums)
    for group in map(list, GROUPS):
        count = counts[:, group].sum(dim=1).clamp(min=1)
        means[:, :, group] = (sums[:, :, group].sum(dim=2) / count[:, None])[..., None]
    return means


@functools.cache
def _texels() -> torch.Tensor:
    """Return the number of the texture's texel for each texel of the charts, ``(24, 200, 200)``."""
    places = torch.from_numpy(chart_places(1))
    y, x = (places * TEXTURE_SIZE).round().long().clamp(max=TEXTURE_SIZE - 1).unbind(dim=-1)
    return y * TEXTURE_SIZE + x


class RenderedEncoder(nn.Module):
    """Features of the rendered picture's latents and marks, for the port behind ``conv_in``.

    The last convolution starts at zero, so that training goes on from a model without it.

    Args:
        latent_channels: Channels of the latents.
        channels: Channels of the result.
    """

    def __init__(self, latent_channels: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(latent_channels + MARKS, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            for weights in self.last.parameters():
                weights.zero_()

    def forward(self, latents: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Encode scaled latents ``(P, C, h, w)`` and marks ``(P, 3, H, W)``."""
        cells = F.adaptive_avg_pool2d(marks, (latents.shape[-2], latents.shape[-1]))
        features: torch.Tensor = self.last(F.silu(self.first(torch.cat([latents, cells.to(latents.dtype)], dim=1))))
        return features
