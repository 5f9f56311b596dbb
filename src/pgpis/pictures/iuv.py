"""DensePose maps, and the one place that knows the order of their channels.

A file, and the picture that is read from it, holds V, U, part: MCLD's PNG, read as RGB. An array that code works on
holds part, U, V, as DensePose names them. A tensor holds the file's order, in [-1, 1]. U and V lie in 0..255, parts in
0..24, 0 for background.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.decoding import decode, read_bytes

PARTS = 24
V_CHANNEL, U_CHANNEL, PART_CHANNEL = 0, 1, 2
"""Channels of a tensor ``(B, 3, H, W)``."""
MOST_STRAY = 0.05
"""Of the background: coordinates where no part is."""
EXPECTED = "expected a DensePose map as PNG: read as RGB, V and U from 0 to 255 and the part from 0 to 24"
IUV_FILES = "pgpis prepare FOLDER --conditions densepose makes maps of photographs; --driving takes the photographs"

Pixels = NDArray[np.uint8]


def read_iuv(path: str | os.PathLike[str]) -> Image.Image:
    """Read a map as the picture that it is; see :func:`part_u_v` for its content.

    Raises:
        PgpisError: The file is missing, too large, not a lossless RGB picture, or not the map of a person.
    """
    if not Path(path).exists():
        raise PgpisError(f"DensePose map not found: {path}")
    try:
        picture = decode(read_bytes(path), path)
    except PgpisError as error:
        raise PgpisError(f"{error.message}; {EXPECTED}", hint=error.hint) from error
    if picture.format in ("JPEG", "MPO") or picture.mode != "RGB":
        raise PgpisError(f"{path} is {picture.format} with mode {picture.mode}; {EXPECTED}", hint=IUV_FILES)
    image = picture.convert("RGB")
    check_iuv(image, str(path))
    return image


def part_u_v(picture: Image.Image) -> Pixels:
    """Return a map's content, uint8 ``(H, W, 3)`` of part, U, V."""
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


def read_part_u_v(path: str | os.PathLike[str]) -> Pixels:
    """Read a map's content; see :func:`read_iuv` and :func:`part_u_v`."""
    return part_u_v(read_iuv(path))


def iuv_pixels(iuv: Pixels) -> Pixels:
    """Return the RGB pixels that are written for a map ``(H, W, 3)`` of part, U, V."""
    return np.ascontiguousarray(iuv[..., ::-1])


def channel_order(pixels: Pixels) -> str | None:
    """Return "V, U, part" or "part, U, V" where an RGB picture looks like a DensePose map, else None.

    Nearly every pixel of the person has a part from 1 to 24 in one channel, and some have one of the later ones; drawn
    limbs have 0 there.
    """
    person = pixels[pixels.max(axis=2) > PARTS]
    for order, channel in (("V, U, part", 2), ("part, U, V", 0)):
        parts = person[:, channel]
        if len(parts) and ((parts > 0) & (parts <= PARTS)).mean() > 0.95 and np.percentile(parts, 90) >= 5:
            return order
    return None


def check_iuv(picture: Image.Image, name: str) -> None:
    """Refuse an RGB picture that is not the DensePose map of a person; messages begin with ``name``.

    Raises:
        PgpisError: Its parts are not labels, are in another channel, are nowhere, or its background has coordinates.
    """
    pixels = np.asarray(picture)
    parts = part_u_v(picture)[..., 0]
    highest = int(parts.max())
    if highest > PARTS:
        if channel_order(pixels) == "part, U, V":
            hint = "reverse them, e.g. image[..., ::-1]; OpenCV writes an array of part, U, V in the right order"
            raise PgpisError(f"{name}: its channels are part, U, V; {EXPECTED}", hint=hint)
        raise PgpisError(f"{name}: its third channel reaches {highest}; {EXPECTED}", hint=IUV_FILES)
    background = parts == 0
    if background.all():
        raise PgpisError(f"{name}: no part of a body is in it (its third channel is 0 everywhere); {EXPECTED}")
    if background.any() and (pixels[background].max(axis=1) > PARTS).mean() > MOST_STRAY:
        reason = f"{name}: U and V are not 0 where its third channel says background"
        raise PgpisError(f"{reason}; {EXPECTED}", hint=IUV_FILES)
