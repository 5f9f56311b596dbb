"""MCLD's layout."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pgpis.data.layouts.base import KeyPair, Kind, Layout, flat_name


class MCLDLayout(Layout):
    """Flat folders ``{split}/`` with ``_densepose``, ``_texture``, ``_face`` beside them, and CSV lists.

    ``{split}_pose`` is ours, for FPDM.
    """

    name = "mcld"
    description = "MCLD ({split}/ {split}_densepose/ {split}_texture/ {split}_face/, {split}.csv)"
    list_names = ("{split}.csv",)

    extra: ClassVar[frozenset[Kind]] = frozenset(["keypoints"])
    SUFFIXES: ClassVar[dict[Kind, tuple[str, str | None]]] = {
        "picture": ("", None),
        "iuv": ("_densepose", ".png"),
        "texture": ("_texture", ".png"),
        "face": ("_face", ".npy"),
        "keypoints": ("_pose", ".txt"),
    }

    def read_pairs(self) -> list[KeyPair]:
        """Read the table ``from,to`` of flat names."""
        return self._read_table()

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file."""
        return f"{self.split}{self.SUFFIXES[kind][0]}" if kind in self.SUFFIXES else None

    def path(self, key: str, kind: Kind) -> Path:
        """Return ``ROOT/{split}{suffix}/FLAT_NAME``."""
        suffix = self.SUFFIXES[kind][1]
        path = self.root / str(self.folder(kind)) / flat_name(key)
        return path if suffix is None else path.with_suffix(suffix)
