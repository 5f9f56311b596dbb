"""How well hands are drawn: similarity of crops around the true middle knuckles."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.metrics.image import SSIM

CROP = 60
"""Side of a crop in pixels, on pictures of 260 x 210."""
KNUCKLES = (100, 121)
"""Middle finger's knuckle of the left and the right hand in COCO-WholeBody's 133 points."""


def hand_crop(image: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """Cut a square of 60 x 60 pixels around a point out of a picture; it ends at the picture's edge.

    Args:
        image: uint8 ``(3, H, W)``.
        center: x and y in pixels, ``(2,)``, in the picture.

    Returns:
        ``(3, h, w)``, each from 30 to 60.
    """
    x, y = (slice(max(place - CROP // 2, 0), place + CROP // 2) for place in center.round().int().tolist())
    return image[:, y, x]


def hand_similarity(generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor) -> NDArray[np.float64]:
    """Return the mean Gaussian SSIM of the crops of each pair's hands; NaN where neither is seen.

    A crop that reaches beyond the picture is cut there: padding would be alike in both.

    Args:
        generated: uint8 ``(B, 3, H, W)``.
        target: Same.
        centers: x and y of both middle knuckles in pixels, ``(B, 2, 2)``; NaN, or a place outside the picture, for a
            hand that is not seen.

    Raises:
        PgpisError: There are not two centres for each picture.

    Source: SignGAN (Saunders et al. 2022), as FPDM reports it. Which SSIM they take is not published; this is the
        Gaussian one of the field's scripts.
    """
    if centers.shape != (len(generated), 2, 2):
        raise PgpisError(f"hands: got {tuple(centers.shape)} centres for {len(generated)} pictures")
    metric = SSIM("gaussian")
    values = torch.full((len(centers), 2), torch.nan, dtype=torch.float64)
    seen = ((centers >= 0) & (centers < centers.new_tensor([generated.shape[-1], generated.shape[-2]]))).all(dim=2)
    for pair, hand in seen.nonzero().tolist():
        crops = (hand_crop(images[pair], centers[pair, hand])[None] for images in (generated, target))
        values[pair, hand] = metric.pair_values(*crops)[0]
    return values.nanmean(dim=1).numpy()
