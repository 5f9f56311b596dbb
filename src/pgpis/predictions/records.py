"""``predictions.csv``: one line per picture, and what a job that was stopped left of it."""

from __future__ import annotations

import csv
import io
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import TextIO

from PIL import Image

from pgpis.files import append_bytes, printable, writing
from pgpis.predictions.marks import Mark, png_bytes

log = logging.getLogger(__name__)

DONE = "done"
TABLE = "predictions.csv"
PARTS = ".parts"


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One line of ``predictions.csv``."""

    pair_id: str
    """``SOURCE_2_POSE``."""
    image: str
    """File name of the picture; empty where the pair failed."""
    source: str
    """Source picture."""
    pose: str
    """File that the pose was read from."""
    seed: int | None
    """Seed of the picture's noise; depends only on ``--seed`` and ``Pair.noise_name``."""
    status: str
    """``done`` or the reason of the failure."""
    seconds: float
    """Time per picture, its share of the batch."""
    fingerprint: str
    """Hash of everything that the picture was made of: content of its files, weights, settings."""

    @classmethod
    def failed(cls, pair_id: str, reason: str) -> PredictionRecord:
        """Return the line of a pair of which nothing but its failure is known."""
        return cls(pair_id, "", "", "", None, reason, 0.0, "")


COLUMNS = [field.name for field in fields(PredictionRecord)]


@dataclass(frozen=True)
class Prediction:
    """One finished picture on its way to disk."""

    record: PredictionRecord
    image: Image.Image | None
    mark: Mark | None = None
    """Without what :meth:`Mark.filled` adds; None: the picture is not marked."""

    def png(self) -> bytes:
        """Return the picture as a PNG file, with its mark if it has one."""
        assert self.image is not None
        if self.mark is not None:
            return png_bytes(self.image, self.mark)
        file = io.BytesIO()
        self.image.save(file, "PNG")
        return file.getvalue()


def read_records(folder: Path) -> tuple[list[PredictionRecord], list[Path]]:
    """Read the table and what a stopped job left beside it.

    Returns:
        The latest records, those of a pair together, and the files of which a part cannot be read. A pair that fails
        where its pictures are there, as its files could not be read again, has the records of both.
    """
    latest: dict[str, list[PredictionRecord]] = {}
    damaged = []
    for path in (folder / TABLE, *sorted((folder / PARTS).glob("*.csv"))):
        if not path.exists():
            continue
        records, is_whole = _read_table(path, may_be_cut=path.parent.name == PARTS)
        own: dict[str, list[PredictionRecord]] = {}
        for record in records:
            rows = own.setdefault(record.pair_id, [])
            rows[:] = [row for row in rows if row.image != record.image]
            rows.append(record)
        for pair_id, rows in own.items():
            if not any(row.image for row in rows):
                rows[:0] = [row for row in latest.get(pair_id, ()) if row.image]
        latest |= own
        damaged += [] if is_whole else [path]
    return [record for rows in latest.values() for record in rows], damaged


def write_table(path: Path, records: Iterable[PredictionRecord]) -> None:
    """Write a whole table, in the order of pairs and pictures.

    Raises:
        PgpisError: It cannot be written.
    """
    with writing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")  # of names that are not UTF-8
        _write_lines(text, sorted(records, key=_order), header=True)
        text.detach()


def _order(record: PredictionRecord) -> tuple[str, int]:
    """Sort a pair's pictures by their numbers, ``_10`` after ``_9``; names that were cut stay as they were written."""
    return record.pair_id, len(record.image)


def _write_lines(file: TextIO, records: Iterable[PredictionRecord], *, header: bool) -> None:
    writer = csv.writer(file)
    if header:
        writer.writerow(COLUMNS)
    for cells in map(attrgetter(*COLUMNS), records):
        writer.writerow(["" if cell is None else printable(str(cell)) for cell in cells])


def append_records(path: Path, records: Iterable[PredictionRecord]) -> None:
    """Add lines to the table of one process.

    Raises:
        PgpisError: It cannot be written.
    """
    text = io.StringIO()
    _write_lines(text, records, header=not (path.exists() and path.stat().st_size))
    append_bytes(path, text.getvalue().encode())


def set_aside(path: Path, what: str) -> None:
    """Give a damaged file another name, and say so."""
    name = f"{path.name}.damaged"
    taken = sum(other.name.startswith(name) for other in path.parent.iterdir())
    aside = path.with_name(f"{name}-{taken + 1}" if taken else name)
    path.rename(aside)
    log.warning("%s is damaged: %s; it is kept as %s", path, what, aside.name)


def _read_table(path: Path, *, may_be_cut: bool) -> tuple[list[PredictionRecord], bool]:
    """Return the lines that can be read, and whether they are all; the last one may have been cut by a kill."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return [], False
    reader = csv.reader(io.StringIO(text, newline=""))
    records: list[PredictionRecord | None] = []
    try:
        if next(reader, None) != COLUMNS:
            return [], may_be_cut and text.count("\n") < 2
        records.extend(map(_record, filter(None, reader)))
    except csv.Error:
        records += [None, None]
    lacking = [position for position, record in enumerate(records) if record is None]
    is_whole = not lacking or (may_be_cut and lacking == [len(records) - 1])
    return [record for record in records if record is not None], is_whole


def _record(cells: Sequence[str]) -> PredictionRecord | None:
    """Read one line; None: it is damaged."""
    if len(cells) != len(COLUMNS) or not all(map(_is_whole, cells)):
        return None
    pair_id, image, source, pose, seed, status, seconds, fingerprint = cells
    lies_elsewhere = image in (".", "..") or os.path.basename(image) != image  # noqa: PTH119  there are a million
    if lies_elsewhere or (status == DONE) != bool(image):
        return None
    try:
        numbers = int(seed) if seed else None, float(seconds)
    except ValueError:
        return None
    source, pose, status, fingerprint = map(sys.intern, (source, pose, status, fingerprint))  # many pairs have the same
    return PredictionRecord(pair_id, image, source, pose, numbers[0], status, numbers[1], fingerprint)


def _is_whole(cell: str) -> bool:
    return "\0" not in cell and printable(cell) == cell
