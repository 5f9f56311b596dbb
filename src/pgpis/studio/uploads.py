"""What page and service take from strangers: kinds and sizes of pictures, looked at before anything decodes them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from pgpis.errors import PgpisError
from pgpis.pictures.decoding import errors_named

FORMATS = ("PNG", "JPEG", "WEBP")
"""That are taken, by Pillow's name."""
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
"""What such a file is called here, whatever its sender calls it.

An MPO is a JPEG with further pictures behind it, as telephones write them; the first one counts.
"""


DRAIN_SECONDS = 10.0
"""For which what is left of a refused request is received."""


class OtherKindError(PgpisError):
    """A file is not a picture that is taken."""


class TooManyPixelsError(PgpisError):
    """A picture is larger than is taken."""


def picture_suffix(file: BinaryIO, name: str, most_pixels: int) -> str:
    """Return the suffix of a picture by its content; decodes nothing.

    Args:
        file: The picture.
        name: What messages call it.
        most_pixels: That it may have.

    Raises:
        PgpisError: It is of another kind, damaged or too large, see the two classes above.
    """
    try:
        with errors_named(name), Image.open(file, formats=FORMATS) as image:
            (width, height), suffix = image.size, SUFFIXES[str(image.format)]
    except PgpisError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            message = f"{name} is not a PNG, JPEG or WebP picture, or its first bytes are damaged"
            raise OtherKindError(message) from error
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise TooManyPixelsError(error.message, hint=error.hint) from error
        raise
    if width * height > most_pixels:
        message = f"{name} has {width} x {height} pixels, expected at most {most_pixels:,}"
        raise TooManyPixelsError(message, hint="scale it down")
    return suffix


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens at a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def drain(receive: Callable[[], Awaitable[Any]], most: int) -> None:
    """Take what is left of a request that is refused: many clients read no answer before they have sent all.

    Args:
        receive: What the rest comes from, as ASGI hands it over.
        most: Bytes of it that are taken; who sends more finds the connection closed.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
