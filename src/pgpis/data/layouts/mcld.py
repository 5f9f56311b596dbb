"""MCLD's layout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar

from pgpis.data.layouts.base import KeyPair, Kind, Layout, flat_name, is_plain_name, key_of
from pgpis.errors import PgpisError


class MCLDLayout(Layout):
    """Flat folders ``{split}/`` with ``_densepose``, ``_texture``, ``_face`` beside them, and CSV lists."""

    name = "mcld"
    description = "MCLD ({split}/ {split}_densepose/ {split}_texture/ {split}_face/, {split}.csv)"
    list_names = ("{split}.csv",)

    SUFFIXES: ClassVar[dict[Kind, tuple[str, str | None]]] = {
        "picture": ("", None),
        "iuv": ("_densepose", ".png"),
        "texture": ("_texture", ".png"),
        "face": ("_face", ".npy"),
    }

    def read_pairs(self) -> list[KeyPair]:
        """Read the table ``from,to`` of flat names."""
        try:
            with self.list_path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise self._list_error(error) from error
        return [(self._key(number, row, "from"), self._key(number, row, "to")) for number, row in enumerate(rows, 2)]

    def _key(self, line: int, row: dict[str, str | None], column: str) -> str:
        value = (row.get(column) or "").strip()
        if not value:
            raise PgpisError(f"{self.list_path} line {line}: no '{column}'; the first line must be 'from,to'")
        if not is_plain_name(value):
            raise PgpisError(f"{self.list_path} line {line}: '{value}' is not the name of a file in {self.split}/")
        return key_of(value)

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file."""
        return f"{self.split}{self.SUFFIXES[kind][0]}" if kind in self.SUFFIXES else None

    def path(self, key: str, kind: Kind) -> Path:
        """Return ``ROOT/{split}{suffix}/FLAT_NAME``."""
        suffix = self.SUFFIXES[kind][1]
        path = self.root / str(self.folder(kind)) / flat_name(key)
        return path if suffix is None else path.with_suffix(suffix)
