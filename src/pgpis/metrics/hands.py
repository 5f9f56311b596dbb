"""How well hands are drawn: similarity of crops around the true middle knuckles."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.metrics.image import SSIM

CROP = 60
"""Side of a crop in pixels, on pictures of 260 x 210."""
KNUCKLES = (100, 121)
"""Middle finger's knuckle of the left and the right hand in COCO-WholeBody's 133 points."""


def hand_crops(images: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Cut squares of 60 x 60 pixels around points; what lies outside the picture is black.

    Args:
        images: uint8 ``(B, 3, H, W)``.
        centers: x and y in pixels, ``(B, 2)``.

    Returns:
        ``(B, 3, 60, 60)``.

    Raises:
        PgpisError: There is not one centre for each picture.
    """
    if centers.shape != (len(images), 2):
        raise PgpisError(f"hands: got {tuple(centers.shape)} centres for {len(images)} pictures")
    half = CROP // 2
    padded = F.pad(images, (CROP,) * 4)
    height, width = images.shape[-2:]
    crops = []
    for image, center in zip(padded, centers, strict=True):
        x, y = (int(value) for value in center.round())
        left, top = min(max(x - half, -CROP), width) + CROP, min(max(y - half, -CROP), height) + CROP
        crops.append(image[:, top : top + CROP, left : left + CROP])
    return torch.stack(crops)


def hand_similarity(generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor) -> NDArray[np.float64]:
    """Return the mean Gaussian SSIM of the crops of each pair's hands; NaN where neither is seen.

    A crop that reaches beyond the picture is cut there: padding would be alike in both.

    Args:
        generated: uint8 ``(B, 3, H, W)``.
        target: Same.
        centers: x and y of both middle knuckles in pixels, ``(B, 2, 2)``; NaN, or a place outside the picture, for a
            hand that is not seen.

    Source: SignGAN (Saunders et al. 2022), as FPDM reports it. Which SSIM they take is not published; this is the
        Gaussian one of the field's scripts.
    """
    metric = SSIM("gaussian")
    values = torch.full((len(centers), 2), torch.nan, dtype=torch.float64)
    seen = ((centers >= 0) & (centers < centers.new_tensor([generated.shape[-1], generated.shape[-2]]))).all(dim=2)
    for pair, hand in seen.nonzero().tolist():
        middle = centers[pair, hand].round().int().tolist()
        x, y = (slice(max(place - CROP // 2, 0), place + CROP // 2) for place in middle)
        values[pair, hand] = metric.pair_values(*(images[None, pair, :, y, x] for images in (generated, target)))[0]
    return values.nanmean(dim=1).numpy()
