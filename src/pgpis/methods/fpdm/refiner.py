"""The last step of FPDM, ours: what the sources show is looked up for the picture that latents decode to."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pgpis.batch import ImageSpec, ImageSpecs, PairBatch
from pgpis.errors import PgpisError, check_range
from pgpis.models.pixels import CELL, GROUPS, PixelUNet, check_widths, levels
from pgpis.models.sources import encode_sources, present_sources, side_by_side

__all__ = ["ModelMixin", "SourceRefiner"]  # the base class, for diffusers' loader

LOOKING = 2
"""Level of the trunk that looks at the sources."""
PATCH = CELL * 2**LOOKING
"""Pixels a side of what is looked at."""


class SourceRefiner(PixelUNet, ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
    """A UNet on pixels that sees draft, pose and source in place, and attends to patches of all sources.

    Tokens of the source encoder hold a person's colours and backdrop roughly, and latents of an eighth of the picture's
    side no prints. By pixel, the result is the draft, a share of the source in the same place (the backdrop), a share
    of the patch that was found for this place (clothes, hair, skin), and what is to be added. It starts as the identity
    on the draft.

    Args:
        channels: Widths of its levels, at least three multiples of 8; the first has cells of 2 x 2 pixels, each further
            one of twice the side.
        source_channels: Widths of the three levels that read a source, likewise.
        heads: Heads of the attention; the first one's weights are those of the patches.
        head_dim: Width of each.

    Raises:
        PgpisError: Other widths.
    """

    @register_to_config  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        channels: tuple[int, ...] = (24, 48, 96, 128),
        source_channels: tuple[int, ...] = (16, 32, 64),
        heads: int = 2,
        head_dim: int = 32,
    ) -> None:
        super().__init__()
        check_widths("channels", channels)
        check_widths("source_channels", source_channels)
        least = LOOKING + 1
        if len(channels) < least or len(source_channels) != least:
            numbers = f"{len(channels)} widths and source_channels {len(source_channels)}"
            raise PgpisError(f"channels are {numbers}, expected at least {least} and exactly {least}")
        check_range("heads", heads, 1, whole=True)
        check_range("head_dim", head_dim, 1, whole=True)
        self.make_trunk(3 * 3 * CELL**2 + 2, channels, 5)
        self.source_first = nn.Conv2d(3 * CELL**2 + 2, source_channels[0], 3, padding=1)
        self.source_down = levels(source_channels)
        width, own, other = heads * head_dim, channels[LOOKING], source_channels[LOOKING]
        self.query = nn.Sequential(nn.GroupNorm(GROUPS, own), nn.Conv2d(own, width, 1))
        self.key = nn.Sequential(nn.GroupNorm(GROUPS, other), nn.Conv2d(other, width, 1))
        self.value = nn.Conv2d(other, width, 1)
        self.found = nn.Conv2d(width + 3 * heads, own, 1)

    def forward(self, draft: torch.Tensor, pose: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Refine pictures.

        Args:
            draft: What the latents decode to, RGB in [-1, 1], ``(B, 3, H, W)``.
            pose: The drawn target pose, likewise.
            sources: The L sources of each, likewise, ``(B, L, 3, H, W)``; the first one is seen in place.

        Returns:
            RGB, ``(B, 3, H, W)``, which may leave [-1, 1].
        """
        return self.find(draft, pose, sources)[0]

    def find(self, draft: torch.Tensor, pose: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` returns, and the picture of the patches that were found, ``(B, 3, H, W)`` each."""
        size, dtype = draft.shape[-2:], self.first.weight.dtype
        padding = (0, -size[1] % PATCH, 0, -size[0] % PATCH)
        pictures = [
            F.pad(each, padding, mode="replicate") for each in (draft, pose, sources[:, 0], sources.flatten(0, 1))
        ]
        draft, pose, source, every = (each.to(dtype) for each in pictures)
        patches: list[torch.Tensor] = []

        def look(level: int, features: torch.Tensor) -> torch.Tensor:
            if level != LOOKING:
                return features
            found, patch = self._look(features, every)
            patches.append(patch)
            return features + found

        cells = [F.pixel_unshuffle(each, CELL) for each in (draft, source, pose)]
        change = self.run_trunk(_placed(torch.cat(cells, dim=1)), look)
        add, in_place, looked_up = change[:, :3], change[:, 3:4], change[:, 4:]
        refined = draft + in_place * (source - draft) + looked_up * (patches[0] - draft) + add
        refined, found = (each[..., : size[0], : size[1]].to(pictures[0].dtype) for each in (refined, patches[0]))
        return refined, found

    def _look(self, features: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend to patches of all sources.

        Args:
            features: The trunk's, ``(B, C, h, w)``.
            sources: ``(B * L, 3, H, W)``.

        Returns:
            What was found, as features and as a picture ``(B, 3, H, W)``.
        """
        rows, columns = features.shape[-2:]
        batch, heads = len(features), self.config.heads
        seen = self.source_first(_placed(F.pixel_unshuffle(sources, CELL)))
        for level, block in enumerate(self.source_down):
            seen = block(F.avg_pool2d(seen, 2) if level else seen)
        query, key = _heads(self.query(features), batch, heads), _heads(self.key(seen), batch, heads)
        weights = (query @ key.transpose(2, 3) / math.sqrt(self.config.head_dim)).softmax(dim=-1)
        colours = _heads(F.avg_pool2d(sources, PATCH), batch, 1).expand(-1, heads, -1, -1)
        values = torch.cat([_heads(self.value(seen), batch, heads), colours], dim=3)
        found = (weights @ values).transpose(2, 3).reshape(batch, -1, rows, columns)
        return self.found(found), _patchwork(weights[:, 0], sources)


def _patchwork(weights: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Return pictures ``(B, 3, H, W)`` of mean patches: they reach over half of their neighbours, and fade out there.

    Args:
        weights: Of the patches of all sources, for each place, ``(B, h * w, L * h * w)``.
        sources: ``(B * L, 3, H, W)``.
    """
    margin = PATCH // 2
    place: dict[str, Any] = {"kernel_size": 2 * PATCH, "stride": PATCH}
    cut = F.unfold(F.pad(sources, (margin,) * 4, mode="replicate"), **place)  # (B * L, 3 * 16 * 16, h * w)
    every = cut.transpose(1, 2).reshape(len(weights), -1, cut.shape[1])
    patches = (weights @ every).transpose(1, 2)
    ramp = 1 - (torch.arange(2 * PATCH, device=sources.device) + 0.5 - PATCH).abs() / PATCH
    window = torch.outer(ramp, ramp).flatten().repeat(3)[None, :, None].to(sources.dtype).expand_as(patches)
    size = (sources.shape[-2] + 2 * margin, sources.shape[-1] + 2 * margin)
    sums, shares = (
        F.fold(each, size, **place)[..., margin:-margin, margin:-margin] for each in (patches * window, window)
    )
    return sums / shares


def _heads(values: torch.Tensor, batch: int, heads: int) -> torch.Tensor:
    """Return ``(B, heads, L * h * w, D)`` of ``(B * L, heads * D, h, w)``."""
    apart = values.reshape(batch, -1, heads, values.shape[1] // heads, *values.shape[2:])
    return apart.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)


def refiner_specs(height: int, width: int) -> ImageSpecs:
    """Return what is read of a pair beside the pose, by the size of the result."""
    return {"source_picture": ImageSpec("source", height, width)}


def refiner_inputs(images: torch.Tensor, batch: PairBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the refiner takes; ``images`` are what latents decode to: rows of all B pairs, then of all again."""
    each = encode_sources(batch, "source_picture", lambda pictures, _: pictures)
    sources = side_by_side(each, present_sources(batch, len(each)))
    number = len(images) // len(sources)
    return images.clamp(-1, 1), batch["pose_image"].repeat(number, 1, 1, 1), sources.repeat(number, 1, 1, 1, 1)


def _placed(features: torch.Tensor) -> torch.Tensor:
    """Add each cell's row and column, in [-1, 1]."""
    rows, columns = features.shape[-2:]
    y = torch.linspace(-1, 1, rows, device=features.device, dtype=features.dtype)
    x = torch.linspace(-1, 1, columns, device=features.device, dtype=features.dtype)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"))
    return torch.cat([features, grid.expand(len(features), -1, -1, -1)], dim=1)
