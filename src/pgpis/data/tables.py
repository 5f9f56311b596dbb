"""Lists that users bring: text, tables and JSON in whatever encoding; read without numpy, as ``--help`` needs it.

And tables as they are written.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pgpis.errors import PgpisError

EDIT_SEPARATOR = "|"
SOURCES = ("source", "source_2", "source_3", "source_4")
MOST_SOURCES = len(SOURCES)
"""Of a pair."""
LARGEST_LIST = 1 << 29
"""Bytes; DeepFashion's training list has 17 million."""
SEPARATOR = re.compile(r"sep=([^\r\n\"])[\r\n]*")
"""A line that says what parts the columns of a table."""
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
    return _open_text(path, what, hint, names_files=names_files).read()


def _open_text(path: Path, what: str, hint: str | None, *, names_files: bool) -> io.TextIOWrapper:
    """Read and check a text file, see :func:`read_text`; its lines are then decoded as they are asked for."""
    refused = f"cannot read the {what} {path}"
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise PgpisError(f"{path} is too large for a {what}: more than {LARGEST_LIST >> 20} MiB", hint=hint)
        content = path.read_bytes()
    except FileNotFoundError:
        raise PgpisError(f"{what} not found: {path}", hint=hint) from None
    except (OSError, ValueError) as error:
        raise PgpisError(f"{refused}: {error}", hint=hint) from error
    encoding = "utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig"
    errors = "surrogateescape" if names_files and encoding == "utf-8-sig" else "strict"
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save it as UTF-8 in the program that wrote it"
        raise PgpisError(f"{refused}: line {line} is not UTF-8 ({error.reason})", hint=hint) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PgpisError(f"{refused}: line {line} holds a NUL character, which text never does", hint=hint)
    return io.TextIOWrapper(io.BytesIO(content), encoding, errors, newline="")


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

    Arguments and errors as :func:`read_text`. Without a ``delimiter`` it is that of a first line ``sep=;``, which Excel
    reads, else whichever of comma, semicolon and tab the first line that is not empty has most of.
    """
    rows = iterate_rows(path, what, hint, delimiter, names_files=names_files)
    return [(number, [*map(sys.intern, fields)]) for number, fields in rows]  # a million times the same name are one


def iterate_rows(
    path: Path, what: str, hint: str | None = None, delimiter: str | None = ",", *, names_files: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Read the lines of a table one by one, see :func:`read_rows`."""
    lines = _open_text(path, what, hint, names_files=names_files)
    first = []
    for line in lines:
        first.append(line)
        if line.strip(' ,;"\t\r\n'):  # spreadsheets save an empty row as its delimiters
            break
    if delimiter is None:
        head = "".join(first[-1:])
        if named := SEPARATOR.fullmatch(head):
            delimiter, first[-1] = named[1], "\n"
        else:
            delimiter = max(",;\t", key=head.count)
    reader = csv.reader(chain(first, lines), delimiter=delimiter)
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise PgpisError(f"cannot read the {what} {path}: line {reader.line_num}: {error}", hint=hint) from error


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
