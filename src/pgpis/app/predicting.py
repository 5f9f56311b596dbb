"""``pgpis predict`` at work for a visitor: many pictures, or a film."""

from __future__ import annotations

import html
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pgpis.app.uploads import MOST_AT_ONCE
from pgpis.app.work import News, Tell, without_paths
from pgpis.errors import PgpisError, error_of

if TYPE_CHECKING:
    from pgpis.predictions import PredictionRecord  # loads torch

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_STOP = 30.0
LOG = "log.txt"
OUT = "pictures"


def check_at_once(pictures: int) -> None:
    """Refuse more than one visitor may have made at once.

    Raises:
        PgpisError: They are too many.
    """
    if pictures > MOST_AT_ONCE:
        raise PgpisError(f"{pictures} pictures are more than the {MOST_AT_ONCE} that this page makes at once")


@dataclass(frozen=True)
class Made:
    """What ``pgpis predict`` made before it ended."""

    done: list[PredictionRecord]
    """Of each picture; there is at least one."""
    failed: list[PredictionRecord]
    """Of pairs that it could not make."""
    is_whole: bool
    """Whether it came to its end: each pair is done, or failed."""
    reason: str
    """What it said last of why it ended."""

    def ended_early(self, total: int) -> str:
        """Return how many of so many pictures are done, and why not all."""
        return f"{len(self.done)} of {total} pictures are done, then it ended: {self.reason}"


class Batches:
    """Lets one visitor at a time run ``pgpis predict``, which loads a model of its own."""

    def __init__(self) -> None:
        self._turn = Lock()

    def predict(self, words: Sequence[str], folder: Path, total: int, tell: Tell) -> Made:
        """Run ``pgpis predict`` in a folder, which writes into its folder ``OUT``, a table of its pictures in any case.

        Args:
            words: What it is given, with paths relative to ``folder``.
            folder: Of one visitor.
            total: How many pictures are expected.
            tell: Is told news.

        Raises:
            PgpisError: Nothing could be made; says why.
            StoppedError: The visitor asked for it, and the process has ended.
        """
        from pgpis.predictions.records import DONE, PARTS, TABLE, read_records, write_table  # loads torch

        while not self._turn.acquire(timeout=SECONDS_BETWEEN_LOOKS):
            tell(News("Waiting for another visitor's pictures"))
        try:
            code = _watched(words, folder, total, tell)
        finally:
            self._turn.release()
        out = folder / OUT
        records = read_records(out)[0]
        done = [record for record in records if record.status == DONE]
        failed = [record for record in records if record.status != DONE]
        if not done:
            raise error_of(next((record.status for record in failed), _reason(folder, code)))
        is_whole = not any((out / PARTS).glob("*.csv"))  # which it merges at its end
        if not is_whole:
            write_table(out / TABLE, records)
        return Made(done, failed, is_whole, _reason(folder, code))


def _watched(words: Sequence[str], folder: Path, total: int, tell: Tell) -> int:
    command = [sys.executable, "-m", "pgpis", "predict", *words, "--out", OUT]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        try:
            while process.poll() is None:
                done = sum(1 for _ in (folder / OUT).glob("*.png"))
                tell(News(f"{done} of {total} pictures are done" if done else "Starting", min(done / total, 1.0)))
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it finish the picture in hand, as it does for Ctrl-C."""
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(folder: Path, code: int) -> str:
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if line.startswith("pgpis: ")]
    errors = [line for line in told if line.startswith("pgpis: error: ")] or (told if code == 1 else [])
    if errors:  # visitors have no command that goes on
        return errors[-1].removeprefix("pgpis: ").removeprefix("error: ").partition("; this command goes on")[0]
    return f"pgpis predict ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"


def source_words(photos: Sequence[Path], folder: Path) -> list[str]:
    """Return what ``pgpis predict`` is told of the photos of a person; several are copied into a folder of theirs."""
    if len(photos) == 1:
        return ["--sources", str(photos[0])]
    person = folder / "people" / photos[0].stem
    person.mkdir(parents=True)
    for number, photo in enumerate(photos, 1):
        shutil.copyfile(photo, person / f"{number}{photo.suffix}")
    return ["--sources", "people", "--sources-by", "person"]


def as_status(text: str, folder: Path) -> str:
    """Return a status that may name files of a visitor, whose folder is not told, as HTML."""
    return f"<p>{html.escape(without_paths(text, folder), quote=False)}</p>"


def zipped(folder: Path, files: Sequence[Path]) -> Path:
    """Put files into a zip; pictures are compressed already."""
    path = folder / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
    return path
