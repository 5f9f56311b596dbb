"""The last step of MCLD, ours: what the source shows exactly is put back into the picture that latents decode to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pgpis.methods.mcld.rendering import MARKS
from pgpis.models.pixels import CELL, PixelUNet
from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL

__all__ = ["ModelMixin", "Refiner"]  # the base class, for diffusers' loader

PART_WIDTH = 8
"""Numbers that stand for a part of the body."""


class Refiner(PixelUNet, ModelMixin, ConfigMixin):  # type: ignore[misc, unused-ignore]
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
        self.part = nn.Embedding(PARTS + 1, PART_WIDTH)
        self.make_trunk(2 * 3 * CELL**2 + MARKS + 2 + PART_WIDTH, channels, 4)

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
        # what to add, and the rendered picture's share
        change = self.run_trunk(torch.cat([value.to(dtype) for value in inputs], dim=1)).to(draft.dtype)
        return draft + change[:, 3:] * (rendered - draft) + change[:, :3]
