"""From the maps of one person to DensePose's picture: part, U and V of each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Overflow = Literal["clamp", "wrap"]
"""What becomes of a coordinate outside [0, 1]: cut, or 256 counted down or up as the official code does."""


def surface_of(maps: Mapping[str, torch.Tensor], box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay the maps of one person into its box.

    Args:
        maps: The predictor's output for one person, ``(1, C, h, w)`` each.
        box: x0, y0, x1, y1 in pixels of the picture.

    Returns:
        Labels uint8 ``(h, w)``, 0 for background and 1 to 24 for parts; U and V float32 ``(2, h, w)``, 0 where there
        is not a part. The box is cut to whole pixels, at least one.
    """
    _, _, width, height = whole_box(box)
    coarse, fine, u, v = (
        F.interpolate(maps[name].float(), (height, width), mode="bilinear", align_corners=False)[0]
        for name in ("ann_index", "index_uv", "u", "v")
    )
    labels = fine.argmax(dim=0) * (coarse.argmax(dim=0) > 0).long()
    chosen = labels.unsqueeze(0)
    uv = torch.cat([u.gather(0, chosen), v.gather(0, chosen)])
    return labels.to(torch.uint8), uv * (chosen > 0)


def whole_box(box: torch.Tensor) -> tuple[int, int, int, int]:
    """Return x, y, width and height in whole pixels: each cut, not rounded; width and height at least 1."""
    x, y, width, height = torch.stack([box[0], box[1], box[2] - box[0], box[3] - box[1]]).long().tolist()
    return x, y, max(width, 1), max(height, 1)


def iuv_image(
    labels: torch.Tensor, uv: torch.Tensor, box: torch.Tensor, size: tuple[int, int], overflow: Overflow = "clamp"
) -> NDArray[np.uint8]:
    """Make the map of a whole picture.

    Args:
        labels: From :func:`surface_of`.
        uv: From :func:`surface_of`.
        box: The same box.
        size: (height, width) of the picture.
        overflow: ``wrap`` equals MCLD's preparation bit for bit.

    Returns:
        uint8 ``(H, W, 3)``: part, U * 255 and V * 255, cut to integers.
    """
    x, y, width, height = whole_box(box)
    scaled = (uv.float() * 255).cpu()
    if overflow == "clamp":
        scaled = scaled.clamp(0, 255)
    values = scaled.to(torch.int64).remainder(256).to(torch.uint8)
    person = torch.cat([labels.cpu().unsqueeze(0), values]).permute(1, 2, 0).numpy()
    picture = np.zeros((*size, 3), dtype=np.uint8)
    inside = picture[y : y + height, x : x + width]
    inside[:] = person[: inside.shape[0], : inside.shape[1]]
    return picture
