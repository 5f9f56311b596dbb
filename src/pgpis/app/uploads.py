"""Files that visitors bring, as Gradio describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgpis.errors import PgpisError

MOST_PIXELS = 50_000_000
"""Of one picture: what telephones take. A progressive JPEG of this size takes half a gigabyte while it is decoded."""
MOST_AT_ONCE = 500
"""Pictures that the page makes at once, and files of one upload."""
PICTURE_TYPES = [".jpg", ".jpeg", ".png", ".webp"]
POSE_TYPES = [".json", ".txt", *PICTURE_TYPES]
VIDEO_TYPES = [".mp4", ".mov", ".mkv", ".webm", ".avi"]


Upload = Mapping[str, Any] | None
"""A file as Gradio describes it: endpoints ask for it as it comes, as Gradio would decode pictures by itself."""

Uploads = Sequence[Mapping[str, Any]] | None
"""What is in a gallery: of each picture its file as ``image``."""


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
