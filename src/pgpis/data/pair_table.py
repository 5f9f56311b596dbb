"""Tables of pairs by columns: a million lines that name a thousand files."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgpis.data.tables import SOURCES, iterate_rows
from pgpis.errors import PgpisError, nearest

COLUMNS = (*SOURCES, "pose", "target", "identity", "clothes")
LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class PairTable:
    """A table of pairs by columns: a million lines that name a thousand files are a thousand names, and numbers."""

    path: Path
    names: Mapping[str, Sequence[str]]
    """By column its different fields, in the order in which they come; an empty one where a line has none."""
    codes: Mapping[str, NDArray[np.int32]]
    """By column, for each pair the position of its field in ``names``, ``(N,)``."""
    lines: NDArray[np.int32]
    """The line of each pair, ``(N,)``."""

    def groups(self, columns: Sequence[str]) -> tuple[list[list[tuple[str, int]]], NDArray[np.int32]]:
        """Return what columns hold together: each different combination once, and for each pair which it has.

        Args:
            columns: Some of ``names``.

        Returns:
            Combinations as (column, position in its ``names``), and positions among these, ``(N,)``.
        """
        if len(columns) == 1:
            return [[(columns[0], code)] for code in range(len(self.names[columns[0]]))], self.codes[columns[0]]
        rows, positions = np.zeros(1, np.int64), np.zeros(len(self.lines), np.int64)
        for column in columns:  # one after the other: what two of them hold is one number, which sorts fast
            together = positions * len(self.names[column]) + self.codes[column]
            _, rows, positions = np.unique(together, return_index=True, return_inverse=True)
        groups = [[(column, int(self.codes[column][row])) for column in columns] for row in rows]
        return groups, positions.astype(np.int32)


def read_table(path: Path) -> PairTable:
    """Read a table of pairs; comma, semicolon or tab between the columns.

    Raises:
        PgpisError: The table is missing, empty, lacks a column or has an empty field.
    """
    rows = iterate_rows(path, "table of pairs", delimiter=None, names_files=True)
    columns = _columns(path, next(rows, (0, []))[1])
    source, pose = columns.index("source"), columns.index("pose")
    positions = [defaultdict[str, int](count().__next__) for _ in columns]
    codes = [array("i") for _ in columns]
    lines = array("i")  # no table that is read has more than fit
    while some := list(islice(rows, LINES_AT_ONCE)):  # by columns they are read in half of the time
        for number, fields in some:
            fields.extend([""] * (len(columns) - len(fields)))  # the last columns may be left out
            while len(fields) > len(columns) and not fields[-1]:
                fields.pop()
            if len(fields) > len(columns) or not (fields[source] and fields[pose]):
                found = " ".join(fields).rstrip()
                raise PgpisError(f"{path} line {number}: expected {','.join(columns)}, found '{found}'")
            lines.append(number)
        by_column = zip(*(fields for _, fields in some), strict=True)
        for values, position, column in zip(by_column, positions, codes, strict=True):
            column.extend(map(position.__getitem__, values))
    if not lines:
        raise PgpisError(f"{path} names no pairs")
    return PairTable(
        path,
        dict(zip(columns, map(list, positions), strict=True)),
        dict(zip(columns, (np.frombuffer(column, np.intc) for column in codes), strict=True)),
        np.frombuffer(lines, np.intc),
    )


def _columns(path: Path, names: Sequence[str]) -> list[str]:
    columns = [name.lower() for name in names]
    while columns and not columns[-1]:  # spreadsheets save empty columns, too
        columns.pop()
    if not {"source", "pose"} <= set(columns):
        raise PgpisError(f"{path}: the first line must be 'source,pose' or 'source,pose,target'")
    for column in columns:
        if column not in COLUMNS:
            known = f"{nearest(column, COLUMNS)}; known are {', '.join(COLUMNS)}"
            raise PgpisError(f"{path}: unknown column '{column}'{known}")
        if columns.count(column) > 1:
            raise PgpisError(f"{path}: two columns are called '{column}'")
    return columns
