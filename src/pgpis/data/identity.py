"""Which pairs and files are the same, and which only share a name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pgpis.data.pairs import Pair
from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError
from pgpis.files import printable
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import kind_of


def with_names_of_their_own(pairs: Iterable[Pair]) -> list[Pair]:
    """Number the names that other pairs have already, ``a, a~2``: each names one result.

    Names that differ only in upper and lower case count as the same: some file systems think so. A pair that is listed
    twice keeps its name.
    """
    owners: dict[str, Pair] = {}
    named = []
    for pair in pairs:
        first = name = printable(pair.pair_id)
        number = 1
        while owners.setdefault(name.casefold(), pair) != pair:
            number += 1
            name = f"{first}~{number}"
        named.append(replace(pair, pair_id=name))
    return named


def content_of(keypoints: Keypoints) -> str:
    """Return the hash of key points."""
    described = f"{keypoints.points.tolist()} {keypoints.visible.tolist()} {keypoints.frame} {keypoints.skeleton}"
    return hashlib.sha256(described.encode()).hexdigest()


def refuse_shared(origin: str, owners: Iterable[tuple[Path | None, Pair]]) -> None:
    """Refuse two files of different content whose texture, face or map would be one and the same file.

    Raises:
        PgpisError: There are such; names both.
    """
    first: dict[str, tuple[Path, Path]] = {}
    for owner, pair in owners:
        path = None if pair.edit is not None and origin == "face" else pair.file(origin)
        if owner is None or path is None:
            continue
        other, others = first.setdefault(str(path).casefold(), (owner, path))
        if other == owner or content_hash(other) == content_hash(owner):
            continue
        # a file system that ignores case takes two names for one
        if others == path or (others.exists() and path.exists() and others.samefile(path)):
            raise PgpisError(
                f"{other} and {owner} would share the {kind_of(origin).what} {path}, "
                "which can belong to only one of them",
                hint="rename one of them, or put them into folders of their own",
            )
