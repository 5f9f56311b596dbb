"""Which pair a generated picture belongs to, whatever the archive's way of naming."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgpis.data.names import alike
from pgpis.data.pairs import Pair
from pgpis.errors import PgpisError
from pgpis.files import file_name, files_below
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.sheet import CONTACT_SHEET

log = logging.getLogger(__name__)

PICTURE = re.compile(
    r"(?:fashion)?(WOMEN|MEN)[/_]?([A-Za-z_]+?)[/_]?id_?(\d{8})[/_]?"
    r"(\d\d)_(\d)_?(?:front|side|back|full|flat|additional)"
)
"""A picture of DeepFashion in any spelling: tree, flat, or joined as in FPDM's results."""
Identity = tuple[str, str, str, str, str]
"""Group, category, person, item, view."""


@dataclass(frozen=True)
class Matches:
    """Generated pictures by pair."""

    files: tuple[tuple[Pair, Path], ...]
    """Pairs that have a picture, in the order of the data set."""
    unmapped: tuple[Path, ...]
    """Pictures that belong to no pair."""
    missing: tuple[str, ...]
    """Pairs without a picture."""
    doubled: tuple[Path, ...]
    """Further pictures of a pair that has one."""

    def only(self, pair_ids: Collection[str]) -> Matches:
        """Leave out the pictures of other pairs."""
        return replace(self, files=tuple(entry for entry in self.files if entry[0].pair_id in pair_ids))


def identities(name: str) -> list[Identity]:
    """Return the pictures of DeepFashion that a name mentions, from left to right."""
    return [(group, category.strip("_"), *rest) for group, category, *rest in PICTURE.findall(name)]


def persons_of(pair_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Return whom pairs show, by DeepFashion's names.

    Raises:
        PgpisError: A name does not tell.
    """
    persons = [tuple(mentioned[0][:3]) if (mentioned := identities(pair_id)) else () for pair_id in pair_ids]
    if () in persons:
        message = f"--intervals people: pair {pair_ids[persons.index(())]} does not tell whom it shows"
        raise PgpisError(f"{message}: expected names of DeepFashion, with a person's number", hint="--intervals pairs")
    return persons


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures in a folder and its subfolders, none hidden, but for poses and sheet of ``pgpis predict``.

    Raises:
        PgpisError: It is missing or holds none.
    """
    if not folder.is_dir():
        raise PgpisError(f"folder not found: {folder}", hint="--generated FOLDER")
    files = [path for path in files_below(folder, hidden=False) if path.suffix.lower() in IMAGE_SUFFIXES]
    files = [path for path in files if path.name != CONTACT_SHEET]
    files = [path for path in files if path.parent == folder or path.parent.name != "poses"]
    if not files:
        raise PgpisError(f"no pictures in {folder}; expected {', '.join(IMAGE_SUFFIXES)}")
    return files


def match_pictures(files: Iterable[Path], pairs: Sequence[Pair]) -> Matches:
    """Find the pair of each picture.

    A name is that of a pair, as ``pgpis test`` writes it, or mentions source and target, in this order, in any spelling
    of DeepFashion's names: ``fashion…_2_fashion…_vis.jpg``, ``WOMEN…jpg_2_WOMEN…jpg.png`` and so on. What ``pgpis
    predict`` makes of folders, not of a data set, is called after the files alone, and is of no pair of a list.
    """
    by_name = {alike(Path(file_name(pair.pair_id, ".png")).stem): pair for pair in pairs}
    by_pictures = {tuple(mentioned): pair for pair in pairs if len(mentioned := identities(pair.pair_id)) == 2}
    pictures: dict[str, Path] = {}
    unmapped, doubled = [], []
    for path in files:
        match = by_name.get(alike(path.stem)) or by_name.get(alike(path.name))
        match = match or by_pictures.get(tuple(identities(path.name)))
        if match is None:
            unmapped.append(path)
        elif match.pair_id in pictures:
            doubled.append(path)
        else:
            pictures[match.pair_id] = path
    return Matches(
        tuple((pair, pictures[pair.pair_id]) for pair in pairs if pair.pair_id in pictures),
        tuple(unmapped),
        tuple(pair.pair_id for pair in pairs if pair.pair_id not in pictures),
        tuple(doubled),
    )


def matched_pictures(folder: Path, pairs: Sequence[Pair]) -> Matches:
    """Find the pair of each picture in a folder, and warn of what is left over.

    Raises:
        PgpisError: The folder is missing or holds no pictures, or none belongs to a pair.
    """
    matches = match_pictures(list_pictures(folder), pairs)
    for what, names in (
        ("pictures belong to no pair", [path.relative_to(folder).as_posix() for path in matches.unmapped]),
        ("pictures are second ones of a pair", [path.relative_to(folder).as_posix() for path in matches.doubled]),
        ("pairs have no picture", list(matches.missing)),
    ):
        if names:
            log.warning("%s: %d %s: %s", folder, len(names), what, ", ".join(names[:3]))
    if not matches.files:
        raise PgpisError(
            f"{folder}: no picture belongs to a pair of the list, e.g. {matches.unmapped[0].name}",
            hint=f"'pgpis test' names pictures as the list does: {file_name(pairs[0].pair_id, '.png')}",
        )
    return matches
