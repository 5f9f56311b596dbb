"""A user's table of pairs: which source, which pose, and what is to be another's."""

from __future__ import annotations

import csv
from pathlib import Path

from pgpis.errors import PgpisError, nearest

EDIT_SEPARATOR = "|"
COLUMNS = ("source", "pose", "target", "identity", "clothes")


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the lines of a table of pairs, with their numbers; comma, semicolon or tab between the columns.

    Raises:
        PgpisError: The table is missing, empty, lacks a column or has an empty field.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
            if not {"source", "pose"} <= set(columns):
                raise PgpisError(f"{path}: the first line must be 'source,pose' or 'source,pose,target'")
            unknown = [column for column in columns if column not in COLUMNS]
            if unknown:
                known = ", ".join(COLUMNS)
                raise PgpisError(
                    f"{path}: unknown column '{unknown[0]}'{nearest(unknown[0], COLUMNS)}; known are {known}"
                )
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num + 1, [field.strip() for field in fields]) for fields in reader]
    except FileNotFoundError:
        raise PgpisError(f"table of pairs not found: {path}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise PgpisError(f"cannot read the table of pairs {path}: {error}") from error
    lines = [(number, fields) for number, fields in lines if any(fields)]
    if not lines:
        raise PgpisError(f"{path} names no pairs")
    table = []
    for number, fields in lines:
        line = dict(zip(columns, fields, strict=False))  # the number of fields is checked next
        if not (line.get("source") and line.get("pose")) or len(fields) > len(columns):
            raise PgpisError(f"{path} line {number}: expected {delimiter.join(columns)}, found '{' '.join(fields)}'")
        table.append((number, line))
    return table
