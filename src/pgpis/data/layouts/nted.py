"""The layout of NTED, which PIDM and X-MDPT share: trees of pictures or LMDBs, text lists with the target first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pgpis.data.layouts.base import LIST, KeyPair, Layout, inside, key_of
from pgpis.data.picture_store import DATABASE
from pgpis.data.tables import read_text
from pgpis.errors import PgpisError


class NTEDLayout(Layout):
    """``img/``, ``pose/``, ``{split}_pairs.txt``; pictures also in an LMDB: ``512-352``, ``256-176``, ``256-256``."""

    name = "nted"
    description = "NTED, PIDM (img/ or an LMDB like 512-352/, pose/, {split}_pairs.txt)"
    list_names = ("{split}_pairs.txt",)
    folders: ClassVar = {"picture": ("img",), "keypoints": ("pose",)}
    is_flat = False
    LMDBS: ClassVar[tuple[str, ...]] = ("512-352", "256-176", "256-256")

    def read_pairs(self) -> list[KeyPair]:
        """Read the list: on each line the target, then its sources; commas or spaces between."""
        lines = read_text(self.list_path, LIST, self._hint).splitlines()
        pairs: list[KeyPair] = []
        for number, line in enumerate(lines, 1):
            where = f"{self.list_path} line {number}"
            names = [name for name in re.split(r"[,;\s]+", line.strip()) if name]
            if len(names) == 1:
                raise PgpisError(f"{where}: expected 'TARGET,SOURCE[,SOURCE...]', found '{line}'")
            if names:
                target, *sources = (self._key(where, name) for name in names)
                pairs += [(source, target) for source in sources]
        return pairs

    def _list_text(self, pairs: Sequence[KeyPair]) -> str:
        return "".join(f"{target},{source}\n" for source, target in pairs)

    def _key(self, where: str, value: str) -> str:
        name = inside(where, value)
        key = key_of(str(PurePosixPath(*name.parts[1:]) if name.parts[0] == "img" else name))
        return str(PurePosixPath(key).with_suffix(".jpg")) if "/" in key else key

    def folder(self, kind: str) -> str | None:
        """Return the folder of a kind of file; an LMDB counts as one."""
        if kind == "picture" and not (self.root / "img").is_dir():
            return next((name for name in self.LMDBS if (self.root / name / DATABASE).is_file()), "img")
        return super().folder(kind)

    def path(self, key: str, kind: str) -> Path:
        """Return the file, or the name of an entry of an LMDB: ``ROOT/512-352/data.mdb/KEY.png``."""
        database = self.root / str(self.folder(kind)) / DATABASE
        is_entry = kind == "picture" and database.is_file()
        return (database / key).with_suffix(".png") if is_entry else super().path(key, kind)
