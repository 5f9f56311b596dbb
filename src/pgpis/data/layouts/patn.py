"""The layout of PATN, which DPTN, GFLA and CFLD share: flat folders, tables of pairs and of key points."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from pgpis.data.layouts.base import Layout, flat_name, key_of
from pgpis.errors import PgpisError, refuse_if_all_fail
from pgpis.files import is_file
from pgpis.pictures.keypoints import MISSING, Frame, Keypoints
from pgpis.pictures.plausibility import person_of

FRAME = Frame(256, 176, name="PATN")  # without a border
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
    folders: ClassVar = {"picture": ("{split}_highres", "{split}")}
    POINTS: ClassVar[tuple[str, ...]] = tuple(name.replace("pairs", "annotation") for name in list_names)

    @cached_property
    def _rows(self) -> dict[str, dict[str, int]]:
        return read_points(self.table_path)

    def place_of(self, kind: str) -> Path:
        """Return the folder of the pictures, or the table of key points."""
        return self.table_path if kind == "keypoints" else super().place_of(kind)

    def path(self, key: str, kind: str) -> Path:
        """Return the picture, or the table of key points."""
        return self.table_path if kind == "keypoints" else super().path(key, kind)

    @property
    def table_path(self) -> Path:
        """The table of key points."""
        names = [self.root / name.format(split=self.split) for name in self.POINTS]
        return next((path for path in names if is_file(path)), names[0])

    def has(self, kind: str) -> bool:
        """Whether there are pictures, or a table of key points."""
        return self.table_path.is_file() if kind == "keypoints" else super().has(kind)

    def find(self, key: str, kind: str) -> Path | None:
        """Return where the picture is, or the table that has its key points."""
        if kind != "keypoints":
            return super().find(key, kind)
        try:
            return self.table_path if key in self._rows else None
        except PgpisError:  # told where they are read
            return self.table_path

    def points(self, key: str) -> Keypoints | None:
        """Return the key points of a picture's line of the table."""
        if key not in self._rows:
            raise PgpisError(f"{self.table_path} has no key points of {flat_name(key)}")
        return points_of(self.table_path, self._rows[key])

    def points_files(self, points: Mapping[str, Keypoints]) -> dict[Path, str]:
        """Return the table of key points."""
        lines = [":".join(HEADER)]
        for key, keypoints in points.items():
            rounded = keypoints.to(FRAME).points.round().astype(int)
            lines.append(f"{flat_name(key)}: {rounded[:, 1].tolist()}: {rounded[:, 0].tolist()}")
            if list(_rows(lines[-1].splitlines())) != [key_of(flat_name(key))]:
                hint = "rename the picture, and in the list too"
                raise PgpisError(f"the layout '{self.name}' has no way to write key points of '{key}'", hint=hint)
        return {self.table_path: "\n".join(lines) + "\n"}


def read_points(path: Path) -> dict[str, dict[str, int]]:
    """Read a table of key points: ``name:keypoints_y:keypoints_x``, JSON lists of 18 numbers, -1 missing.

    Returns:
        The lines of each picture, with their numbers: a bad one fails its own picture, see :func:`points_of`. A table
        of nothing but bad lines is refused.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="backslashreplace").splitlines()
    except OSError as error:
        raise PgpisError(f"cannot read the key points {path}: {error}") from error
    if not lines or [field.strip() for field in lines[0].split(":")] != HEADER:
        raise PgpisError(f"{path}: the first line must be '{':'.join(HEADER)}'")
    rows = _rows(lines[1:])
    refuse_if_all_fail(lambda row: points_of(path, row), rows.values())
    return rows


def _rows(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the lines below the header by the key of their picture, with their numbers."""
    rows: dict[str, dict[str, int]] = {}
    for number, line in enumerate(lines, 2):
        if line.strip():
            rows.setdefault(key_of(line.partition(":")[0].strip()), {}).setdefault(line, number)
    return rows


def points_of(path: Path, row: dict[str, int]) -> Keypoints:
    """Return the key points of a picture's line of a table, or refuse it; so where there are several that differ."""
    line, number = next(iter(row.items()))
    where = f"{path} line {number}"
    if len(row) > 1:
        raise PgpisError(f"{path}: lines {', '.join(map(str, row.values()))} name the same picture and differ")
    expected = "expected 'NAME: [18 numbers]: [18 numbers]'"
    fields = line.split(":")
    if len(fields) != len(HEADER):
        raise PgpisError(f"{where}: {expected}")
    try:
        rows, columns = (np.asarray(json.loads(field), dtype=np.float64) for field in fields[1:])
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PgpisError(f"{where}: {expected}: {error}") from error
    if rows.shape != (18,) or columns.shape != (18,):
        raise PgpisError(f"{where}: {expected}, found {rows.shape} and {columns.shape}")
    points = np.stack([columns, rows], axis=1)
    return person_of(points, points != MISSING, FRAME, "body18", where)
