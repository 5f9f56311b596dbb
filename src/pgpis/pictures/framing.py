"""A picture as another camera would have framed it: nearer, farther, or cut."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps


def reframed(image: Image.Image, zoom: float, cut: float) -> Image.Image:
    """Frame a picture anew, in its own size.

    Args:
        image: RGB.
        zoom: How many times larger things are, about the middle of what is not cut; below 1 they are smaller, and the
            margin has the colour of the upper edge.
        cut: Share of the height that is cut from below, and of the width, half from each side; in [0, 1).
    """
    width, height = image.size
    share = (1 - cut) / zoom
    left, top = width * (1 - share) / 2, height * (1 - cut - share) / 2
    margin = max(0, math.ceil(-min(left, top)), math.ceil(top + height * share - height))
    if margin:
        colour = np.median(np.asarray(image)[0], axis=0).astype(np.uint8).tolist()
        image = ImageOps.expand(image, margin, tuple(colour))
    box = (margin + left, margin + top, margin + left + width * share, margin + top + height * share)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
