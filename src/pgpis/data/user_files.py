"""Files in a user's folders: listed, paired and named."""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from unicodedata import normalize

from pgpis.data.names import alike, as_on_disk
from pgpis.data.picture_store import content_hash, picture_exists
from pgpis.data.prepared import RECORD
from pgpis.data.tables import MOST_SOURCES
from pgpis.errors import PgpisError
from pgpis.files import is_file, resolved
from pgpis.pictures.containers import is_video
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.kinds import Kind, all_kinds

log = logging.getLogger(__name__)


def list_files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """List the files of a folder that end in one of ``suffixes``, by name; a single file stands for itself.

    Raises:
        PgpisError: The folder is missing or holds no such file.
    """
    expected = f"expected {what} ({', '.join(suffixes)})"
    if picture_exists(folder):
        if folder.suffix.lower() not in suffixes:
            hint = "--driving takes the poses from a video" if is_video(folder) else None
            raise PgpisError(f"{folder}: unknown suffix '{folder.suffix}', {expected}", hint=hint)
        return [folder]
    if not os.path.isdir(folder):  # noqa: PTH112  false also for a name that no file system takes
        raise PgpisError(f"folder not found: {folder}; {expected}")
    folders, named = _shown(folder)
    files = [path for path in named if path.suffix.lower() in suffixes]
    others = [path for path in named if path.suffix.lower() not in suffixes]
    if any(is_file(path) for path in files):
        if left_out := [*folders, *others]:
            names = first_names(left_out)
            log.warning("%s: %d files and folders are left out, %s: %s", folder, len(left_out), expected, names)
        return files  # links that lead nowhere among them: their pairs fail
    reasons = [f"{len(files)} links lead nowhere: {first_names(files)}"] if files else []
    reasons += [f"it holds {len(folders)} folders, which are not searched: {first_names(folders)}"] if folders else []
    reasons += [f"its {len(others)} files have other suffixes, e.g. {first_names(others)}"] if others else []
    if not reasons:
        reasons = ["its files are hidden ones"] if any(folder.iterdir()) else ["it is empty"]
    hint = "name one of its folders, or list the files in a table for --pairs" if folders else None
    raise PgpisError(f"nothing to read in {folder}: {'; '.join(reasons)}; {expected}", hint=hint)


def people_in(folder: Path) -> dict[Path, tuple[Path, ...]]:
    """Return the pictures of each person by their folder, in the order of their names: a folder in ``folder`` each.

    Raises:
        PgpisError: There is no such folder, or none of those in it holds a picture.
    """
    expected = "expected a folder of pictures for each person"
    if not os.path.isdir(folder):  # noqa: PTH112  false also for a name that no file system takes
        raise PgpisError(f"folder not found: {folder}; {expected}")
    folders, files = _shown(folder)
    folders = without_prepared(folder, folders)
    if not folders:
        raise PgpisError(f"{folder} holds no folders; {expected}", hint="--sources-by picture: each picture for itself")
    if files:
        log.warning("%s: %d files are left out; %s", folder, len(files), expected)
    people: dict[Path, tuple[Path, ...]] = {}
    without: dict[Path, PgpisError] = {}
    for person in folders:
        try:
            pictures = list_files(person, IMAGE_SUFFIXES, "pictures of a person")
        except PgpisError as error:
            without[person] = error
            continue
        if len(pictures) > MOST_SOURCES:
            names = first_names(pictures[:MOST_SOURCES])
            log.warning("%s: the first %d of %d pictures are taken: %s", person, MOST_SOURCES, len(pictures), names)
        people[person] = tuple(pictures[:MOST_SOURCES])
    if not people:
        raise next(iter(without.values()))
    if without:
        text = "%s: %d folders hold no picture that can be read, left out: %s"
        log.warning(text, folder, len(without), first_names(list(without)))
    return people


def without_prepared(root: Path, folders: Iterable[Path]) -> list[Path]:
    """Leave out what ``pgpis prepare`` has made of folders beside them, ``anna_texture`` of ``anna``, and say so once.

    Args:
        root: What is listed, for the message.
        folders: Those in it.
    """
    made_of = {path: made for path in folders if (made := _prepared_of(path)) is not None}
    if made_of:
        names = first_names(list(made_of))
        log.warning("%s: %d folders are left out, as made of those beside them: %s", root, len(made_of), names)
    return [path for path in folders if path not in made_of]


def _prepared_of(folder: Path) -> Path | None:
    """Return the folder beside this one of which it holds what was made; None: there is none."""
    options = ["preview", *(kind.option for kind in all_kinds() if kind.name != "picture")]
    stems = (folder.name.removesuffix(f"_{option}") for option in options)
    others = (as_on_disk(folder.with_name(stem)) for stem in stems if stem not in ("", folder.name))
    return next((other for other in others if other.is_dir()), None)


def _shown(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return what a folder shows by name, its folders and its files; its own list says which is which.

    The record of ``pgpis prepare`` is no file of the user's.
    """
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".") and entry.name != RECORD]
        shown.sort(key=lambda entry: entry.name)
        kinds = [
            (path := folder / entry.name, path.is_dir() if entry.is_symlink() else entry.is_dir()) for entry in shown
        ]
    return [path for path, is_folder in kinds if is_folder], [path for path, is_folder in kinds if not is_folder]


def first_names(paths: Sequence[Path]) -> str:
    """Return the names of the first five files, for a message."""
    return ", ".join(path.name for path in paths[:5])


def stem_of(path: Path) -> str:
    """Return the name without suffix, and without the ending that OpenPose adds to it."""
    return path.stem.removesuffix("_keypoints") if path.suffix.lower() == ".json" else path.stem


def pair_by_stem(sources: Sequence[Path], poses: Sequence[Path], *, by_person: bool = False) -> list[tuple[Path, Path]]:
    """Pair files of the same name, whether its accents are one character (NFC) or two (NFD).

    Args:
        sources: Pictures, or people's folders.
        poses: Files of poses.
        by_person: Whether sources are folders, whose names have no suffix: ``j.smith`` is not ``j``.

    Raises:
        PgpisError: Two files of one folder share a name, or no name is in both folders.
    """
    named = []
    for files, name_of in ((sources, attrgetter("name") if by_person else stem_of), (poses, stem_of)):
        paths = dict[str, Path]()
        for path in files:
            if (other := paths.setdefault(normalize("NFC", name_of(path)), path)) is not path:
                message = f"{path.parent}: several files are called '{name_of(path)}': {other.name}, {path.name}"
                raise PgpisError(message, hint="rename one, or use --pairs")
        named.append(paths)
    source_of, pose_of = named
    common = [stem for stem in source_of if stem in pose_of]
    if not common:
        raise PgpisError(
            f"no source and pose share a name: sources {', '.join(list(source_of)[:3])} ..., "
            f"poses {', '.join(list(pose_of)[:3])} ...",
            hint="use --pairing product, or --pairs with a table",
        )
    alone = sorted(source_of.keys() ^ pose_of.keys())
    if alone:
        log.warning("%d names occur in only one of the folders and are left out: %s", len(alone), ", ".join(alone[:5]))
    return [(source_of[stem], pose_of[stem]) for stem in common]


def beside(path: Path, kind: Kind, place: Path | None = None, *, below: Path = Path()) -> Path:
    """Return where what was made of a picture is: ``photos_texture/anna.png`` of ``photos/anna.jpg``.

    Args:
        path: The picture, or a pose.
        kind: What was made of it.
        place: Replaces the folder or, as a file, the result.
        below: Where it is in that folder.
    """
    if place is not None and place.suffix.lower() == kind.photo_suffix:
        return place
    parent = path.parent if path.parent.name not in ("", "..") else resolved(path.parent)
    folder = place or parent.with_name(f"{parent.name}_{kind.option}")
    return as_on_disk(folder / below / f"{stem_of(path)}{kind.photo_suffix}")


@functools.lru_cache(maxsize=1 << 16)
def real_folder(folder: Path) -> Path:
    """Return the one name of a folder, however it is spelt: relative, with ``..``, through links."""
    return resolved(folder)


def folders_of(places: Iterable[Path]) -> list[Path]:
    """Return folders, and of single files those that they lie in."""
    return [place if place.is_dir() else place.parent for place in places]


def find_file(name: str, folders: Sequence[Path]) -> Path:
    """Look a name up in folders; where it is in none, return where it was expected first."""
    candidates = [as_on_disk(folder / name) for folder in folders]
    return next((path for path in candidates if picture_exists(path)), candidates[0])


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a distinct name for each file: its stem, else with suffix, else with folder, else with a number.

    Names that are :func:`alike` count as the same: some file systems think so.
    """
    files = list(dict.fromkeys(paths))
    spellings = (stem_of, lambda path: path.name, lambda path: f"{path.parent.name}_{path.name}")
    names: dict[Path, str] = {}
    for spelling in spellings:
        open_files = [path for path in files if path not in names]
        taken = Counter(alike(spelling(path)) for path in open_files)
        names |= {path: spelling(path) for path in open_files if taken[alike(spelling(path))] == 1}
    seen: Counter[str] = Counter()
    for path in files:
        if path not in names:
            seen[alike(path.name)] += 1
            count = seen[alike(path.name)]
            names[path] = path.name if count == 1 else f"{path.name}~{count}"
    return names


def refuse_shared(kind: Kind, owners: Iterable[tuple[Path, Path | None]]) -> None:
    """Refuse two files of different content whose texture, face or map would be one and the same file.

    Args:
        kind: Texture, face or map.
        owners: Each file, and where that of the kind is that was made of it.

    Raises:
        PgpisError: Names both files.
    """
    first: dict[str, tuple[Path, Path]] = {}
    for owner, path in owners:
        if path is None:
            continue
        other, others = first.setdefault(alike(str(path)), (owner, path))
        if other == owner or content_hash(other) == content_hash(owner):
            continue
        # a file system may take two names for one
        if others == path or (others.exists() and path.exists() and others.samefile(path)):
            raise PgpisError(
                f"{other} and {owner} would share the {kind.what} {path}, which can belong to only one of them",
                hint="rename one of them, or put them into folders of their own",
            )
