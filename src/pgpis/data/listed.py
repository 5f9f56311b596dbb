"""What a user lists: sources, poses, targets and edits, each once, and which of them are pairs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pgpis.data.edits import EditRequest, merged
from pgpis.data.pair_table import PairTable, read_table
from pgpis.data.picture_store import picture_exists
from pgpis.data.tables import EDIT_SEPARATOR, SOURCES
from pgpis.data.user_files import find_file, folders_of
from pgpis.errors import PgpisError
from pgpis.pictures.images import IMAGE_SUFFIXES

POSE_SUFFIXES = (".txt", ".json", ".npy", *IMAGE_SUFFIXES)
FILES = (*SOURCES, "pose", "target")
"""Columns that name files of a pair."""
SourceT = TypeVar("SourceT")
AimT = TypeVar("AimT")
EditT = TypeVar("EditT")


@dataclass(frozen=True)
class Listed:
    """Pairs as numbers: a million of a thousand sources and poses take as many numbers, and no object for each."""

    sources: Sequence[tuple[Path, ...]]
    """Pictures of each person, the first one first."""
    aims: Sequence[tuple[Path, Path | None]]
    """Poses, each with a target picture or with none."""
    pairs: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
    """For each pair the positions of its sources, aim and edit, each ``(N,)``."""
    edits: Sequence[EditRequest | None] = (None,)

    def zipped(
        self, sources: Sequence[SourceT], aims: Sequence[AimT], edits: Sequence[EditT]
    ) -> Iterator[tuple[SourceT, AimT, EditT]]:
        """Yield for each pair what was made of its sources, aim and edit."""
        # as memory, numbers become objects one at a time and not by the million
        source, aim, edit = (np.ascontiguousarray(numbers).data for numbers in self.pairs)
        return zip(
            map(sources.__getitem__, source),
            map(aims.__getitem__, aim),
            map(edits.__getitem__, edit),
            strict=True,
        )


def every_combination(sources: Sequence[tuple[Path, ...]], poses: Sequence[Path]) -> Listed:
    """Pair every source with every pose."""
    return _listed(sources, poses, np.indices((len(sources), len(poses))).reshape(2, -1))


def one_by_one(sources: Sequence[tuple[Path, ...]], poses: Sequence[Path]) -> Listed:
    """Pair sources and poses as they stand beside each other."""
    return _listed(sources, poses, np.tile(np.arange(len(sources)), (2, 1)))


def _listed(sources: Sequence[tuple[Path, ...]], poses: Sequence[Path], numbers: NDArray[np.int64]) -> Listed:
    """Return pairs by the numbers of their sources and poses, ``(2, N)``, without targets and edits."""
    source, pose = numbers.astype(np.int32)
    return Listed(sources, [(pose, None) for pose in poses], (source, pose, np.zeros_like(source)))


def listed_in_table(
    path: Path,
    sources: Path,
    poses: Path,
    everywhere: EditRequest | None = None,
    pose_suffixes: Sequence[str] = POSE_SUFFIXES,
) -> Listed:
    """Read a table of pairs; its names are looked up in the folders, then beside the table.

    Args:
        path: The table.
        sources: Folder of pictures of people.
        poses: Folder of poses.
        everywhere: What is exchanged in all pairs that do not say otherwise.
        pose_suffixes: Of files that can be poses.

    Raises:
        PgpisError: A pair or one of its sources is named twice, a file has another suffix than it must have, or no pair
            exists.
    """
    table = read_table(path)
    places = {column: folders_of([poses if column == "pose" else sources, path.parent]) for column in FILES}
    files = {
        column: [find_file(name, places[column]) if name else None for name in table.names[column]]
        for column in FILES
        if column in table.names
    }
    _refuse_suffixes(table, files, pose_suffixes)
    people, person = table.groups([column for column in SOURCES if column in files])
    aims, aim = table.groups([column for column in ("pose", "target") if column in files])
    requests, request = table.groups([column for column in ("identity", "clothes") if column in table.names])
    pictures = [tuple(file for column, code in group if (file := files[column][code]) is not None) for group in people]
    _refuse_sources_twice(table, pictures, person)
    own = [_request({column: table.names[column][code] for column, code in group}) for group in requests]
    edits = [merged(request, everywhere) for request in own]
    _refuse_repeated(
        table,
        (
            _by_value(pictures)[person],
            _by_value(files["pose"])[table.codes["pose"]],
            _by_value([edit and edit.of_files for edit in edits])[request],
        ),
    )
    return _with_existing(
        path,
        Listed(
            pictures,
            [_aim(*(files[column][code] for column, code in group)) for group in aims],
            (person, aim, request),
            edits,
        ),
    )


def _by_value(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Return a number for each value, equal ones for equal values: a file may be spelt in several ways."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _aim(pose: Path | None, target: Path | None = None) -> tuple[Path, Path | None]:
    assert pose is not None  # a line without is refused
    return pose, target


def _request(fields: dict[str, str]) -> EditRequest | None:
    clothes = [word for word in fields.get("clothes", "").split(EDIT_SEPARATOR) if word.strip()]
    return EditRequest.parse(fields.get("identity"), clothes)


def _refuse_suffixes(table: PairTable, files: dict[str, list[Path | None]], pose_suffixes: Sequence[str]) -> None:
    """Refuse sources and poses that no file of theirs can be; the first one in the table is named."""
    wrong = []
    for column in (*SOURCES, "pose"):
        usual = pose_suffixes if column == "pose" else IMAGE_SUFFIXES
        for code, file in enumerate(files.get(column, ())):
            if file is not None and file.suffix.lower() not in usual:
                line = table.lines[np.argmax(table.codes[column] == code)]
                wrong.append((int(line), f"'{file.name}' must end in one of {', '.join(usual)}"))
                break  # a column's fields are in the order of the table
    if wrong:
        line, what = min(wrong, key=itemgetter(0))
        raise PgpisError(f"{table.path} line {line}: {what}")


def _refuse_sources_twice(table: PairTable, people: list[tuple[Path, ...]], person: NDArray[np.int32]) -> None:
    """Refuse a picture that is two sources of one pair: the line surely was to name another."""
    for number, pictures in enumerate(people):
        if len(set(pictures)) < len(pictures):
            again = next(picture for picture in pictures if pictures.count(picture) > 1)
            line = table.lines[np.argmax(person == number)]
            raise PgpisError(
                f"{table.path} line {line}: '{again.name}' is two sources of one pair",
                hint="name another picture of the person, or leave the column empty",
            )


def _refuse_repeated(table: PairTable, columns: tuple[NDArray[np.int64], ...]) -> None:
    order = np.lexsort(columns)  # rows that are the same stay in their order
    is_same = np.ones(len(order) - 1, bool)
    for column in columns:
        ordered = column[order]
        is_same &= ordered[1:] == ordered[:-1]
    if is_same.any():
        again, before = min(zip(order[1:][is_same].tolist(), order[:-1][is_same].tolist(), strict=True))
        named = ", ".join(table.names[column][table.codes[column][again]] for column in ("source", "pose"))
        lines = f"lines {table.lines[before]} and {table.lines[again]}"
        raise PgpisError(f"{table.path}: {lines} name the same pair {named}")


def _with_existing(path: Path, listed: Listed) -> Listed:
    """Return what is listed, of which at least one pair must be there."""
    exists = cache(picture_exists)
    rows = listed.zipped(listed.sources, listed.aims, listed.edits)
    if not any(exists(sources[0]) and exists(pose) for sources, (pose, _), _ in rows):
        (source, *_), (pose, _) = listed.sources[0], listed.aims[0]
        message = f"{path}: none of its pairs exists; the first one would be {source} and {pose}"
        raise PgpisError(message, hint="names are relative to the folders of sources and poses, or to the table")
    return listed
