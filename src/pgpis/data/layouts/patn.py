"""The layout of PATN, which DPTN, GFLA and CFLD share: flat folders, tables of pairs and of key points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from pgpis.data.layouts.base import KeyPair, Kind, Layout, Split, flat_name, key_of
from pgpis.data.tables import read_text
from pgpis.errors import PgpisError
from pgpis.keypoints import Frame, Keypoints

FRAME = Frame(256, 176, name="PATN")
"""Their key points refer to pictures of 176 x 256 pixels without a border."""
HEADER = ["name", "keypoints_y", "keypoints_x"]


class PATNLayout(Layout):
    """``{split}/`` or CFLD's ``{split}_highres/``, ``fasion-resize-pairs-{split}.csv`` and key points in one table."""

    name = "patn"
    description = "PATN, DPTN, CFLD ({split}/ or {split}_highres/, fasion-resize-pairs-{split}.csv)"
    list_names = (
        "fasion-resize-pairs-{split}.csv",
        "fashion-resize-pairs-{split}.csv",
        "fasion-pairs-{split}.csv",
        "fashion-pairs-{split}.csv",
    )
    POINTS: ClassVar[tuple[str, ...]] = tuple(name.replace("pairs", "annotation") for name in list_names)

    def __init__(self, root: Path, split: Split) -> None:
        super().__init__(root, split)
        self._points: dict[str, Keypoints] | None = None

    def read_pairs(self) -> list[KeyPair]:
        """Read the table ``from,to`` of flat names."""
        return self._read_table()

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of the pictures; key points are in a table."""
        if kind != "picture":
            return None
        return next((f"{self.split}{end}" for end in ("_highres", "") if (self.root / f"{self.split}{end}").is_dir()),
                    self.split)  # fmt: skip

    def path(self, key: str, kind: Kind) -> Path:
        """Return the picture, or the table of key points."""
        if kind == "keypoints":
            return self.table_path
        return existing(self.root / str(self.folder(kind)) / flat_name(key))

    @property
    def table_path(self) -> Path:
        """The table of key points."""
        names = [self.root / name.format(split=self.split) for name in self.POINTS]
        return next((path for path in names if path.is_file()), names[0])

    def has(self, kind: Kind) -> bool:
        """Whether there are pictures, or a table of key points."""
        return self.table_path.is_file() if kind == "keypoints" else super().has(kind)

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points.

        Raises:
            PgpisError: The table is malformed, or has no such picture.
        """
        if self._points is None:
            self._points = read_points(self.table_path)
        if key not in self._points:
            raise PgpisError(f"{self.table_path} has no key points of {flat_name(key)}")
        return self._points[key]


def existing(path: Path) -> Path:
    """Return the file, or the one of the same name with another suffix of pictures, where that is there."""
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in (".jpg", ".png", ".jpeg"))
    return next((other for other in others if other.is_file()), path)


def read_points(path: Path) -> dict[str, Keypoints]:
    """Read a table of key points: ``name:keypoints_y:keypoints_x``, JSON lists of 18 numbers, -1 missing.

    Raises:
        PgpisError: It is missing or malformed.
    """
    lines = read_text(path, "table of key points").splitlines()
    if not lines or [field.strip() for field in lines[0].split(":")] != HEADER:
        raise PgpisError(f"{path}: the first line must be '{':'.join(HEADER)}'")
    return {key: points for number, line in enumerate(lines[1:], 2) if line.strip()
            for key, points in [_parse(path, number, line)]}  # fmt: skip


def _parse(path: Path, number: int, line: str) -> tuple[str, Keypoints]:
    fields = line.split(":")
    expected = "expected 'NAME: [18 numbers]: [18 numbers]'"
    if len(fields) != len(HEADER):
        raise PgpisError(f"{path} line {number}: {expected}")
    try:
        rows, columns = (np.asarray(json.loads(field), dtype=np.float64) for field in fields[1:])
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PgpisError(f"{path} line {number}: {expected}: {error}") from error
    if rows.shape != (18,) or columns.shape != (18,) or not np.isfinite([rows, columns]).all():
        raise PgpisError(f"{path} line {number}: {expected}, found {rows.shape} and {columns.shape}")
    return key_of(fields[0].strip()), Keypoints.from_array(np.stack([columns, rows], axis=1), FRAME, "body18")
