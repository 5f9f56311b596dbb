"""Which files are videos, by their names."""

from __future__ import annotations

from pathlib import Path

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}
"""Which of ffmpeg's readers a suffix gets; none of them opens other files or addresses."""


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video that can be read."""
    return path.suffix.lower() in CONTAINERS
