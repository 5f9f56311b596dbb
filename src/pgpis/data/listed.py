"""What a user lists: sources, poses, targets and edits, each once, and which of them are pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pgpis.data.edits import EditRequest
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
PoseT = TypeVar("PoseT")
TargetT = TypeVar("TargetT")
EditT = TypeVar("EditT")


@dataclass(frozen=True)
class Listed:
    """Pairs as numbers: a million of a thousand sources and poses take as many numbers, and no object for each."""

    sources: Sequence[tuple[Path, ...]]
    """Pictures of each person, the first one first."""
    poses: Sequence[Path]
    pairs: NDArray[np.int32]
    """For each pair the positions of its source, pose, target and edit, ``(N, 4)``."""
    targets: Sequence[Path | None] = (None,)
    edits: Sequence[EditRequest | None] = (None,)

    def zipped(
        self, sources: Sequence[SourceT], poses: Sequence[PoseT], targets: Sequence[TargetT], edits: Sequence[EditT]
    ) -> Iterator[tuple[SourceT, PoseT, TargetT, EditT]]:
        """Yield for each pair what was made of its source, pose, target and edit."""
        # as memory, numbers become objects one at a time and not by the million
        source, pose, target, edit = (np.ascontiguousarray(column).data for column in self.pairs.T)
        return zip(
            map(sources.__getitem__, source),
            map(poses.__getitem__, pose),
            map(targets.__getitem__, target),
            map(edits.__getitem__, edit),
            strict=True,
        )


def every_combination(sources: Sequence[tuple[Path, ...]], poses: Sequence[Path]) -> Listed:
    """Pair every source with every pose."""
    return Listed(sources, poses, _numbered(np.indices((len(sources), len(poses))).reshape(2, -1)))


def one_by_one(sources: Sequence[tuple[Path, ...]], poses: Sequence[Path]) -> Listed:
    """Pair sources and poses as they stand beside each other."""
    return Listed(sources, poses, _numbered(np.tile(np.arange(len(sources)), (2, 1))))


def _numbered(numbers: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return pairs of the numbers of sources and poses, ``(2, N)``, without target and edit."""
    return np.pad(numbers, ((0, 2), (0, 0))).T.astype(np.int32)


def listed_in_table(path: Path, sources: Path, poses: Path) -> Listed:
    """Read a table of pairs; its names are looked up in the folders, then beside the table.

    Raises:
        PgpisError: A pair is named twice, a file has another suffix than it must have, or no pair exists.
    """
    table = read_table(path)
    places = {column: folders_of([poses if column == "pose" else sources, path.parent]) for column in FILES}
    files = {
        column: [find_file(name, places[column]) if name else None for name in table.names[column]]
        for column in FILES
        if column in table.names
    }
    _refuse_suffixes(table, files)
    people, person = table.groups([column for column in SOURCES if column in files])
    requests, request = table.groups([column for column in ("identity", "clothes") if column in table.names])
    none = np.zeros_like(person)
    pairs = np.stack([person, table.codes["pose"], table.codes.get("target", none), request], axis=1)
    _refuse_repeated(table, pairs[:, [0, 1, 3]])
    return _with_existing(
        path,
        Listed(
            [tuple(file for column, code in group if (file := files[column][code]) is not None) for group in people],
            [file for file in files["pose"] if file is not None],
            pairs,
            files.get("target", [None]),
            [_request({column: table.names[column][code] for column, code in group}) for group in requests],
        ),
    )


def _request(fields: dict[str, str]) -> EditRequest | None:
    clothes = [word for word in fields.get("clothes", "").split(EDIT_SEPARATOR) if word.strip()]
    return EditRequest.parse(fields.get("identity"), clothes)


def _refuse_suffixes(table: PairTable, files: dict[str, list[Path | None]]) -> None:
    """Refuse sources and poses that no file of theirs can be; the first one in the table is named."""
    wrong = []
    for column in (*SOURCES, "pose"):
        usual = POSE_SUFFIXES if column == "pose" else IMAGE_SUFFIXES
        for code, file in enumerate(files.get(column, ())):
            if file is not None and file.suffix.lower() not in usual:
                line = table.lines[np.argmax(table.codes[column] == code)]
                wrong.append((int(line), f"'{file.name}' must end in one of {', '.join(usual)}"))
                break  # a column's fields are in the order of the table
    if wrong:
        line, what = min(wrong, key=itemgetter(0))
        raise PgpisError(f"{table.path} line {line}: {what}")


def _refuse_repeated(table: PairTable, pairs: NDArray[np.int32]) -> None:
    order = np.lexsort(pairs.T)  # rows that are the same stay in their order
    is_same = (pairs[order[1:]] == pairs[order[:-1]]).all(axis=1)
    if is_same.any():
        again, before = min(zip(order[1:][is_same].tolist(), order[:-1][is_same].tolist(), strict=True))
        named = ", ".join(table.names[column][table.codes[column][again]] for column in ("source", "pose"))
        lines = f"lines {table.lines[before]} and {table.lines[again]}"
        raise PgpisError(f"{table.path}: {lines} name the same pair {named}")


def _with_existing(path: Path, listed: Listed) -> Listed:
    """Return what is listed, of which at least one pair must be there."""
    exists = cache(picture_exists)
    rows = listed.zipped(listed.sources, listed.poses, listed.targets, listed.edits)
    if not any(exists(sources[0]) and exists(pose) for sources, pose, _, _ in rows):
        (source, *_), pose = listed.sources[0], listed.poses[0]
        message = f"{path}: none of its pairs exists; the first one would be {source} and {pose}"
        raise PgpisError(message, hint="names are relative to the folders of sources and poses, or to the table")
    return listed
