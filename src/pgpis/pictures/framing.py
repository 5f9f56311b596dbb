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
            margin around what is not cut has the colour of the upper edge.
        cut: Share of the height that is cut from below, and of the width, half from each side; in [0, 1).
    """
    width, height = image.size
    side = math.ceil(width * cut / 2)
    whole = (side, 0, max(side + 1, width - side), max(1, math.floor(height * (1 - cut))))
    image = image.crop(whole)  # resampling looks beyond the edges of a box
    share = (1 - cut) / zoom
    left, top = width * (1 - share) / 2 - side, height * (1 - cut - share) / 2
    if zoom < 1:
        margin = math.ceil(max(width, height) * (1 / zoom - 1)) + 1
        colour = np.median(np.asarray(image)[0], axis=0).astype(np.uint8).tolist()
        image = ImageOps.expand(image, margin, tuple(colour))
        left, top = left + margin, top + margin
    right, bottom = min(left + width * share, image.width), min(top + height * share, image.height)
    box = (max(0.0, left), max(0.0, top), right, bottom)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)
