"""Lists that users bring: text, tables and JSON in whatever encoding, and tables of pairs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgpis.errors import PgpisError, nearest

EDIT_SEPARATOR = "|"
SOURCES = ("source", "source_2", "source_3", "source_4")
MOST_SOURCES = len(SOURCES)
"""Of a pair."""
COLUMNS = (*SOURCES, "pose", "target", "identity", "clothes")
LARGEST_LIST = 1 << 29
"""Bytes; DeepFashion's training list has 17 million."""
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
    return list(_rows(path, what, hint, delimiter, names_files=names_files))


def _rows(
    path: Path, what: str, hint: str | None, delimiter: str | None, *, names_files: bool
) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path, what, hint, names_files=names_files)
    delimiter = delimiter or max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for fields in reader:
            stripped = [sys.intern(field.strip()) for field in fields]  # a million times the same name are one
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise PgpisError(f"cannot read the {what} {path}: line {reader.line_num}: {error}", hint=hint) from error


def read_table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the lines of a table of pairs, with their numbers; comma, semicolon or tab between the columns.

    Raises:
        PgpisError: The table is missing, empty, lacks a column or has an empty field.
    """
    lines = _rows(path, "table of pairs", None, delimiter=None, names_files=True)
    _, names = next(lines, (0, []))
    columns = [name.lower() for name in names]
    if not {"source", "pose"} <= set(columns):
        raise PgpisError(f"{path}: the first line must be 'source,pose' or 'source,pose,target'")
    for column in columns:
        if column not in COLUMNS:
            known = f"{nearest(column, COLUMNS)}; known are {', '.join(COLUMNS)}"
            raise PgpisError(f"{path}: unknown column '{column}'{known}")
        if columns.count(column) > 1:
            raise PgpisError(f"{path}: two columns are called '{column}'")
    number = None
    for number, fields in lines:
        line = dict(zip(columns, fields, strict=False))  # the last columns may be left out; what is too long is refused
        if not (line.get("source") and line.get("pose")) or len(fields) > len(columns):
            raise PgpisError(f"{path} line {number}: expected {','.join(columns)}, found '{' '.join(fields)}'")
        yield number, line
    if number is None:
        raise PgpisError(f"{path} names no pairs")
