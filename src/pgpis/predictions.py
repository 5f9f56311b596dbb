"""The folder that ``pgpis predict`` writes: pictures, drawn poses, ``predictions.csv``, a contact sheet."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from pgpis.batch import PairBatch
from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.images import read_image, save_image, tensor_to_images

log = logging.getLogger(__name__)

DONE = "done"
SHEET_ROWS = 60
TILE_HEIGHT = 192


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
    """Seed of the picture's noise; depends only on ``--seed`` and the pair."""
    status: str
    """``done`` or the reason of the failure."""
    seconds: float
    """Time per picture, its share of the batch."""


@dataclass(frozen=True)
class Prediction:
    """One finished picture on its way to disk."""

    record: PredictionRecord
    image: Image.Image | None


class PredictionWriter(BasePredictionWriter):
    """Writes each picture as soon as it is made, and one record per pair.

    Every process appends to a file of its own under ``.parts``; the main process merges them into
    ``predictions.csv`` at the end, and so does the next run after an interruption.

    Args:
        out: Folder to write to.
        settings: What determines the pictures beside the pair; a folder made with other settings is refused.
    """

    def __init__(self, out: str | Path, settings: Mapping[str, Any]) -> None:
        super().__init__(write_interval="batch")
        self.out = Path(out)
        self.settings = json.loads(json.dumps(settings, sort_keys=True, default=str))
        self._refuse_other_settings()

    def _refuse_other_settings(self) -> None:
        path = self.out / "settings.json"
        if not path.is_file():
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        for key in sorted(found.keys() | self.settings.keys()):
            if found.get(key) != self.settings.get(key):
                raise PgpisError(
                    f"{self.out} holds pictures made with {key}={found.get(key)}, now {key}={self.settings.get(key)}",
                    hint="give another --out, or remove that folder",
                )

    def records(self) -> list[PredictionRecord]:
        """Return the latest record of each picture, from the table and from what an interrupted run left."""
        done: dict[tuple[str, str], PredictionRecord] = {}
        failed: dict[str, PredictionRecord] = {}
        for record in self._read_records():
            if record.status == DONE:
                done[record.pair_id, record.image] = record
                failed.pop(record.pair_id, None)
            else:
                failed[record.pair_id] = record
        return [*done.values(), *failed.values()]

    def _read_records(self) -> Iterator[PredictionRecord]:
        for path in (self.out / "predictions.csv", *sorted((self.out / ".parts").glob("*.csv"))):
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as file:
                    yield from filter(None, map(_parse, csv.DictReader(file)))

    def finished_pairs(self) -> set[str]:
        """Return the pairs whose pictures are all recorded and readable."""
        images: dict[str, list[str]] = {}
        for record in self.records():
            if record.status == DONE:
                images.setdefault(record.pair_id, []).append(record.image)
        finished = {
            pair_id
            for pair_id, names in images.items()
            if len(names) >= int(self.settings["images_per_pair"]) and all(_readable(self.out / name) for name in names)
        }
        if finished:
            log.info("%s: %d pairs are done, going on with the rest", self.out, len(finished))
        return finished

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the settings before the first picture, and close what an interrupted run left open."""
        if trainer.is_global_zero:
            self.merge()
            for unfinished in (*self.out.glob(".*.png"), *(self.out / "poses").glob(".*.png")):
                unfinished.unlink()
            (self.out / ".parts").mkdir(parents=True, exist_ok=True)
            write_text(self.out / "settings.json", json.dumps(self.settings, indent=1))
        trainer.strategy.barrier("settings written")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Prediction],
        batch_indices: Sequence[int] | None,
        batch: PairBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the pictures of one batch, then their records."""
        for item in prediction:
            if item.image is not None:
                save_image(item.image, self.out / item.record.image)
        for pair_id, pose in zip(batch["pair_id"], tensor_to_images(batch["pose_image"]), strict=True):
            save_image(pose, self.out / "poses" / f"{pair_id}.png")
        part = self.out / ".parts" / f"rank{trainer.global_rank}.csv"
        is_new = not part.is_file()
        with part.open("a", encoding="utf-8", newline="") as file:
            _write_rows(file, [item.record for item in prediction], header=is_new)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the records of all processes."""
        trainer.strategy.barrier("predictions written")
        if trainer.is_global_zero:
            self.merge()

    def merge(self) -> None:
        """Write ``predictions.csv`` from all records, then drop the parts."""
        records = sorted(self.records(), key=lambda record: (record.pair_id, record.image))
        table = io.StringIO()
        _write_rows(table, records, header=True)
        if records:
            write_text(self.out / "predictions.csv", table.getvalue())
        for part in (self.out / ".parts").glob("*.csv"):
            part.unlink()
        if (self.out / ".parts").is_dir():
            (self.out / ".parts").rmdir()

    def summarise(self) -> int:
        """Draw the contact sheet, list failures; return 1 if there are any."""
        records = list(self.records())
        done = [record for record in records if record.status == DONE]
        failed = [record for record in records if record.status != DONE]
        self.draw_contact_sheet(done)
        log.info("%d pictures in %s (predictions.csv, contact_sheet.jpg)", len(done), self.out)
        for record in failed[:20]:
            log.error("failed: %s: %s", record.pair_id, record.status)
        if failed:
            log.error("%d of %d pairs failed; all are in %s", len(failed), len(records), self.out / "predictions.csv")
        return 1 if failed else 0

    def draw_contact_sheet(self, done: Sequence[PredictionRecord]) -> None:
        """Draw source | pose | results, a row per pair, for the first pairs."""
        rows: dict[str, list[PredictionRecord]] = {}
        for record in done:
            rows.setdefault(record.pair_id, []).append(record)
        tiles = [self._sheet_row(records) for _, records in sorted(rows.items())[:SHEET_ROWS]]
        if not tiles:
            return
        width = max(tile.width for tile in tiles)
        sheet = Image.new("RGB", (width, (TILE_HEIGHT + 4) * len(tiles)), "white")
        for position, tile in enumerate(tiles):
            sheet.paste(tile, (0, position * (TILE_HEIGHT + 4)))
        save_image(sheet, self.out / "contact_sheet.jpg")

    def _sheet_row(self, records: Sequence[PredictionRecord]) -> Image.Image:
        results = [read_image(self.out / record.image) for record in records]
        first = records[0]
        pose = read_image(self.out / "poses" / f"{first.pair_id}.png").resize(results[0].size)
        pictures = [read_image(first.source), pose, *results]
        tiles = [picture.resize((picture.width * TILE_HEIGHT // picture.height, TILE_HEIGHT)) for picture in pictures]
        row = Image.new("RGB", (sum(tile.width + 4 for tile in tiles), TILE_HEIGHT), "white")
        left = 0
        for tile in tiles:
            row.paste(tile, (left, 0))
            left += tile.width + 4
        return row


def _parse(row: Mapping[str, str]) -> PredictionRecord | None:
    """Read one line; a line that an interruption cut short is dropped and its pair made again."""
    if any(row.get(field.name) is None for field in fields(PredictionRecord)):
        return None
    values: dict[str, Any] = dict(row)
    try:
        values["seed"] = int(row["seed"]) if row["seed"] else None
        values["seconds"] = float(row["seconds"])
    except ValueError:
        return None
    return PredictionRecord(**values)


def _write_rows(file: Any, records: Sequence[PredictionRecord], *, header: bool) -> None:
    writer = csv.DictWriter(file, [field.name for field in fields(PredictionRecord)])
    if header:
        writer.writeheader()
    writer.writerows(asdict(record) for record in records)


def _readable(path: Path) -> bool:
    try:
        read_image(path)
    except PgpisError:
        return False
    return True
