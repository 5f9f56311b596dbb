"""Picture files from anywhere: what kind and size is decoded, and one kind of error whatever the bytes hold."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pgpis.errors import PgpisError
from pgpis.refusals import file_status

log = logging.getLogger(__name__)

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
"""What is read and written, by suffix. A file is read by its content; nothing else of what Pillow knows is tried."""
MOST_PIXELS = 120_000_000
"""The largest common sensors have 108 million. A progressive JPEG of this size takes 1.2 GB while it is decoded."""
MOST_PIXELS_OF = {"WEBP": MOST_PIXELS // 2, "CMYK": MOST_PIXELS // 2, "bmp_rle": 2**22}
"""By format, mode or codec: WebP's decoder and progressive CMYK take twice the memory; Pillow's decoder of compressed
BMPs is written in Python."""
MOST_SCANNED = 2**32
"""Pixels times scans of a JPEG: each scan passes over the whole picture, and takes but a few bytes."""
MOST_BYTES = 2**29
LONGEST = 32
"""How many times as long as wide a picture may be: fitting enlarges the short edge, and the long one with it."""
_LIMIT_HINT = "scale it down, or leave it out"
_SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file that is to be decoded.

    Raises:
        PgpisError: It is missing, not a regular file, too large, or cannot be read.
    """
    try:
        size = file_status(path).st_size
        if size > MOST_BYTES:
            raise PgpisError(f"{path} has {size} bytes, expected a picture of at most {MOST_BYTES}")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise PgpisError(f"picture not found: {path}") from None
    except (OSError, ValueError) as error:
        raise PgpisError(f"cannot read picture {path}: {error}") from error


def decode(content: bytes, name: object) -> Image.Image:
    """Decode a picture as it is: neither turned nor converted; of an animation the first.

    Args:
        content: Bytes of a JPEG, PNG, WebP or BMP file.
        name: What messages call it.

    Raises:
        PgpisError: It is damaged, has another format, or exceeds a limit.
    """
    with contextlib.suppress(Exception), errors_named(name):  # what is wrong with more than metadata is told below
        return _load(content, name)
    with errors_named(name):
        image = _load(_without_metadata(content), name)
    warn_once(f"{name}: its metadata is damaged, so it is read as it lies and as sRGB")
    return image


def verified_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of a picture whose checksums are right, where its format has any; decodes nothing.

    Raises:
        PgpisError: It is missing, damaged, has another format, or exceeds a limit.
    """
    with errors_named(path):
        image = _open(read_bytes(path), path)
        image.verify()
        return image.size


def png_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the texts before the pixels of a PNG by their keywords; decodes nothing. Other formats have none.

    Raises:
        PgpisError: The file is missing, damaged, not a picture, or exceeds a limit; Pillow's for a text is 1 MiB.
    """
    with errors_named(path):
        notes = _open(read_bytes(path), path).info
        return {key: text for key, text in notes.items() if isinstance(key, str) and isinstance(text, str)}


def check_size(size: tuple[int, int], name: object) -> None:
    """Refuse what would need absurd memory to decode, fit or draw.

    Args:
        size: (width, height).
        name: What messages call the picture.

    Raises:
        PgpisError: It has too many pixels or is too long; says the limit.
    """
    width, height = size
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width}x{height} pixels", MOST_PIXELS)
    if max(size) > LONGEST * min(size):
        limit = f"a picture may be at most {LONGEST} times as long as wide"
        raise PgpisError(f"{name} is {width}x{height} pixels; {limit}", hint=_LIMIT_HINT)


@contextlib.contextmanager
def errors_named(name: object) -> Iterator[None]:
    """Turn whatever a codec or a parser of metadata raises into the error that names the picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata that is not used and its own limits
            yield
    except PgpisError:
        raise
    except UnidentifiedImageError as error:
        reason = "it is not a JPEG, PNG, WebP or BMP file, or its first bytes are damaged"
        raise PgpisError(f"cannot read picture {name}: {reason}") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "too many pixels", MOST_PIXELS) from error
    except Exception as error:
        # struct.error, zlib.error, KeyError, AttributeError, MemoryError, ...: codecs raise anything on damaged files
        reason = f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise PgpisError(f"cannot read picture {name}: {reason}") from error


@functools.lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Log a warning, but not again in every epoch."""
    log.warning("%s", message)


def _load(content: bytes, name: object) -> Image.Image:
    image = _open(content, name)
    image.load()
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format in ("PNG", "WEBP"):  # a JPEG may have small copies of itself
        warn_once(f"{name}: the first of its {count} frames is taken")
    _correct_transparency(image, content)
    return image


def _correct_transparency(image: Image.Image, content: bytes) -> None:
    """Scale the transparent colour of a PNG as Pillow scales the pixels; make a BMP opaque that shows nothing.

    Of 16-bit RGB the upper 8 bits are left of both. Many programs leave the fourth byte of a BMP's pixels 0.
    """
    transparent = image.info.get("transparency")
    if content.startswith(_SIGNATURES["PNG"]):
        depth = content[24]
        if isinstance(transparent, int) and depth in (2, 4) and image.mode == "L":
            most = 2**depth - 1
            image.info["transparency"] = (transparent & most) * (255 // most)
        elif isinstance(transparent, tuple) and depth == 16:
            image.info["transparency"] = tuple(level >> 8 for level in transparent)
    elif image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)


def _open(content: bytes, name: object) -> Image.Image:
    """Read the header and refuse what is too large to be decoded."""
    image = Image.open(io.BytesIO(content), formats=tuple(dict.fromkeys(FORMATS.values())))
    check_size(image.size, name)
    pixels = image.width * image.height
    for kind in (str(image.format), image.mode, *(str(tile[0]) for tile in getattr(image, "tile", ()))):
        if pixels > MOST_PIXELS_OF.get(kind, MOST_PIXELS):
            raise _too_large(name, f"{image.width}x{image.height} pixels as {kind}", MOST_PIXELS_OF[kind])
    if content.startswith(_SIGNATURES["JPEG"]):
        scans = content.count(b"\xff\xda")
        if pixels * scans > MOST_SCANNED:
            raise _too_large(name, f"{image.width}x{image.height} pixels in {scans} scans", MOST_SCANNED // scans)
    return image


def _too_large(name: object, size: str, most: int) -> PgpisError:
    return PgpisError(f"{name} has {size}; expected at most {most / 10**6:.3g} million pixels", hint=_LIMIT_HINT)


def _without_metadata(content: bytes) -> bytes:
    """Leave out what describes a JPEG or PNG but is not needed to decode it, and may be damaged."""
    if content.startswith(_SIGNATURES["JPEG"]):
        parts, position = [content[:2]], 2
        while content[position : position + 1] == b"\xff" and content[position + 1 : position + 2] != b"\xda":
            end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
            # Exif and XMP; profiles and further pictures
            if content[position : position + 2] not in (b"\xff\xe1", b"\xff\xe2"):
                parts.append(content[position:end])
            position = end
        return b"".join([*parts, content[position:]])
    if content.startswith(_SIGNATURES["PNG"]):
        parts, position = [content[:8]], 8
        while position + 8 <= len(content):
            length, kind = struct.unpack_from(">I4s", content, position)
            if kind[:1].isupper() or kind == b"tRNS":
                parts.append(content[position : position + 12 + length])
            position += 12 + length
        return b"".join(parts)
    return content
