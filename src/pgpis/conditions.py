"""Reading what is made from photographs beforehand: DensePose's maps and face embeddings."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pgpis.arrays import read_array
from pgpis.errors import PgpisError
from pgpis.plausibility import check_iuv


def read_iuv(path: str | os.PathLike[str]) -> Image.Image:
    """Read DensePose's map: RGB whose channels are V, U (0..255) and the part 0..24.

    Raises:
        PgpisError: The file is missing, no lossless RGB picture, or not the map of a person.
    """
    expected = "expected DensePose's map as PNG: read as RGB, V and U from 0 to 255 and the part from 0 to 24"
    try:
        with Image.open(path) as file:
            kind, mode = file.format, file.mode
            image = file.convert("RGB")
    except FileNotFoundError:
        raise PgpisError(f"DensePose's map not found: {path}") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise PgpisError(f"cannot read {path}: {error}; {expected}") from error
    if kind == "JPEG" or mode != "RGB":
        raise PgpisError(f"{path} is {kind} with mode {mode}; {expected}")
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
