"""``prepare.jsonl``: what became of each condition of each picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from pgpis.errors import PgpisError
from pgpis.files import append_bytes, write_text
from pgpis.pictures.kinds import prepared
from pgpis.preprocess.settings import Outcome, PictureFiles

NAME = "prepare.jsonl"


class Record:
    """The outcomes of all runs on a folder, the last one of each condition of each picture.

    Lines are added while a job runs, by its workers too, so that an interrupted one loses nothing; at the end the file
    is written anew, in order and without duplicates. A line cut short by a kill is left out.

    Args:
        path: The file.

    Raises:
        PgpisError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        except (OSError, ValueError) as error:
            raise PgpisError(f"cannot read {path}: {error}", hint="remove it; it only lists what was done") from error
        self._keep(outcome for outcome in map(_parse, lines) if outcome is not None)

    def __enter__(self) -> Record:  # noqa: PYI034  typing.Self is of Python 3.11
        append_bytes(self.path, b"\n")  # ends a line that was cut short
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            write_text(self.path, _lines(self.outcomes[key] for key in sorted(self.outcomes)))
        except PgpisError:
            if error is None:  # else what ended the job is told
                raise

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add outcomes; each replaces the last one of the same condition of the same picture."""
        listed = list(outcomes)
        self._keep(listed)
        append(self.path, listed)

    def _keep(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes |= {(outcome.name, outcome.condition): outcome for outcome in outcomes}

    def is_of_another_picture(self, file: PictureFiles, condition: str) -> bool:
        """Whether the last outcome is that of another picture of this name; one that is gone proves nothing."""
        outcome = self.outcomes.get((file.name, condition))
        return outcome is not None and "" not in (outcome.content, file.content) and outcome.content != file.content

    def nothing_found(self, name: str, condition: str) -> bool:
        """Whether an earlier run found that the picture shows no such thing."""
        outcome = self.outcomes.get((name, condition))
        return outcome is not None and not outcome.found


def append(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add lines; what several processes add at the same time does not mix.

    Raises:
        PgpisError: The file cannot be written.
    """
    append_bytes(path, _lines(outcomes).encode())


def _lines(outcomes: Iterable[Outcome]) -> str:
    return "".join(json.dumps(asdict(outcome), sort_keys=True) + "\n" for outcome in outcomes)


def _parse(line: str) -> Outcome | None:
    """Read one line; None: it is damaged."""
    try:
        content = json.loads(line)
        box = content["box"]
        outcome = Outcome(
            str(content["name"]),
            content["condition"],
            content["reason"],
            bool(content["found"]),
            None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            str(content.get("content", "")),
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None
    return outcome if outcome.condition in prepared() else None
