"""Colours of pictures that name their own colour space, such as a phone's Display P3 or a scanner's Adobe RGB."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from pgpis.pictures.decoding import warn_once

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for each colour space of a profile."""
MOST_BYTES = 2**22
SAME = 2
"""Of 255: a profile that moves no colour further is sRGB; vendors' versions of it differ in rounding."""


def to_srgb(image: Image.Image, name: object) -> Callable[[Image.Image], Image.Image] | None:
    """Return what converts parts of a picture to sRGB as its embedded profile says.

    Transparency is dropped. A profile that cannot be used is told once and left out of account.

    Args:
        image: Any picture; its ``icc_profile`` counts.
        name: What messages call it.

    Returns:
        None where nothing is to be converted: there is no profile, or it is that of sRGB.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        mode, transform = _transform(bytes(profile), "CMYK" if image.mode == "CMYK" else Image.getmodebase(image.mode))
    except Exception as error:  # noqa: BLE001  the profile is a stranger's, and its parsers raise anything
        warn_once(f"{name}: its colour profile cannot be used, its colours are read as sRGB ({error})")
        return None
    if transform is None:
        return None

    def convert(part: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(part.convert(mode), transform)
        assert converted is not None  # it is only where it works in place
        return converted

    return convert


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, base: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return the mode that a profile describes and its way to sRGB, None if it is sRGB.

    ``base`` is the mode of the picture: RGB, L or CMYK. A grey picture may have a profile for RGB.
    """
    if len(profile) > MOST_BYTES:
        raise ValueError(f"it has {len(profile)} bytes, more than {MOST_BYTES}")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES[source.profile.xcolor_space.strip()]
    if mode not in (base, "RGB") or (base == "CMYK" and mode == "RGB"):
        raise ValueError(f"it describes {mode} pixels, the picture holds {base}")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
    if mode == "CMYK":
        return mode, transform
    levels = np.linspace(0, 255, 9 if mode == "RGB" else 256).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[levels] * 3), axis=-1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
    probe = Image.fromarray(grid)
    converted = ImageCms.applyTransform(probe, transform)
    moved = np.abs(np.asarray(converted).astype(int) - np.asarray(probe.convert("RGB")))
    return mode, transform if moved.max() > SAME else None
