"""``prepare.jsonl``: what became of each condition of each picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.preprocess.settings import CONDITIONS, Condition, Outcome, PictureFiles

NAME = "prepare.jsonl"

Key = tuple[str, Condition]


class Record:
    """The outcomes of all runs on a folder, the last one of each condition of each picture.

    Lines are added while a job runs, by its workers too, so that an interrupted one loses nothing; at the end the file
    is written anew, in order and without doubles. A line cut short by a kill is left out.

    Args:
        path: The file.

    Raises:
        PgpisError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[Key, Outcome] = {}
        if not path.is_file():
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise PgpisError(f"cannot read {path}: {error}", hint="remove it; it only lists what was done") from error
        for line in lines:
            outcome = _parse(line)
            if outcome is not None:
                self.outcomes[outcome.name, outcome.condition] = outcome

    def __enter__(self) -> Record:  # noqa: PYI034  typing.Self is of Python 3.11
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends a line that was cut short
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lines = (_line(self.outcomes[key]) for key in sorted(self.outcomes))
        write_text(self.path, "".join(lines))

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Add outcomes; each replaces the last one of the same condition of the same picture."""
        listed = list(outcomes)
        self.outcomes |= {(outcome.name, outcome.condition): outcome for outcome in listed}
        append(self.path, listed)

    def is_of_another_picture(self, file: PictureFiles, condition: Condition) -> bool:
        """Whether the last outcome is that of another picture of this name; one that is gone proves nothing."""
        outcome = self.outcomes.get((file.name, condition))
        return outcome is not None and "" not in (outcome.content, file.content) and outcome.content != file.content

    def nothing_found(self, name: str, condition: Condition) -> bool:
        """Whether an earlier run found that the picture shows no such thing."""
        outcome = self.outcomes.get((name, condition))
        return outcome is not None and not outcome.found


def append(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add lines; what several processes add at the same time does not mix."""
    text = "".join(_line(outcome) for outcome in outcomes)
    with path.open("ab", buffering=0) as file:
        file.write(text.encode())


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome), sort_keys=True) + "\n"


def _parse(line: str) -> Outcome | None:
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
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return outcome if outcome.condition in CONDITIONS else None
