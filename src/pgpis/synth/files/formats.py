"""Files of a data set: the same bytes every time.

Pictures are encoded with OpenCV and fixed settings. ``pgpis.pictures.images`` is not used here because it loads
torch, which every worker process would pay for with memory and seconds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pgpis.files import write_bytes
from pgpis.synth.figure.mesh import UInt8

SETTINGS = {
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 4],
    # colours keep the resolution of the picture: a face has few pixels
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
}
QUICK_PNG = [
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    # trying all filters on each row takes twice as long; older OpenCVs cannot be told not to
    *((cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP) if hasattr(cv2, "IMWRITE_PNG_FILTER") else ()),
]
"""A third of the time and up to a fifth more bytes, for pictures with flat areas."""


def json_line(value: Any) -> bytes:
    """Return a value as one line of JSON; floats keep all their digits."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def encode_image(pixels: UInt8, suffix: str, *, quickly: bool = False) -> bytes:
    """Return the bytes of a ``.png`` or ``.jpg`` of pixels, uint8 ``(H, W, 3)`` RGB or ``(H, W)`` grey.

    Args:
        pixels: The picture.
        suffix: ``.png`` or ``.jpg``.
        quickly: Compress a ``.png`` less; its pixels are the same.
    """
    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    settings = QUICK_PNG if quickly and suffix == ".png" else SETTINGS[suffix]
    return bytes(cv2.imencode(suffix, np.ascontiguousarray(ordered), settings)[1])


def write_image(path: Path, pixels: UInt8, *, quickly: bool = False) -> None:
    """Write a picture, see :func:`encode_image`; the suffix of ``path`` chooses the format."""
    write_bytes(path, encode_image(pixels, path.suffix, quickly=quickly))


class Files:
    """The files of one unit of work below a folder, by their names in the order of writing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []

    def add(self, name: str) -> Path:
        """Note a name and return where the file goes."""
        self.names.append(name)
        return self.root / name


def link(existing: Path, path: Path) -> None:
    """Give a file a second name; where the file system has no hard links, copy it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.link(existing, path)
    except OSError:
        write_bytes(path, existing.read_bytes())
