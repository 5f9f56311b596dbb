"""``predictions.csv``: one line per picture, and what a job that was stopped left of it."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from pgpis.files import append_bytes, printable
from pgpis.predictions.marks import Mark, png_bytes

log = logging.getLogger(__name__)

DONE = "done"
TABLE = "predictions.csv"
PARTS = ".parts"


@dataclass(frozen=True)
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
        The latest records of each pair, and the files of which a part cannot be read.
    """
    latest: dict[str, dict[str, PredictionRecord]] = {}
    damaged = []
    for path in (folder / TABLE, *sorted((folder / PARTS).glob("*.csv"))):
        if not path.exists():
            continue
        records, is_whole = _read_table(path, may_be_cut=path.parent.name == PARTS)
        rows: dict[str, dict[str, PredictionRecord]] = {}
        for record in records:
            rows.setdefault(record.pair_id, {})[record.image] = record
        latest |= rows
        damaged += [] if is_whole else [path]
    return [record for pair in latest.values() for record in pair.values()], damaged


def table_of(records: Iterable[PredictionRecord], *, header: bool = True) -> str:
    """Return lines of the table."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(COLUMNS)
    for record in records:
        writer.writerow(["" if cell is None else printable(str(cell)) for cell in asdict(record).values()])
    return text.getvalue()


def append_records(path: Path, records: Iterable[PredictionRecord]) -> None:
    """Add lines to the table of one process.

    Raises:
        PgpisError: It cannot be written.
    """
    append_bytes(path, table_of(records, header=not (path.exists() and path.stat().st_size)).encode())


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
    reader = csv.DictReader(io.StringIO(text, newline=""))
    records: list[PredictionRecord | None] = []
    try:
        if reader.fieldnames != COLUMNS:
            return [], may_be_cut and text.count("\n") < 2
        records.extend(_record(row) for row in reader)
    except csv.Error:
        records += [None, None]
    lacking = [position for position, record in enumerate(records) if record is None]
    is_whole = not lacking or (may_be_cut and lacking == [len(records) - 1])
    return [record for record in records if record is not None], is_whole


def _record(row: Mapping[Any, Any]) -> PredictionRecord | None:
    """Read one line; None: it is damaged."""
    cells = list(row.values())
    if row.keys() != set(COLUMNS) or None in cells or any(printable(cell) != cell or "\0" in cell for cell in cells):
        return None
    if Path(row["image"]).name != row["image"] or (row["status"] == DONE) != bool(row["image"]):
        return None  # a picture lies in the folder itself
    try:
        seed, seconds = int(row["seed"]) if row["seed"] else None, float(row["seconds"])
    except ValueError:
        return None
    return PredictionRecord(**{**row, "seed": seed, "seconds": seconds})
