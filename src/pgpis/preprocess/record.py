"""``prepare.jsonl``: what became of each condition of each picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from pgpis.data.picture_store import content_hash
from pgpis.data.prepared import RECORD, unreadable
from pgpis.errors import PgpisError
from pgpis.files import append_bytes, write_text
from pgpis.pictures.decoding import warn_once
from pgpis.pictures.kinds import prepared
from pgpis.preprocess.settings import Outcome, PictureFiles

NAME = RECORD


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
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        self.outcomes = _by_condition(outcome for outcome in map(_parse, lines) if outcome is not None)

    def __enter__(self) -> Record:  # noqa: PYI034  typing.Self is of Python 3.11
        append_bytes(self.path, b"\n")  # ends a line that was cut short
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(PgpisError) if error else nullcontext():  # what ended the job is told
            if error:  # workers have added what they had in hand, and nobody was left to hear of it
                self.outcomes |= Record(self.path).outcomes
            write_text(self.path, _lines(self.outcomes[key] for key in sorted(self.outcomes)))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes; each replaces the last one of the same condition of the same picture."""
        self.outcomes |= _by_condition(outcomes)
        append(self.path, outcomes)

    def is_of_another_picture(self, file: PictureFiles, condition: str) -> bool:
        """Whether the last outcome is that of another picture of this name; one that is gone proves nothing."""
        outcome = self.outcomes.get((file.name, condition))
        return outcome is not None and "" not in (outcome.content, file.content) and outcome.content != file.content

    def is_made_of_another_picture(self, file: PictureFiles, condition: str) -> bool:
        """Whether what is there was made of another picture; where the last run made no file, it is somebody else's."""
        outcome = self.outcomes.get((file.name, condition))
        return outcome is not None and outcome.reason is None and self.is_of_another_picture(file, condition)

    def tell_doubts(self, pictures: Iterable[Path], condition: str, options: str) -> None:
        """Warn, once, of what was made of pictures as they are now, with such options, and is uncertain.

        Args:
            pictures: Their paths are their names here.
            condition: What was made.
            options: See :attr:`Outcome.options`.
        """
        for picture in pictures:
            outcome = self.outcomes.get((str(picture), condition))
            if outcome is None or not outcome.doubt or outcome.options != options:
                continue
            if outcome.content == content_hash(picture):
                warn_once(f"{picture}: {condition} is uncertain: {outcome.doubt}")


def append(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add lines as :func:`append_bytes` does."""
    append_bytes(path, _lines(outcomes).encode())


def _by_condition(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Outcome]:
    return {(outcome.name, outcome.condition): outcome for outcome in outcomes}


def _lines(outcomes: Iterable[Outcome]) -> str:
    return "".join(json.dumps(asdict(outcome), sort_keys=True) + "\n" for outcome in outcomes)


def _parse(line: str) -> Outcome | None:
    """Read one line; None: it is damaged."""
    try:
        outcome = Outcome.parse(json.loads(line))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None
    return outcome if outcome.condition in prepared() else None
