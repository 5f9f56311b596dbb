"""One pair of source picture and target pose: its files, and their content."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgpis.files import printable
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.uv_texture import PART_GROUPS

Files = Mapping[str, "Path | None"]
"""Files that were made of a picture, by kind; None: nowhere."""


@dataclass(slots=True)  # frozen, a million of them would take four times as long
class JoinedFiles(Mapping[str, "Path | None"]):
    """The files of a source and of a pose: a million pairs of a thousand pictures share them."""

    source: Files
    pose: Files

    def __getitem__(self, kind: str) -> Path | None:
        return self.source[kind] if kind in self.source else self.pose[kind]

    def __iter__(self) -> Iterator[str]:
        return chain(self.source, self.pose)

    def __len__(self) -> int:
        return len(self.source) + len(self.pose)


@dataclass(frozen=True, slots=True)
class Source:
    """A further picture of a pair's person."""

    picture: Path
    conditions: Files = field(default_factory=dict)
    """What was made of it."""


@dataclass(frozen=True)
class Edit:
    """What of another person replaces what of the source."""

    identity: Files | None = None
    """Whose face embedding and head, of the texture, are taken."""
    clothes: tuple[tuple[tuple[int, ...], Files], ...] = ()
    """Parts of the body, and the files of the picture that they are taken from."""

    @property
    def swaps(self) -> tuple[tuple[tuple[int, ...], Files], ...]:
        """All parts that are another's: the clothes, and last the head."""
        return (*self.clothes, *([(PART_GROUPS["head"], self.identity)] if self.identity is not None else []))


@dataclass(slots=True)  # as above
class Pair:
    """The files of one pair; nobody changes it."""

    pair_id: str
    """``SOURCE_2_POSE``: names the result."""
    source: Path
    """Picture of the person."""
    pose: Path | None
    """File that the target pose is read from: key points or a drawn skeleton; None: there is none."""
    target: Path | None = None
    """Picture of the person in the target pose, where there is one."""
    conditions: Files = field(default_factory=dict)
    """What was made of the source (``texture``, ``face``) or of the target (``iuv``); see :meth:`file`."""
    edit: Edit | None = None
    """What is to be another's."""
    noise_name: str | None = None
    """What the noise of its results depends on beside the seed; None: ``pair_id``."""
    further: tuple[Source, ...] = ()
    """Other pictures of the person, which are sources too."""
    video: str | None = None
    """The video that it is a frame of; the frames of a video are in order."""

    @property
    def pose_file(self) -> Path | None:
        """The file that names the target pose."""
        return self.pose or self.conditions.get("iuv")

    @property
    def sources(self) -> tuple[Source, ...]:
        """All pictures of the person, the first one first."""
        return (Source(self.source, self.conditions), *self.further)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the pair names, whatever a model reads of them."""
        edit = self.edit or Edit()
        made = [
            *self.conditions.values(),
            *(edit.identity or {}).values(),
            *(path for _, files in edit.clothes for path in files.values()),
            *(path for source in self.further for path in (source.picture, *source.conditions.values())),
        ]
        return tuple(path for path in (self.source, self.pose, self.target, *made) if path is not None)

    def file(self, origin: str) -> Path | None:
        """Return the file of ``source``, ``target`` or a kind of condition, as edited."""
        if origin in ("source", "target"):
            return self.source if origin == "source" else self.target
        identity = self.edit.identity if self.edit is not None and origin == "face" else None
        return (self.conditions if identity is None else identity).get(origin)


@dataclass(frozen=True)
class LoadedPair:
    """The content of the files of one pair; None for what was not asked for or does not exist."""

    pair: Pair
    source: Image.Image | None = None
    target: Image.Image | None = None
    keypoints: Keypoints | None = None
    pose_image: Image.Image | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """By kind what its reader returns: pictures, or float32 ``(N,)`` of a face."""
    dropped: Collection[str] = frozenset()
    """What the model gets zeros for."""
    further: tuple[LoadedPair, ...] = ()
    """The further sources, each as if it were the only one; what is merged is in ``conditions`` of this."""


def distinct_files(pairs: Iterable[Pair]) -> Iterator[Path]:
    """Yield what :attr:`Pair.files` of some pairs names, and what they share once."""
    seen: set[int] = set()  # by identity, which costs a tenth of comparing paths
    for pair in pairs:
        conditions = pair.conditions
        groups: tuple[Files, ...] = (
            (conditions.source, conditions.pose) if isinstance(conditions, JoinedFiles) else (conditions,)
        )
        paths: tuple[Path | None, ...] = (pair.source, pair.pose, pair.target)
        if pair.edit is not None:
            groups += (pair.edit.identity or {}, *(files for _, files in pair.edit.clothes))
        if pair.further:
            groups += tuple(source.conditions for source in pair.further)
            paths += tuple(source.picture for source in pair.further)
        for group in groups:
            if id(group) not in seen:
                seen.add(id(group))
                yield from (path for path in group.values() if path is not None)
        for path in paths:
            if path is not None and id(path) not in seen:
                seen.add(id(path))
                yield path


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not look for cycles: to go through millions of new objects again and again takes most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def with_names_of_their_own(pairs: Iterable[Pair]) -> list[Pair]:
    """Number the names that other pairs have already, ``a, a~2``: each names one result.

    Names that differ only in upper and lower case count as the same: some file systems think so. A pair that is listed
    twice keeps its name.
    """
    listed = list(pairs)
    if all(pair.pair_id.isascii() for pair in listed):  # a million names need not be kept in a second spelling
        hashes = np.fromiter((hash(pair.pair_id.casefold()) for pair in listed), np.int64, len(listed))
        if len(np.unique(hashes)) == len(listed):
            return listed
    owners: dict[str, Pair] = {}
    named = []
    for pair in listed:
        first = name = printable(pair.pair_id)
        number = 1
        while (owner := owners.setdefault(name.casefold(), pair)) is not pair and owner != pair:
            number += 1
            name = f"{first}~{number}"
        named.append(pair if name == pair.pair_id else replace(pair, pair_id=name))
    return named


def content_of(keypoints: Keypoints) -> str:
    """Return the hash of key points."""
    described = f"{keypoints.points.tolist()} {keypoints.visible.tolist()} {keypoints.frame} {keypoints.skeleton}"
    return hashlib.sha256(described.encode()).hexdigest()
