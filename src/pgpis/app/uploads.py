"""Files that visitors bring: of which kinds and sizes, checked before anything decodes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from pgpis.errors import PgpisError
from pgpis.pictures.decoding import errors_named

MOST_PIXELS = 50_000_000
"""Of one picture: what telephones take. A progressive JPEG of this size takes half a gigabyte while it is decoded."""
PICTURES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""Formats that are taken, and the suffix that such a file gets here, whatever its visitor calls it."""
PICTURE_TYPES = [".jpg", ".jpeg", ".png", ".webp"]
POSE_TYPES = [".json", ".txt", *PICTURE_TYPES]
VIDEO_TYPES = [".mp4", ".mov", ".mkv", ".webm", ".avi"]


def picture_suffix(path: Path, name: str) -> str:
    """Return the suffix of a picture by its content; decodes nothing.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        PgpisError: It is not a picture that is taken, or has too many pixels.
    """
    with errors_named(name), path.open("rb") as file:
        try:
            image = Image.open(file, formats=tuple(PICTURES))
        except UnidentifiedImageError as error:
            raise PgpisError(f"{name} is not a JPEG, PNG or WebP picture, or it is damaged") from error
        if image.width * image.height > MOST_PIXELS:
            most = MOST_PIXELS // 10**6
            raise PgpisError(f"{name} has {image.width}x{image.height} pixels, expected at most {most} million")
        return PICTURES[str(image.format)]


Upload = Mapping[str, Any] | None
"""A file as Gradio describes it: endpoints ask for it as it comes, as Gradio would decode pictures by itself."""


def file_of(upload: Any, name: str) -> Path:
    """Return the path of an uploaded file.

    Raises:
        PgpisError: There is none.
    """
    path = upload.get("path") if isinstance(upload, Mapping) else None
    if not isinstance(path, str) or not path:
        raise PgpisError(f"{name} is missing")
    return Path(path)


def names_addresses(value: Any) -> bool:
    """Whether a request names a file that was not uploaded: Gradio would fetch an address for whoever names it."""
    if isinstance(value, list):
        return any(map(names_addresses, value))
    if not isinstance(value, dict):
        return False
    is_address = str(value.get("path", "")).lower().startswith(("http:", "https:", "data:"))
    return is_address or any(map(names_addresses, value.values()))
