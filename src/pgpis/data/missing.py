"""What happens where a file is missing that a model reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

WhenMissing = Literal["error", "drop", "skip"]


@dataclass(frozen=True)
class OnMissing:
    """What happens with pairs that lack a file which the model reads.

    ``error``: the job does not start (lists of pairs), or the pair fails (your own folders). ``drop``: the model gets
    zeros instead (a black picture, a zero embedding). ``skip``: the pair is left out. The last two are counted in the
    log.
    """

    face: WhenMissing = "error"
    """Face embedding of the source; officially ``drop``."""
    texture: WhenMissing = "error"
    """Texture map of the source."""
    iuv: WhenMissing = "error"
    """DensePose's map of the target pose."""


WHAT = {
    "face": "face embedding (.npy)",
    "texture": "texture map (.png)",
    "iuv": "DensePose map (.png)",
}
HINTS = {
    "face": "pgpis prepare FOLDER --conditions face, or set on_missing.face to 'drop' (no face) or 'skip'",
    "texture": "pgpis prepare FOLDER --conditions densepose,texture",
    "iuv": "pgpis prepare FOLDER --conditions densepose; see docs/data/own-photos.md",
}


class Listing:
    """Answers whether files exist by listing each folder once."""

    def __init__(self) -> None:
        self._names = lru_cache(maxsize=None)(self._list)

    @staticmethod
    def _list(folder: Path) -> frozenset[str]:
        return frozenset(entry.name for entry in folder.iterdir()) if folder.is_dir() else frozenset()

    def has(self, path: Path | None) -> bool:
        """Whether a file exists; None does not."""
        return path is not None and path.name in self._names(path.parent)
