"""Grids of pictures for TensorBoard."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def picture_grid(columns: list[torch.Tensor]) -> torch.Tensor:
    """Lay pictures in rows: columns of ``(R, 3, H, W)`` become one ``(3, R * H, columns * W)``.

    A column of another size is resized to the last one's.
    """
    size = columns[-1].shape[-2:]
    resized = [column if column.shape[-2:] == size else F.interpolate(column, size, mode="area") for column in columns]
    return torch.cat([column.float().transpose(0, 1).flatten(1, 2) for column in resized], dim=2)
