"""The real pictures of a data set that are no targets of a test, whether or not pairs name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from pgpis.data.layouts import Layout, Split, layouts_of

RealKind = Literal["train", "others"]
"""Pictures of the training split, or of all splits."""


class RealPictures(NamedTuple):
    """Pictures without the targets."""

    paths: frozenset[Path]
    only_of_pairs: bool
    """Whether nothing but pairs names them, so that some may be missing."""


def real_pictures(root: Path, split: Split, kind: RealKind, name: str = "auto") -> RealPictures:
    """Find the real pictures of a data set but the targets of a split; see :meth:`Layout.read_pictures`.

    Raises:
        PgpisError: A list is missing or malformed.
    """
    train, tested = (layouts_of(root, each, name) for each in ("train", split))
    pairs = tested[0].read_pairs()
    targets = {_bare(target) for _, target in pairs}
    told = [_told(layouts) for layouts in ((train,) if kind == "train" else (train, tested))]
    if kind == "others" and None in told:
        told = [next(((each, keys) for each in train if (keys := each.all_pictures())), None)]
    only_of_pairs = None in told
    if only_of_pairs:
        told = [(train[0], [key for pair in train[0].read_pairs() for key in pair])]
        if kind == "others":
            told.append((tested[0], [source for source, _ in pairs]))
    chosen = {(each[0], key) for each in told if each is not None for key in each[1] if _bare(key) not in targets}
    return RealPictures(frozenset(layout.path(key, "picture") for layout, key in chosen), only_of_pairs)


def _told(layouts: Sequence[Layout]) -> tuple[Layout, list[str]] | None:
    """Return the first layout that tells the pictures of its split, and their keys."""
    return next(((layout, keys) for layout in layouts if (keys := layout.read_pictures())), None)


def _bare(key: str) -> PurePosixPath:
    """Return a key without its suffix, in which layouts differ."""
    return PurePosixPath(key).with_suffix("")
