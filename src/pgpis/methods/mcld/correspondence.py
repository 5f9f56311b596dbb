"""Which cell of a texture each cell of a picture shows, as a bias of the attention to the texture."""

from __future__ import annotations

import torch

from pgpis.denoiser.flow import size_of_level
from pgpis.pictures.iuv import PART_CHANNEL, PARTS, U_CHANNEL, V_CHANNEL
from pgpis.pictures.uv_texture import CHART_SIZE, PLACE_BIN, chart_places


class Correspondence:
    """Which cell of the texture each cell of the target shows, for P pictures.

    Args:
        iuv: The target's map, channels V, U, part, in [-1, 1], ``(P, 3, H, W)``.
        size: (height, width) of the latents; deeper levels of the denoiser halve it, rounding up.
        strength: How much stronger than another key the texture's cells that a cell shows are together, per key.

    Source: ours. Stable Diffusion's self-attention finds what looks alike; that of a denoiser which starts from nothing
        stays flat for long, and the DensePose map says where to look.
    """

    def __init__(self, iuv: torch.Tensor, size: tuple[int, int], strength: float) -> None:
        self.size = size
        self.strength = strength
        values = ((iuv / 2 + 0.5) * 255).round().long().clamp(0, 255)
        part = values[:, PART_CHANNEL].clamp(max=PARTS)
        row = (255 - values[:, V_CHANNEL]) * (CHART_SIZE - 1) // 255 // PLACE_BIN
        column = values[:, U_CHANNEL] * (CHART_SIZE - 1) // 255 // PLACE_BIN
        table = torch.from_numpy(chart_places()).to(iuv.device)
        self.shown = part > 0
        self.places = table[(part - 1).clamp(min=0), row, column]
        self._known: dict[int, torch.Tensor] = {}

    def shares(self, height: int, width: int) -> torch.Tensor:
        """Return the share of each cell's pixels that show each cell of the texture, where both have that many cells.

        It is ``(P, height * width, height * width)``; a row adds up to 1 less the background's share.
        """
        pictures, rows, columns = self.shown.shape
        device = self.places.device
        grid = torch.tensor([height, width], device=device)
        seen_y, seen_x = (self.places * grid).long().unbind(dim=-1)
        own_y = torch.arange(rows, device=device) * height // rows
        own_x = torch.arange(columns, device=device) * width // columns
        own = own_y[:, None] * width + own_x
        cells = height * width
        index = own * cells + seen_y * width + seen_x
        shares = torch.zeros(pictures, cells * cells, device=device)
        shares.scatter_add_(1, index.flatten(1), self.shown.flatten(1).float())
        pixels = torch.bincount(own.flatten(), minlength=cells).float()
        return shares.view(pictures, cells, cells) / pixels[:, None]

    def bias(self, length: int) -> torch.Tensor:
        """Return what is added to the logits of the attention to the texture, ``(P, 1, length, length)``.

        ``log(1 + strength * length * share)``: nothing where a cell shows nothing of the texture's cell.

        Raises:
            ValueError: No level of the denoiser has so many cells.
        """
        if length not in self._known:
            shares = self.shares(*size_of_level(self.size, length))
            self._known[length] = torch.log1p(self.strength * length * shares)[:, None]
        return self._known[length]
