"""Lists that users bring: text, tables and JSON in whatever encoding, and tables of pairs."""

from __future__ import annotations

import csv
import io
import json
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError, nearest

EDIT_SEPARATOR = "|"
SOURCES = ("source", "source_2", "source_3", "source_4")
MOST_SOURCES = len(SOURCES)
"""Of a pair."""
COLUMNS = (*SOURCES, "pose", "target", "identity", "clothes")
LARGEST_LIST = 1 << 29
"""Bytes; DeepFashion's training list has 17 million."""
LINES_AT_ONCE = 4096
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, what: str, hint: str | None = None, *, names_files: bool = False) -> str:
    """Read a text file: UTF-8, or UTF-16 where its first bytes say so, as Excel writes it.

    Args:
        path: The file.
        what: What it is, for messages: ``list of pairs``.
        hint: What the user can do.
        names_files: Whether bytes that are not UTF-8 are let through, as they may be part of a file's name.

    Raises:
        PgpisError: The file is missing, too large, or no text; names the line.
    """
    refused = f"cannot read the {what} {path}"
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise PgpisError(f"{path} is too large for a {what}: more than {LARGEST_LIST >> 20} MiB", hint=hint)
        content = path.read_bytes()
    except FileNotFoundError:
        raise PgpisError(f"{what} not found: {path}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise PgpisError(f"{refused}: {error}", hint=hint) from error
    try:
        encoding = "utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig"
        text = content.decode(encoding, "surrogateescape" if names_files and encoding == "utf-8-sig" else "strict")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save it as UTF-8 in the program that wrote it"
        raise PgpisError(f"{refused}: line {line} is not UTF-8 ({error.reason})", hint=hint) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PgpisError(f"{refused}: line {line} holds a NUL character, which text never does", hint=hint)
    return text


def read_json(path: Path, what: str, hint: str | None = None) -> Any:
    """Read a JSON file; arguments and errors as :func:`read_text`."""
    try:
        return json.loads(read_text(path, what, hint))
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "nested too deeply"
        raise PgpisError(f"cannot read the {what} {path}: {reason}", hint=hint) from error


def read_rows(
    path: Path, what: str, hint: str | None = None, delimiter: str | None = ",", *, names_files: bool = False
) -> list[tuple[int, list[str]]]:
    """Read the lines of a table with their numbers; empty ones are left out.

    Arguments and errors as :func:`read_text`. Without a ``delimiter`` it is whichever of comma, semicolon and tab the
    first line has most of.
    """
    rows = _rows(path, what, hint, delimiter, names_files=names_files)
    return [(number, [*map(sys.intern, fields)]) for number, fields in rows]  # a million times the same name are one


def _rows(
    path: Path, what: str, hint: str | None, delimiter: str | None, *, names_files: bool
) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path, what, hint, names_files=names_files)
    delimiter = delimiter or max(",;\t", key=text.partition("\n")[0].count)
    content = io.BytesIO(text.encode(errors="surrogateescape"))  # io.StringIO would take four bytes a character
    lines = io.TextIOWrapper(content, "utf-8", "surrogateescape", newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise PgpisError(f"cannot read the {what} {path}: line {reader.line_num}: {error}", hint=hint) from error


@dataclass(frozen=True)
class PairTable:
    """A table of pairs by columns: a million lines that name a thousand files are a thousand names, and numbers."""

    path: Path
    names: Mapping[str, Sequence[str]]
    """By column its different fields, in the order in which they come; an empty one where a line has none."""
    codes: Mapping[str, NDArray[np.int32]]
    """By column, for each pair the position of its field in ``names``, ``(N,)``."""
    lines: NDArray[np.int64]
    """The line of each pair, ``(N,)``."""

    def groups(self, columns: Sequence[str]) -> tuple[list[list[tuple[str, int]]], NDArray[np.int32]]:
        """Return what columns hold together: each different combination once, and for each pair which it has.

        Args:
            columns: Some of ``names``.

        Returns:
            Combinations as (column, position in its ``names``), and positions among these, ``(N,)``.
        """
        if len(columns) == 1:
            codes = self.codes[columns[0]]
            return [[(columns[0], code)] for code in range(len(self.names[columns[0]]))], codes
        together = np.zeros((len(self.lines), len(columns)), np.int32)
        for position, column in enumerate(columns):
            together[:, position] = self.codes[column]
        different, positions = np.unique(together, axis=0, return_inverse=True)
        groups = [list(zip(columns, row, strict=True)) for row in different.tolist()]
        return groups, positions.reshape(-1).astype(np.int32)


def read_table(path: Path) -> PairTable:
    """Read a table of pairs; comma, semicolon or tab between the columns.

    Raises:
        PgpisError: The table is missing, empty, lacks a column or has an empty field.
    """
    rows = _rows(path, "table of pairs", None, delimiter=None, names_files=True)
    columns = _columns(path, next(rows, (0, []))[1])
    source, pose = columns.index("source"), columns.index("pose")
    positions = [defaultdict[str, int](count().__next__) for _ in columns]
    codes = [array("i") for _ in columns]
    lines = array("q")
    while some := list(islice(rows, LINES_AT_ONCE)):  # by columns they are read in half of the time
        for number, fields in some:
            fields.extend([""] * (len(columns) - len(fields)))  # the last columns may be left out
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
        np.frombuffer(lines, np.int64),
    )


def _columns(path: Path, names: Sequence[str]) -> list[str]:
    columns = [name.lower() for name in names]
    if not {"source", "pose"} <= set(columns):
        raise PgpisError(f"{path}: the first line must be 'source,pose' or 'source,pose,target'")
    for column in columns:
        if column not in COLUMNS:
            known = f"{nearest(column, COLUMNS)}; known are {', '.join(COLUMNS)}"
            raise PgpisError(f"{path}: unknown column '{column}'{known}")
        if columns.count(column) > 1:
            raise PgpisError(f"{path}: two columns are called '{column}'")
    return columns
