"""The layout of NTED, which PIDM and X-MDPT share: trees of pictures or LMDBs, text lists with the target first."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pgpis.data.layouts.base import LIST, KeyPair, Kind, Layout, is_inside, key_of
from pgpis.data.layouts.patn import existing
from pgpis.data.tables import read_text
from pgpis.errors import PgpisError


class NTEDLayout(Layout):
    """``img/``, ``pose/``, ``{split}_pairs.txt``; pictures also in an LMDB: ``512-352``, ``256-176``, ``256-256``."""

    name = "nted"
    description = "NTED, PIDM (img/ or an LMDB like 512-352/, pose/, {split}_pairs.txt)"
    list_names = ("{split}_pairs.txt",)
    LMDBS: ClassVar[tuple[str, ...]] = ("512-352", "256-176", "256-256")

    def read_pairs(self) -> list[KeyPair]:
        """Read the list: on each line the target, then its sources; commas or spaces between."""
        lines = read_text(self.list_path, LIST, self._hint).splitlines()
        pairs: list[KeyPair] = []
        for number, line in enumerate(lines, 1):
            names = [name for name in re.split(r"[,;\s]+", line.strip()) if name]
            if len(names) == 1:
                raise PgpisError(
                    f"{self.list_path} line {number}: expected 'TARGET,SOURCE[,SOURCE...]', found '{line}'"
                )
            if names:
                target, *sources = (self._key(number, name) for name in names)
                pairs += [(source, target) for source in sources]
        return pairs

    def _key(self, number: int, value: str) -> str:
        name = PurePosixPath(value.replace("\\", "/"))
        if not is_inside(name):
            raise PgpisError(f"{self.list_path} line {number}: '{value}' leaves the folder")
        if name.parts[0] == "img":
            name = PurePosixPath(*name.parts[1:])
        key = key_of(str(name))
        return str(PurePosixPath(key).with_suffix(".jpg")) if "/" in key else key

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file; an LMDB counts as one."""
        if kind == "picture":
            lmdbs = (name for name in self.LMDBS if (self.root / name / "data.mdb").is_file())
            return "img" if (self.root / "img").is_dir() else next(lmdbs, "img")
        return {"keypoints": "pose"}.get(kind)

    def path(self, key: str, kind: Kind) -> Path:
        """Return the file, or the name of an entry of an LMDB: ``ROOT/512-352/data.mdb/KEY.png``."""
        folder = self.root / str(self.folder(kind))
        if kind == "keypoints":
            return (folder / key).with_suffix(".txt")
        database = folder / "data.mdb"
        return (database / key).with_suffix(".png") if database.is_file() else existing(folder / key)
