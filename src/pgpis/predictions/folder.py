"""The folder of a prediction: writes its pictures, knows which are there already, and keeps their table."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from PIL import Image

from pgpis.batch import PairBatch
from pgpis.errors import PgpisError
from pgpis.files import file_name, remove_unfinished, resolved, write_text
from pgpis.pictures.images import read_image, save_image, tensor_to_images
from pgpis.pictures.sheet import CONTACT_SHEET
from pgpis.predictions.again import MarkedPicture
from pgpis.predictions.differences import told_differences
from pgpis.predictions.marks import WEIGHTS, Mark, save_marked
from pgpis.predictions.records import (
    DONE,
    PARTS,
    TABLE,
    Prediction,
    PredictionRecord,
    append_records,
    read_records,
    set_aside,
    write_table,
)
from pgpis.predictions.sheet import draw_contact_sheet
from pgpis.refusals import meets_every_file

log = logging.getLogger(__name__)

SETTINGS = "settings.json"
MANY = 10_000
"""Pictures that take some seconds to look at."""
INFORMATION = ("pipeline", "ckpt_path")
"""Settings that are noted and not compared: what the weights hold decides, not where they lie."""


class PredictionFolder:
    """Pictures, the settings that they were made with, and one record per picture.

    While a job runs, records are added to tables under ``.parts``; at the end they are merged into ``predictions.csv``,
    and so they are by the next run after an interruption.

    Args:
        out: Folder to write to.
        settings: What determines the pictures beside the pair; a folder made with other settings is refused.
        like: A marked picture that is made again; results are compared with it.
        no_mark: Write pictures without their marks.
    """

    def __init__(
        self, out: str | Path, settings: Mapping[str, Any], *, like: str | Path | None = None, no_mark: bool = False
    ) -> None:
        self.out = Path(out)
        self.like = None if like is None else MarkedPicture.read(Path(like))
        self.no_mark = no_mark
        own = {"no_mark": True} if no_mark else {}  # folders of earlier versions know nothing of marks
        self.settings: dict[str, Any] = json.loads(json.dumps({**settings, **own}, sort_keys=True, default=str))
        self._refuse_other_settings(apart_from=WEIGHTS)  # which are known when a run begins
        self.digest = ""
        """Hash of settings and weights."""

    def _refuse_other_settings(self, apart_from: str | None = None) -> None:
        """Refuse what was set before and is not now, as well as what is set now and was not, or otherwise.

        Args:
            apart_from: How the names of settings begin that are not compared.
        """
        before = self._settings_before()
        if before is None:
            return
        changes = [
            key
            for key in {*before, *self.settings} - {*INFORMATION}
            if before.get(key) != self.settings.get(key) and not (apart_from and key.startswith(apart_from))
        ]
        if changes:
            raise PgpisError(
                f"{self.out} holds {told_differences(before, self.settings, changes)}",
                hint="give another --out, or remove that folder",
            )

    def refuse_inputs_among_results(self, files: Iterable[Path]) -> None:
        """Refuse files that lie where results are written: the next run would take results for them.

        Raises:
            PgpisError: There is one; names it.
        """
        places = {resolved(folder) for folder in (self.out, self.out / "poses", self.out / "videos")}
        for parent, file in {file.parent: file for file in files}.items():
            if resolved(parent) in places:
                raise PgpisError(
                    f"{file} lies in {parent}, where results are written: they would be taken for sources or poses",
                    hint="give another --out",
                )

    def _settings_before(self) -> dict[str, Any] | None:
        """Return the settings of earlier runs; None: there are none that can be read."""
        try:
            content = json.loads((self.out / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    def begin(self, weights: Mapping[str, str], fingerprint_of: Callable[[str], str | None]) -> set[str]:
        """Find out which pairs are done, and remove what is no longer true.

        Args:
            weights: What identifies the model's parts.
            fingerprint_of: Returns the fingerprint of a pair's files by its id, empty where they cannot be read; None
                where there is no such pair.

        Returns:
            The pairs whose pictures are there, and were made of the same files, weights and settings.

        Raises:
            PgpisError: The folder holds pictures of other weights, or cannot be written to.
        """
        self.settings |= {f"{WEIGHTS}{part}": digest for part, digest in weights.items()}
        self._refuse_other_settings()
        compared = {key: value for key, value in self.settings.items() if key not in INFORMATION}
        self.digest = hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()
        finished = self._close_last_run(fingerprint_of)
        write_text(self.out / SETTINGS, json.dumps(self.settings, indent=1))
        return finished

    def _close_last_run(self, fingerprint_of: Callable[[str], str | None]) -> set[str]:
        """Merge what an earlier run left, and remove pictures of files that have changed since."""
        if (self.out / SETTINGS).exists() and self._settings_before() is None:
            set_aside(self.out / SETTINGS, "it does not hold settings")
        for folder in (self.out, self.out / "poses", self.out / "videos"):
            remove_unfinished(folder)
        records, damaged = read_records(self.out)
        pictured = {record.pair_id for record in records if record.status == DONE}
        records = [record for record in records if record.status == DONE or record.pair_id not in pictured]
        for path in damaged:
            set_aside(path, "some of its lines cannot be read, and their pictures are made again")
        if len(records) > MANY:
            log.info("%s: looking at the %d pictures of earlier runs", self.out, len(records))
        finished, again, idle = set[str](), set[str](), set[str]()
        changed = 0
        for pair_id, group in groupby(records, attrgetter("pair_id")):
            rows, fingerprint = list(group), fingerprint_of(pair_id)
            if fingerprint is None:
                idle.add(pair_id)
                continue
            if any(row.status != DONE for row in rows):
                continue
            made_of_these = all(row.fingerprint == self._combined(fingerprint) for row in rows)
            if not fingerprint:  # the pair fails this time, and is done when its files are back
                continue
            changed += not made_of_these
            is_complete = len(rows) >= int(self.settings["images_per_pair"])
            if made_of_these and is_complete and all(_is_whole(self.out / row.image) for row in rows):
                finished.add(pair_id)
                continue
            again.add(pair_id)
            for row in rows:
                (self.out / row.image).unlink(missing_ok=True)
        # nothing would ever replace a failure of what is no longer asked for
        kept = [record for record in records if record.status == DONE or record.pair_id not in idle]
        self._write_table([record for record in kept if record.pair_id not in again])
        if finished:
            log.info("%s: %d pairs are done, going on with the rest", self.out, len(finished))
        if changed:
            log.warning("%s: the files of %d pairs have changed since; they are made again", self.out, changed)
        return finished

    def _combined(self, fingerprint: str) -> str:
        """Return the hash of a pair's files, the weights and the settings; empty where the files cannot be read."""
        return hashlib.sha256(f"{self.digest} {fingerprint}".encode()).hexdigest()[:32] if fingerprint else ""

    def write(self, predictions: Iterable[Prediction], batch: PairBatch) -> list[PredictionRecord]:
        """Write the pictures of one batch; a pair that cannot be written fails.

        Returns:
            What is to be added to the table; see :meth:`add`.
        """
        poses = dict(zip(batch["pair_id"], tensor_to_images(batch["pose_image"]), strict=True))
        pairs: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            pairs.setdefault(prediction.record.pair_id, []).append(prediction)
        return [record for pair_id, items in pairs.items() for record in self._write(items, poses.get(pair_id))]

    def add(self, records: Sequence[PredictionRecord], part: int = 0) -> None:
        """Add records to the table of one of the processes that do so."""
        if records:
            append_records(self.out / PARTS / f"rank{part}.csv", records)

    def close(self) -> None:
        """Merge the records of all processes."""
        self._write_table(read_records(self.out)[0])

    def _write(self, items: Sequence[Prediction], pose: Image.Image | None) -> list[PredictionRecord]:
        try:
            if pose is not None:
                save_image(pose, self.pose_picture(items[0].record.pair_id))
            for item in items:
                if item.image is not None:
                    self._save(item.image, self.out / item.record.image, item.mark)
        except Exception as error:
            if meets_every_file(error):
                raise
            log.warning("%s: %s", items[0].record.pair_id, error)
            return [replace(items[0].record, image="", status=str(error))]
        return [
            replace(item.record, fingerprint=self._combined(item.record.fingerprint) if item.image is not None else "")
            for item in items
        ]

    def _save(self, image: Image.Image, path: Path, mark: Mark | None) -> None:
        mark = mark and mark.filled(self.settings)
        mark = self.like.completed(mark) if self.like and mark else mark
        if mark is None or self.no_mark:
            save_image(image, path)
        else:
            save_marked(image, path, mark)
        if self.like and mark:
            self.like.compare(path, mark)

    def pose_picture(self, pair_id: str) -> Path:
        """Return where the drawn pose of a pair lies."""
        return self.out / "poses" / file_name(pair_id, ".png")

    def _write_table(self, records: Sequence[PredictionRecord]) -> None:
        """Write ``predictions.csv``, then drop the parts."""
        if records or (self.out / TABLE).exists():
            write_table(self.out / TABLE, records)
        for part in (self.out / PARTS).glob("*.csv"):
            part.unlink()
        with suppress(OSError):  # there is none, or something else lies in it
            (self.out / PARTS).rmdir()

    def summarise(self, read_source: Callable[[Path], Image.Image] = read_image) -> bool:
        """Draw the contact sheet, list failures; return whether there are none.

        Args:
            read_source: Reads a source, which may be in a pack.
        """
        records = read_records(self.out)[0]
        done = [record for record in records if record.status == DONE]
        failed = [record for record in records if record.status != DONE]
        pairs = groupby(sorted(done, key=attrgetter("pair_id")), attrgetter("pair_id"))
        rows = (self._sheet_row(pair_id, list(group)) for pair_id, group in pairs)  # the sheet takes the first ones
        try:
            draw_contact_sheet(rows, self.out / CONTACT_SHEET, read_source)
        except Exception as error:  # noqa: BLE001  it only shows the results, which are all there
            log.warning("no contact sheet: %s", error)
        log.info("%d pictures in %s (predictions.csv, contact_sheet.jpg)", len(done), self.out)
        for record in failed[:20]:
            log.error("failed: %s: %s", record.pair_id, record.status)
        if failed:
            pairs_failed, pairs_all = (len({record.pair_id for record in some}) for some in (failed, records))
            log.error("%d of %d pairs failed; all are in %s", pairs_failed, pairs_all, self.out / TABLE)
        return not failed

    def _sheet_row(self, pair_id: str, records: Sequence[PredictionRecord]) -> list[Path]:
        results = [self.out / record.image for record in records]
        return [Path(records[0].source), self.pose_picture(pair_id), *results]


def _is_whole(path: Path) -> bool:
    """Whether a picture is there with all its bytes, by their checksums: to decode it takes ten times as long."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except Exception:  # noqa: BLE001  libraries raise anything on odd files, and this one is made again
        return False
    return True
