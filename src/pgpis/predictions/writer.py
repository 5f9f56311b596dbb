"""Writes what ``pgpis predict`` makes, knows what is done already, and stops where nothing is lost."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from pgpis.batch import PairBatch
from pgpis.errors import PgpisError
from pgpis.files import file_name, meets_every_file, remove_unfinished, write_text
from pgpis.interrupts import Stopped, StopRequest, held
from pgpis.pictures.images import read_image, save_image, tensor_to_images
from pgpis.predictions.again import MarkedPicture
from pgpis.predictions.marks import Mark, save_marked
from pgpis.predictions.records import (
    DONE,
    PARTS,
    TABLE,
    Prediction,
    PredictionRecord,
    append_records,
    read_records,
    set_aside,
    table_of,
)
from pgpis.predictions.sheet import draw_contact_sheet

log = logging.getLogger(__name__)

SETTINGS = "settings.json"
INFORMATION = ("pipeline", "ckpt_path")
"""Settings that are noted and not compared: what the weights hold decides, not where they lie."""
SECONDS_TO_STOP = 60.0
"""What the other processes have for their last batch."""


class PredictionWriter(BasePredictionWriter):
    """Writes each picture as soon as it is made, and one record per picture.

    Every process appends to a table of its own under ``.parts``; the main process merges them into
    ``predictions.csv`` at the end, and so does the next run after an interruption. Ctrl-C and SIGTERM wait for the
    pictures of the batch in hand.

    Args:
        out: Folder to write to.
        settings: What determines the pictures beside the pair; a folder made with other settings is refused.
        like: A marked picture that is made again; results are compared with it.
        no_mark: Write pictures without their marks.
    """

    def __init__(
        self, out: str | Path, settings: Mapping[str, Any], *, like: str | Path | None = None, no_mark: bool = False
    ) -> None:
        super().__init__(write_interval="batch")
        self.out = Path(out)
        self.like = None if like is None else MarkedPicture.read(Path(like))
        self.no_mark = no_mark
        own = {"no_mark": True} if no_mark else {}  # folders of earlier versions know nothing of marks
        self.settings: dict[str, Any] = json.loads(json.dumps({**settings, **own}, sort_keys=True, default=str))
        self._refuse_other_settings()
        self._digest = ""
        self._stack = ExitStack()
        self._request = StopRequest()

    def _refuse_other_settings(self) -> None:
        before = self._settings_before()
        changes = [
            f"{key}={before.get(key)}, now {key}={value}"
            for key, value in sorted(self.settings.items())
            if before is not None and key not in INFORMATION and before.get(key) != value
        ]
        if changes:
            raise PgpisError(
                f"{self.out} holds pictures made with {'; '.join(changes)}",
                hint="give another --out, or remove that folder",
            )

    def refuse_inputs_among_results(self, files: Iterable[Path]) -> None:
        """Refuse files that lie where results are written: the next run would take results for them.

        Raises:
            PgpisError: There is one; names it.
        """
        places = {folder.resolve() for folder in (self.out, self.out / "poses", self.out / "videos")}
        for parent, file in {file.parent: file for file in files}.items():
            if parent.resolve() in places:
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

    def begin(
        self, trainer: Trainer, weights: Callable[[], Mapping[str, str]], fingerprint_of: Callable[[str], str | None]
    ) -> set[str]:
        """Find out which pairs are done, and remove what is no longer true; collective.

        Args:
            trainer: The trainer.
            weights: Returns what identifies the model's parts; called once the weights are loaded.
            fingerprint_of: Returns the fingerprint of a pair's files by its id, empty where they cannot be read; None
                where there is no such pair.

        Returns:
            The pairs whose pictures are there, and were made of the same files, weights and settings.

        Raises:
            PgpisError: The folder holds pictures of other weights, or cannot be written to.
        """
        finished: set[str] = set()
        if trainer.is_global_zero:
            self.settings |= {f"weights of {part}": digest for part, digest in weights().items()}
            self._refuse_other_settings()
            compared = {key: value for key, value in self.settings.items() if key not in INFORMATION}
            self._digest = hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()
            finished = self._close_last_run(fingerprint_of)
            write_text(self.out / SETTINGS, json.dumps(self.settings, indent=1))
        self.settings, self._digest, finished = trainer.strategy.broadcast((self.settings, self._digest, finished))
        return finished

    def _close_last_run(self, fingerprint_of: Callable[[str], str | None]) -> set[str]:
        """Merge what an earlier run left, and remove pictures of files that have changed since."""
        if (self.out / SETTINGS).exists() and self._settings_before() is None:
            set_aside(self.out / SETTINGS, "it does not hold settings")
        for folder in (self.out, self.out / "poses", self.out / "videos"):
            remove_unfinished(folder)
        records, damaged = read_records(self.out)
        for path in damaged:
            set_aside(path, "some of its lines cannot be read, and their pictures are made again")
        pairs: dict[str, list[PredictionRecord]] = {}
        for record in records:
            pairs.setdefault(record.pair_id, []).append(record)
        finished = set()
        changed = 0
        for pair_id, rows in pairs.items():
            fingerprint = fingerprint_of(pair_id)
            if fingerprint is None or any(row.status != DONE for row in rows):
                continue
            made_of_these = all(row.fingerprint == self._combined(fingerprint) for row in rows)
            changed += not made_of_these
            is_complete = len(rows) >= int(self.settings["images_per_pair"])
            if made_of_these and is_complete and all(_readable(self.out / row.image) for row in rows):
                finished.add(pair_id)
                continue
            records = [record for record in records if record.pair_id != pair_id]
            for row in rows:
                (self.out / row.image).unlink(missing_ok=True)
        self._write_table(records)
        if finished:
            log.info("%s: %d pairs are done, going on with the rest", self.out, len(finished))
        if changed:
            log.warning("%s: the files of %d pairs have changed since; they are made again", self.out, changed)
        return finished

    def _combined(self, fingerprint: str) -> str:
        """Return the hash of a pair's files, the weights and the settings; empty where the files cannot be read."""
        return hashlib.sha256(f"{self._digest} {fingerprint}".encode()).hexdigest()[:32] if fingerprint else ""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait for the batch in hand."""
        self._request = self._stack.enter_context(held())

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
        """Write the pictures of one batch, then their records; a pair that cannot be written fails."""
        poses = dict(zip(batch["pair_id"], tensor_to_images(batch["pose_image"]), strict=True))
        pairs: dict[str, list[Prediction]] = {}
        for item in prediction:
            pairs.setdefault(item.record.pair_id, []).append(item)
        records = [record for pair_id, items in pairs.items() for record in self._write(items, poses.get(pair_id))]
        if records:
            append_records(self.out / PARTS / f"rank{trainer.global_rank}.csv", records)
        self._request.obey()

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

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the records of all processes."""
        self._stack.close()
        trainer.strategy.barrier("predictions written")
        if trainer.is_global_zero:
            self._write_table(read_records(self.out)[0])

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the other processes along; what was asked for by signal is not a failure.

        Raises:
            Stopped: A signal came, which may have ended a process that loads pairs.
        """
        self._stack.close()
        launcher = trainer.strategy.launcher
        if launcher is not None and trainer.is_global_zero:
            if isinstance(exception, Stopped):
                launcher.kill(signal.SIGTERM)
                _wait_for(getattr(launcher, "procs", ()))
            launcher.kill(signal.SIGKILL)
        if isinstance(exception, Exception) and self._request.signum is not None:
            raise Stopped(self._request.signum) from exception

    def _write_table(self, records: Sequence[PredictionRecord]) -> None:
        """Write ``predictions.csv``, then drop the parts."""
        if records or (self.out / TABLE).exists():
            write_text(self.out / TABLE, table_of(sorted(records, key=lambda record: (record.pair_id, record.image))))
        for part in (self.out / PARTS).glob("*.csv"):
            part.unlink()
        with suppress(OSError):  # there is none, or something else lies in it
            (self.out / PARTS).rmdir()

    def summarise(self) -> bool:
        """Draw the contact sheet, list failures; return whether there are none."""
        records = read_records(self.out)[0]
        done = [record for record in records if record.status == DONE]
        failed = [record for record in records if record.status != DONE]
        rows: dict[str, list[Path]] = {}
        for record in done:
            first = [Path(record.source), self.pose_picture(record.pair_id)]
            rows.setdefault(record.pair_id, first).append(self.out / record.image)
        try:
            draw_contact_sheet([row for _, row in sorted(rows.items())], self.out / "contact_sheet.jpg")
        except Exception as error:  # noqa: BLE001  it only shows the results, which are all there
            log.warning("no contact sheet: %s", error)
        log.info("%d pictures in %s (predictions.csv, contact_sheet.jpg)", len(done), self.out)
        for record in failed[:20]:
            log.error("failed: %s: %s", record.pair_id, record.status)
        if failed:
            log.error("%d of %d pairs failed; all are in %s", len(failed), len(records), self.out / TABLE)
        return not failed


def _wait_for(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + SECONDS_TO_STOP
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def _readable(path: Path) -> bool:
    try:
        read_image(path)
    except (PgpisError, OSError):
        return False
    return True
