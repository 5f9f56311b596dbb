"""Drawing in units, each once: a unit's record is written last, and says that all its files are there."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pgpis.errors import PgpisError
from pgpis.files import TEMPORARY, locked, write_bytes
from pgpis.jobs import Failure, Unit, run_units
from pgpis.synth.files.formats import Files, json_line

JOB = "job.json"
FORMAT = 1
"""Raised when the same options draw other bytes: a folder is never continued by another format."""
LATER = {"inpaint": "exact", "look": "drawn", "misaligned": 0.0}
"""Options that are newer than the format, and what folders that do not name them were made with."""

UNNAMED = ("manifest",)
"""Options that are newer too; folders that do not name them are taken for what is asked for."""


class RecordedUnit(Unit, Protocol):
    """A unit of work with a record."""

    @property
    def record(self) -> str:
        """Name of its record below the folder."""


U = TypeVar("U", bound=RecordedUnit)
Draw = Callable[[Files, U], Mapping[str, Any]]
"""Writes a unit's files and returns what its record holds besides their names; importable by another process."""


@dataclass(frozen=True)
class Report:
    """What a run did."""

    drawn: int
    """Units that this run drew."""
    kept: int
    """Units that were there already."""
    failures: tuple[Failure, ...]
    pictures: int = 0
    """Pictures that the lists name now."""


@contextmanager
def drawn_units(
    out: Path, options: Mapping[str, Any], units: Sequence[U], draw: Draw[U], workers: int, *, growing: str
) -> Iterator[Report]:
    """Draw the units that are missing in a folder, and keep it locked for the lists over all of them.

    Args:
        out: The folder; where it was begun with other options it is refused.
        options: What determines its files; kept in ``job.json``.
        units: All units, in order.
        draw: Draws one.
        workers: Number of processes; the files do not depend on it.
        growing: The option that may be larger than before.

    Raises:
        PgpisError: The folder cannot be written or was begun with other options, or a worker was ended.
    """
    with locked(out):
        _open_folder(out, json.loads(json.dumps({"format": FORMAT, **options})), growing)
        missing = [unit for unit in units if not _is_done(out, out / unit.record)]
        failures = run_units(missing, functools.partial(draw_unit, draw, out), workers)
        yield Report(len(missing) - len(failures), len(units) - len(missing), tuple(failures))


def draw_unit(draw: Draw[U], out: Path, unit: U) -> None:
    """Draw one unit and write its record."""
    record = out / unit.record
    record.unlink(missing_ok=True)
    files = Files(out)
    content = draw(files, unit)
    write_bytes(record, json_line({"files": files.names, **content}))


def _is_done(out: Path, record: Path) -> bool:
    try:
        files = json.loads(record.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all((out / name).is_file() for name in files)


def _open_folder(out: Path, options: dict[str, Any], growing: str) -> None:
    """Begin a locked folder, or go on with one that was begun with the same options."""
    path = out / JOB
    for unfinished in out.rglob(f"{TEMPORARY}*"):  # of a run that was killed
        unfinished.unlink(missing_ok=True)
    hint = "choose another folder with --out, or delete this one"
    try:
        begun_with = {**LATER, **json.loads(path.read_bytes())} if path.is_file() else options
    except (OSError, ValueError, TypeError) as error:
        raise PgpisError(f"cannot read {path}: {error}", hint=hint) from error
    begun_with = {**{name: options[name] for name in UNNAMED if name in options}, **begun_with}
    if strange := sorted(options.keys() - begun_with.keys()):
        message = f"{out} was begun by another command: its {JOB} has no '{strange[0]}'"
        raise PgpisError(message, hint="choose another folder with --out")
    for name, value in options.items():
        before = begun_with[name]
        if before == value or (name == growing and isinstance(before, int) and before < value):
            continue
        spelling = f"--{name.replace('_', '-')}" if name not in ("format", *UNNAMED) else name
        raise PgpisError(f"{out} was begun with {spelling} {_shown(before)}, not {_shown(value)}", hint=hint)
    write_bytes(path, json_line(options))


def _shown(value: Any) -> str:
    """Spell an option as it is given: height x width, or words."""
    if not isinstance(value, list):
        return str(value)
    return ("x" if all(isinstance(each, int) for each in value) else " ").join(map(str, value))
