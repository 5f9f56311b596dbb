"""Reading what is made from photographs beforehand: DensePose's maps and face embeddings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.arrays import read_array
from pgpis.pictures.picture_files import decode, read_bytes
from pgpis.pictures.plausibility import check_iuv


def read_iuv(path: str | os.PathLike[str]) -> Image.Image:
    """Read DensePose's map: RGB whose channels are V, U (0..255) and the part 0..24.

    Raises:
        PgpisError: The file is missing, too large, not a lossless RGB picture, or not the map of a person.
    """
    expected = "expected DensePose's map as PNG: read as RGB, V and U from 0 to 255 and the part from 0 to 24"
    if not Path(path).exists():
        raise PgpisError(f"DensePose's map not found: {path}")
    try:
        picture = decode(read_bytes(path), path)
    except PgpisError as error:
        raise PgpisError(f"{error.message}; {expected}", hint=error.hint) from error
    if picture.format in ("JPEG", "MPO") or picture.mode != "RGB":
        raise PgpisError(f"{path} is {picture.format} with mode {picture.mode}; {expected}")
    image = picture.convert("RGB")
    check_iuv(image, str(path))
    return image


def read_face(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a raw face embedding, ``.npy`` of shape ``(N,)`` or ``(1, N)``, as float32 ``(N,)``.

    Raises:
        PgpisError: The file is missing or holds something else.
    """
    expected = "a raw face embedding as .npy, officially 512 floats"
    values = read_array(path, expected)
    if values.size != max(values.shape, default=0):
        raise PgpisError(f"{path} holds {values.dtype} {values.shape}; expected {expected}")
    if not np.isfinite(values).all():
        raise PgpisError(f"{path} holds numbers that are not finite; expected {expected}")
    return values.reshape(-1).astype(np.float32)
