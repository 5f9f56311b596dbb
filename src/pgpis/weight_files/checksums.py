"""Whether weights are what was published, and what they were when they came."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pgpis.errors import PgpisError
from pgpis.files import sha256_of, write_text
from pgpis.weight_files.catalogue import WeightFile, catalogued
from pgpis.weight_files.places import Location, look

log = logging.getLogger(__name__)

RECORD = "checksums.json"
CHUNK = 1 << 20

State = Literal["ok", "damaged", "missing", "unknown checksum"]


@dataclass(frozen=True)
class FileState:
    """Whether one file is what it should be."""

    file: str
    path: Path | None
    state: State
    reason: str | None = None


def states(name: str, folder: str | os.PathLike[str] | None = None) -> list[FileState]:
    """Compare the files of an entry with what was recorded when they came, or was published; ``folder``: see places.

    Returns:
        One for each file, in the entry's order. ``unknown checksum``: there, but nothing to compare with.

    Raises:
        PgpisError: The record of checksums is damaged.
    """
    entry = catalogued(name)
    return [_state(entry, file, location) for file, location in look(entry, folder).items()]


def verify(name: str, folder: str | os.PathLike[str] | None = None) -> str | None:
    """Return why the files of an entry cannot be used, as in :func:`states`; None: they can, or nobody knows."""
    return next((state.reason for state in states(name, folder) if state.reason is not None), None)


def _state(entry: WeightFile, file: str, location: Location | None) -> FileState:
    if location is None:
        return FileState(file, None, "missing", f"{file} is missing")
    path, published = location.path, None if entry.zipped else entry.sha256
    try:
        recorded = read_record(location.root).get(path.relative_to(location.root).as_posix())
        if recorded is None and published is None:
            return FileState(file, path, "unknown checksum")
        size = path.stat().st_size
        if recorded is not None and size != recorded["bytes"]:
            return FileState(file, path, "damaged", f"{path} is damaged: {size} bytes, expected {recorded['bytes']}")
        digest = sha256_of(path)
    except OSError as error:
        return FileState(file, path, "damaged", f"{path} cannot be read: {error.strerror or error}")
    for expected in (recorded["sha256"] if recorded else None, published):
        if expected is not None and not digest.startswith(expected):
            difference = f"its sha256 begins with {digest[:8]}, expected {expected[:8]}"
            return FileState(file, path, "damaged", f"{path} is damaged: {difference}")
    return FileState(file, path, "ok")


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """Read a folder's ``checksums.json``: ``sha256`` and ``bytes`` by file; empty where there is none.

    Raises:
        PgpisError: It is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(value["sha256"], str) and isinstance(value["bytes"], int) for value in record.values()):
            return dict(record)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        log.debug("%s", path, exc_info=error)
    raise PgpisError(
        f"{path} is damaged: expected the sha256 and bytes of each file",
        hint="delete it, then 'pgpis weights fetch' again for the weights whose files you do not trust",
    )


def write_record(folder: Path, paths: Sequence[Path]) -> None:
    """Add files to a folder's ``checksums.json`` as they are now."""
    new = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in paths
    }
    record = {**read_record(folder), **new}
    write_text(folder / RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n")
