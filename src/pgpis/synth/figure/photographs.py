"""Photographs in the public domain, out of scikit-image's wheel: what clothes are printed with and walls are made of.

Nothing of them ships with pgpis; they are read where scikit-image is installed, and never downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from pgpis.errors import PgpisError
from pgpis.synth.figure.mesh import Float, UInt8

HINT = "pip install 'scikit-image>=0.24', whose wheel holds them"


@dataclass(frozen=True)
class Source:
    """A photograph: its file in ``skimage/data``, and who gave it to the public, by scikit-image's own notes."""

    file: str
    licence: str
    colored: bool
    texture: bool
    """Whether it looks the same everywhere, as a wall or a floor does."""


PHOTOGRAPHS = {
    "brick": Source("brick.png", "CC0 (cc0textures.com, Bricks25)", colored=False, texture=True),
    "chelsea": Source("chelsea.png", "CC0 (Stefan van der Walt)", colored=True, texture=False),
    "clock": Source("clock_motion.png", "public domain (Stefan van der Walt)", colored=False, texture=False),
    "coffee": Source("coffee.png", "CC0 (Rachel Michetti)", colored=True, texture=False),
    "grass": Source("grass.png", "CC0 (linolafett, DeviantArt)", colored=False, texture=True),
    "gravel": Source("gravel.png", "CC0 (cc0textures.com, Gravel04)", colored=False, texture=True),
    "hubble": Source("hubble_deep_field.jpg", "public domain (NASA)", colored=True, texture=False),
    "retina": Source("retina.jpg", "CC0 (Häggström, Wikimedia Commons)", colored=True, texture=False),
    "rocket": Source("rocket.jpg", "public domain (SpaceX)", colored=True, texture=False),
}


def require_photographs() -> None:
    """Find all of them.

    Raises:
        PgpisError: scikit-image is not installed, or has them no longer.
    """
    for name in PHOTOGRAPHS:
        _path(name)


def _path(name: str) -> Path:
    spec = find_spec("skimage")  # not imported: that takes a second, and only its files are wanted
    if spec is None or not spec.submodule_search_locations:
        raise PgpisError("the look 'photo' needs the photographs of scikit-image, which is not installed", hint=HINT)
    path = Path(next(iter(spec.submodule_search_locations)), "data", PHOTOGRAPHS[name].file)
    if not path.is_file():
        raise PgpisError(f"the look 'photo' needs a photograph of scikit-image that is not there: {path}", hint=HINT)
    return path


@lru_cache(maxsize=4 * len(PHOTOGRAPHS))
def photograph(name: str, halvings: int = 0) -> UInt8:
    """Return a photograph ``(H, W, 3)`` RGB, its sides halved a number of times.

    Raises:
        KeyError: It is none of :data:`PHOTOGRAPHS`.
        PgpisError: It is not there, or cannot be read.
    """
    if halvings:
        larger = photograph(name, halvings - 1)
        return larger if min(larger.shape[:2]) < 4 else cv2.pyrDown(larger).astype(np.uint8)
    pixels = cv2.imread(str(_path(name)), cv2.IMREAD_COLOR)
    if pixels is None:
        raise PgpisError(f"cannot read {_path(name)}", hint=HINT)
    return np.ascontiguousarray(pixels[..., ::-1])


def halvings_for(name: str, metres: float, texel: float) -> int:
    """Return how often a photograph ``metres`` wide is to be halved so that its pixels are about ``texel`` metres."""
    return max(0, round(float(np.log2(max(texel * photograph(name).shape[1] / metres, 1.0)))))


def look_up(name: str, metres: float, texel: float, across: Float, down: Float) -> Float:
    """Return the colours ``(N, 3)`` at places on a photograph that repeats in mirror images.

    Args:
        name: The photograph.
        metres: Its width.
        texel: Size of the details that are kept, metres.
        across: ``(N,)`` metres from its left edge.
        down: ``(N,)`` metres from its upper edge.
    """
    picture = photograph(name, halvings_for(name, metres, texel))
    rows, columns = picture.shape[:2]
    density = np.float32(columns / metres)
    row, column = (
        np.minimum(count - np.abs((place * density) % (2 * count) - count), count - 1).astype(np.int64)
        for place, count in ((down, rows), (across, columns))
    )
    return picture[row, column].astype(np.float32)
