"""What ``pgpis prepare`` has recorded of a folder, by which what was made of an earlier picture is told."""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from pgpis.data.pair import EDITED, Pair, without_garbage_collection
from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError
from pgpis.files import is_file, resolved
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.kinds import Kind, conditions, kind_of, prepared

RECORD = "prepare.jsonl"
"""What ``pgpis prepare`` calls its record, in the folder of the pictures."""

Recorded = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By a picture's name without suffix, and by its name: of which content each condition was made."""


def is_current(kind: str, path: Path | None) -> bool:
    """Whether a file exists that is not stale, see :func:`refuse_stale`."""
    return path is not None and is_file(path) and _replaced(kind_of(kind), path) is None


def refuse_stale_files(pair: Pair, origins: Collection[str]) -> None:
    """Refuse a pair, its further sources aside, of whose files one is stale, see :func:`refuse_stale`."""
    swaps = () if pair.edit is None else pair.edit.swaps
    for kind in conditions(origins):
        others = [made.get(kind.name) for _, made in swaps if kind.name in EDITED]
        for path in (pair.file(kind.name), *others):
            refuse_stale(kind, path)
    refuse_stale(kind_of("pose"), pair.pose)


def refuse_stale(kind: Kind, path: Path | None) -> None:
    """Refuse ``photos_texture/anna.png`` where it was made of another picture than ``photos/anna.jpg`` is now.

    What nothing is recorded of is the user's own, and passes. A picture that is gone proves nothing.

    Raises:
        PgpisError: Names the file, the picture and the command that makes it anew.
    """
    if path is not None and (replaced := _replaced(kind, path)) is not None:
        root, picture, made = replaced
        hint = f"pgpis prepare {root} --conditions {','.join(with_needed(made))}"
        raise PgpisError(f"{path} was made of another picture than {picture} is now", hint=hint)


def with_needed(options: Iterable[str]) -> list[str]:
    """Return options of ``pgpis prepare``, each after what it needs."""
    return [*dict.fromkeys(needed for option in options for needed in kind_of(option).chain)]


def stale_below(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the pictures of a folder, by name, that were replaced since, and the options of what was made of them."""
    for stem, names in _recorded(root).items():
        options = dict.fromkeys(option for made in names.values() for option in made)
        replaced = {option: _picture_if_replaced(root, stem, names, option) for option in options}
        stale = {option: picture for option, picture in replaced.items() if picture is not None}
        for picture in dict.fromkeys(stale.values()):
            yield picture.relative_to(root).as_posix(), [*stale]


def _replaced(kind: Kind, path: Path) -> tuple[Path, Path, Iterable[str]] | None:
    """Return the folder of pictures, the picture, and what was made of it, where a file was made of another one."""
    if kind.settings is None or path.suffix.lower() != kind.photo_suffix:
        return None
    parent, end = path.parent, f"_{kind.option}"
    if parent.name in ("", ".."):
        parent = resolved(parent)
    for folder in (parent, *parent.parents):
        if not folder.name.endswith(end) or folder.name == end:
            continue
        root = folder.with_name(folder.name.removesuffix(end))
        stem = (parent.relative_to(folder) / path.stem).as_posix()
        names = _recorded(root).get(stem, {})
        if (picture := _picture_if_replaced(root, stem, names, kind.option)) is not None and is_file(path):
            return root, picture, [option for made in names.values() for option in made]
    return None


def _picture_if_replaced(root: Path, stem: str, names: Mapping[str, Mapping[str, str]], option: str) -> Path | None:
    """Return the picture of a name where a condition was made of another; ``anna.jpg`` replaces ``anna.png``."""
    contents = {made[option] for made in names.values() if option in made}
    if not contents:
        return None
    now = [root / name for name in names if is_file(root / name)]
    now = now or [path for suffix in IMAGE_SUFFIXES if is_file(path := root / f"{stem}{suffix}")]
    hashes = {content: path for path in now if (content := content_hash(path))}
    return next(iter(hashes.values())) if hashes and contents.isdisjoint(hashes) else None


def _recorded(root: Path) -> Recorded:
    path = root / RECORD
    if not is_file(path):
        return {}
    try:
        stat = path.stat()
        return _read(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(record: Path, error: Exception) -> PgpisError:
    """Return how it is told that a record cannot be read."""
    return PgpisError(f"cannot read {record}: {error}", hint="remove it; it only lists what was done")


@functools.lru_cache(maxsize=8)
def _read(path: Path, *_stamp: int) -> Recorded:
    """Read a record once; of each condition of each picture its last line counts."""
    recorded: defaultdict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    known = prepared()
    with path.open(encoding="utf-8", errors="replace") as lines, without_garbage_collection():
        for line in lines:
            try:
                content = json.loads(line)
                name, option, made_of = str(content["name"]), sys.intern(content["condition"]), content["content"]
                made = content["reason"] is None and bool(made_of) and option in known
            except (ValueError, KeyError, TypeError, RecursionError):  # of an earlier version, or cut short
                continue
            of_name = recorded[name.rpartition(".")[0]].setdefault(name, {})
            if made:
                of_name[option] = sys.intern(made_of)
            else:  # where the last run made no file, it is somebody else's
                of_name.pop(option, None)
    return recorded
