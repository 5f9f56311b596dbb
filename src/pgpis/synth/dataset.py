"""Data sets of synthetic people: which units there are, what is done already, and the lists over all of them."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pgpis.errors import PgpisError, check_range
from pgpis.files import TEMPORARY, locked, writing
from pgpis.jobs import Failure, run_units
from pgpis.synth import deepfashion, phoenix
from pgpis.synth.files import json_line, write_json
from pgpis.synth.manifest import MANIFEST, Entry

JOB = "job.json"
FORMAT = 1
"""Raised when the same options draw other bytes: a data set is never continued by another format."""
FOLDERS = {"person": "people", "signer": "signers"}
MOST_VIEWS = 100
"""A kind of view comes at most twice in eight, and an item's number has two digits."""
MOST_TEST_SHARE = 0.5


@dataclass(frozen=True)
class Unit:
    """All pictures of a person (``person``), or a signer's sequence (``signer``)."""

    kind: Literal["person", "signer"]
    index: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.kind} {self.index}"


@dataclass(frozen=True)
class DatasetOptions:
    """What a data set is made of; the same options give the same bytes.

    Args:
        people: Number of people; in the phoenix layout, of signers with a sequence each.
        views: Pictures a person in the deepfashion layout.
        size: Their height and width; frames of the phoenix layout are always 260 x 210.
        layout: Which layouts are written.
        seed: Seed of everything.
        frames: Length of a signer's sequence.
        test_share: Share of the people that only the test lists hold; in the phoenix layout half of them are in dev.
        hidden_points: Which hidden points the ``pose`` files give, see :func:`deepfashion.openpose_keypoints`.
        textures: Which textures MCLD's layout gets: ``exact`` the person's whole one, ``seen`` what the picture shows,
            made by the published procedure (half a second each), or ``none``.

    Raises:
        PgpisError: A value is out of range.
    """

    people: int
    views: int = 5
    size: tuple[int, int] = (256, 176)
    layout: Literal["deepfashion", "phoenix", "both"] = "deepfashion"
    seed: int = 0
    frames: int = 32
    test_share: float = 0.2
    hidden_points: deepfashion.HiddenPoints = "limbs"
    textures: deepfashion.Textures = "exact"

    def __post_init__(self) -> None:
        ranges = {
            "people": (self.people, 2, 10**6),
            "views": (self.views, 2, MOST_VIEWS),
            "frames": (self.frames, 1, 9999),
            "seed": (self.seed, 0, 2**32 - 1),
        }
        for name, (value, least, most) in ranges.items():
            check_range(f"--{name}", value, least, most, whole=True)
        if not 0 < self.test_share <= MOST_TEST_SHARE:
            raise PgpisError(f"--test-share {self.test_share}: expected a share above 0, up to {MOST_TEST_SHARE}")

    def units(self) -> list[Unit]:
        """Return everything that is to be drawn, people first."""
        units = []
        if self.layout in ("deepfashion", "both"):
            units += [Unit("person", index, self.views) for index in range(self.people)]
        if self.layout in ("phoenix", "both"):
            units += [Unit("signer", index, self.frames) for index in range(self.people)]
        return units

    def split(self, unit: Unit) -> str:
        """Return the list that a person belongs to; it does not change when people are added.

        Person 0 is in test; in the phoenix layout signer 1 is in dev.
        """
        if unit.kind == "person":
            return "test" if _chosen(unit.index, self.test_share) else "train"
        if _chosen(unit.index, self.test_share / 2):
            return "test"
        return "dev" if _chosen(unit.index - 1, self.test_share / 2) else "train"


def _chosen(index: int, share: float) -> bool:
    """Choose a share of the numbers 0, 1, 2, … evenly, 0 among them."""
    return index >= 0 and math.ceil(round((index + 1) * share, 9)) > math.ceil(round(index * share, 9))


@dataclass(frozen=True)
class DatasetReport:
    """What a run did."""

    drawn: int
    """Units that this run drew."""
    kept: int
    """Units that were there already."""
    pictures: int
    """Pictures that the manifest names now."""
    failures: tuple[Failure, ...]


def make_dataset(out: Path, options: DatasetOptions, workers: int = 1) -> DatasetReport:
    """Write a data set, or what is missing of it.

    Args:
        out: Its folder.
        options: What it is made of. A folder begun with fewer people is extended; other options are refused.
        workers: Number of processes; the files do not depend on it.

    Raises:
        PgpisError: The folder cannot be written or was begun with other options, or a worker was ended.
    """
    if options.textures != "none" and options.layout != "phoenix":
        deepfashion.texture_mapper()  # tells what is missing before any process starts
    units = options.units()
    with locked(out):
        open_folder(out, {"format": FORMAT, **asdict(options)}, growing="people")
        missing = [unit for unit in units if not is_done(out, record_path(out, unit))]
        failures = run_units(missing, functools.partial(make_unit, out, options), workers)
        pictures = write_lists(out, options, units)
    return DatasetReport(len(missing) - len(failures), len(units) - len(missing), pictures, tuple(failures))


def make_unit(out: Path, options: DatasetOptions, unit: Unit) -> None:
    """Draw one unit; its record is written last, and tells that it is done."""
    record_path(out, unit).unlink(missing_ok=True)
    split = options.split(unit)
    if unit.kind == "person":
        files, entries = deepfashion.write_person(
            out,
            options.seed,
            unit.index,
            options.views,
            options.size,
            split,
            options.hidden_points,
            textures=options.textures,
        )
    else:
        files, entries = phoenix.write_signer(out, options.seed, unit.index, options.frames, split)
    write_json(record_path(out, unit), {"files": files, "pictures": [entry.to_json() for entry in entries]})


def record_path(out: Path, unit: Unit) -> Path:
    """Return the file that tells that a unit is done."""
    return out / "manifest" / FOLDERS[unit.kind] / f"{unit.index:06d}.json"


def is_done(out: Path, record: Path) -> bool:
    """Say whether a record is whole and all files that it names are there."""
    try:
        files = json.loads(record.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all((out / name).is_file() for name in files)


def write_lists(out: Path, options: DatasetOptions, units: list[Unit]) -> int:
    """Write manifest and lists over all units that are done, in order; return the number of pictures."""
    done = [unit for unit in units if record_path(out, unit).is_file()]
    pictures = 0
    with writing(out / MANIFEST) as file:
        for unit in done:
            for entry in _entries(out, [unit]):
                file.write(json_line(entry.to_json()))
                pictures += 1
    if options.layout != "phoenix":
        deepfashion.write_lists(out, _entries(out, [unit for unit in done if unit.kind == "person"]))
    if options.layout != "deepfashion":
        phoenix.write_lists(out, _entries(out, [unit for unit in done if unit.kind == "signer"]))
    return pictures


def _entries(out: Path, units: list[Unit]) -> Iterator[Entry]:
    for unit in units:
        for value in json.loads(record_path(out, unit).read_bytes())["pictures"]:
            yield Entry.from_json(value)


def open_folder(out: Path, options: dict[str, Any], *, growing: str) -> None:
    """Begin a locked folder, or go on with one that was begun with the same options.

    Args:
        out: The folder.
        options: What determines its files; kept in ``job.json``.
        growing: The option that may be larger than before.

    Raises:
        PgpisError: It was begun with other options.
    """
    path = out / JOB
    options = json.loads(json.dumps(options))
    for unfinished in out.rglob(f"{TEMPORARY}*"):  # of a run that was killed
        unfinished.unlink(missing_ok=True)
    if path.is_file():
        _refuse_other_options(path, options, growing)
    write_json(path, options)


def _refuse_other_options(path: Path, options: dict[str, Any], growing: str) -> None:
    hint = "choose another folder with --out, or delete this one"
    try:
        found = json.loads(path.read_bytes())
        begun_with = {**found}
    except (OSError, ValueError, TypeError) as error:
        raise PgpisError(f"cannot read {path}: {error}", hint=hint) from error
    for name, value in options.items():
        before = begun_with.get(name)
        if before == value or (name == growing and isinstance(before, int) and before < value):
            continue
        spelling = f"--{name.replace('_', '-')}" if name != "format" else "format"
        raise PgpisError(f"{path.parent} was begun with {spelling} {_shown(before)}, not {_shown(value)}", hint=hint)


def _shown(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
