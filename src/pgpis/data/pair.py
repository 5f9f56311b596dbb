"""One pair of source picture and target pose: its files, and their content."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgpis.data.names import alike
from pgpis.errors import PgpisError
from pgpis.files import printable
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.uv_texture import PART_GROUPS

Files = Mapping[str, "Path | None"]
"""Files that were made of a picture, by kind; None: nowhere."""
EDITED = ("texture", "surface")
"""Kinds in which parts of the body have their places."""


@dataclass(frozen=True, slots=True)
class Source:
    """A further picture of a pair's person."""

    picture: Path
    conditions: Files = field(default_factory=dict)
    """What was made of it."""


@dataclass(frozen=True, slots=True)
class Person:
    """What pairs of the same sources share."""

    picture: Path
    """The first source."""
    conditions: Files = field(default_factory=dict)
    """What was made of it: ``texture``, ``face``."""
    further: tuple[Source, ...] = ()
    """Other pictures of the person, which are sources too."""
    noise_name: str | None = None
    """What the noise of the results depends on beside the seed; None: the pair's own name."""
    video: str | None = None
    """The video that the results are frames of; the frames of a video are in order."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All pictures of the person, the first one first."""
        return (Source(self.picture, self.conditions), *self.further)

    @property
    def files(self) -> Iterator[Path | None]:
        """All that it names."""
        for source in self.sources:
            yield from (source.picture, *source.conditions.values())


@dataclass(frozen=True, slots=True)
class Aim:
    """What pairs of the same pose and target picture share."""

    pose: Path | None = None
    """File that the target pose is read from: key points or a drawn skeleton; None: there is none."""
    target: Path | None = None
    """Picture of the person in the target pose, where there is one."""
    conditions: Files = field(default_factory=dict)
    """What was made of the target: ``iuv``."""

    @property
    def files(self) -> Iterator[Path | None]:
        """All that it names."""
        yield from (self.pose, self.target, *self.conditions.values())


@dataclass(frozen=True)
class Edit:
    """What of another person replaces what of the source."""

    identity: Files | None = None
    """Whose face embedding and head, of the texture, are taken."""
    clothes: tuple[tuple[tuple[int, ...], Files], ...] = ()
    """Parts of the body, and the files of the picture that they are taken from."""
    name: str = ""
    """How it ends the names of results."""
    fault: PgpisError | None = None
    """Why it cannot be made; None where it can."""

    @property
    def swaps(self) -> tuple[tuple[tuple[int, ...], Files], ...]:
        """All parts that are another's: the clothes, and last the head."""
        return (*self.clothes, *([(PART_GROUPS["head"], self.identity)] if self.identity is not None else []))

    @property
    def files(self) -> Iterator[Path | None]:
        """All that it names."""
        for _, files in self.swaps:
            yield from files.values()


@dataclass(slots=True)  # frozen, a million of them would take four times as long
class Pair:
    """The files of one pair; nobody changes it.

    A million pairs of a thousand sources and poses share these, so that each holds little more than its name.
    """

    pair_id: str
    """``SOURCE_2_POSE``: names the result."""
    person: Person
    aim: Aim
    edit: Edit | None = None
    """What is to be another's."""

    @property
    def source(self) -> Path:
        """Picture of the person, the first one."""
        return self.person.picture

    @property
    def further(self) -> tuple[Source, ...]:
        """See :attr:`Person.further`."""
        return self.person.further

    @property
    def sources(self) -> tuple[Source, ...]:
        """See :attr:`Person.sources`."""
        return self.person.sources

    @property
    def noise_name(self) -> str | None:
        """See :attr:`Person.noise_name`."""
        return self.person.noise_name

    @property
    def video(self) -> str | None:
        """The video that the result is a frame of: that of the person, by edit; None: of none."""
        video = self.person.video
        return video if video is None or self.edit is None else f"{video}{self.edit.name}"

    @property
    def pose(self) -> Path | None:
        """See :attr:`Aim.pose`."""
        return self.aim.pose

    @property
    def target(self) -> Path | None:
        """See :attr:`Aim.target`."""
        return self.aim.target

    @property
    def conditions(self) -> Files:
        """What was made of the source or of the target; see :meth:`file`."""
        return {**self.person.conditions, **self.aim.conditions}

    @property
    def pose_file(self) -> Path | None:
        """The file that names the target pose."""
        return self.aim.pose or self.aim.conditions.get("iuv")

    def refuse_fault(self) -> None:
        """Say why the edit cannot be made, where it cannot.

        Raises:
            PgpisError: :attr:`Edit.fault`.
        """
        if self.edit is not None and self.edit.fault is not None:
            raise self.edit.fault

    def file(self, origin: str) -> Path | None:
        """Return the file of ``source``, ``target`` or a kind of condition, as edited."""
        if origin in ("source", "target"):
            return self.source if origin == "source" else self.target
        if origin == "face" and self.edit is not None and self.edit.identity is not None:
            return self.edit.identity.get(origin)
        of_source = self.person.conditions
        return of_source[origin] if origin in of_source else self.aim.conditions.get(origin)


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
    """Yield all files that some pairs name, whatever a model reads of them, and what they share once."""
    seen = {id(None)}  # by identity, which costs a tenth of comparing paths
    for pair in pairs:
        for part in (pair.person, pair.aim, pair.edit):
            if part is not None and id(part) not in seen:
                seen.add(id(part))
                for path in part.files:
                    if path is not None and id(path) not in seen:
                        seen.add(id(path))
                        yield path


def by_source(pairs: Iterable[Pair]) -> Iterable[Pair]:
    """Return a pair of each person; a million pairs share theirs."""
    return {id(pair.person): pair for pair in pairs}.values()


def by_pose(pairs: Iterable[Pair]) -> Iterable[Pair]:
    """Return a pair of each pose, likewise."""
    return {id(pair.pose): pair for pair in pairs}.values()


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

    Names that are :func:`alike` count as the same: some file systems think so. A pair that is listed twice keeps its
    name.
    """
    listed = list(pairs)
    if all(pair.pair_id.isascii() for pair in listed):  # a million names need not be kept in a second spelling
        hashes = np.fromiter((hash(pair.pair_id.casefold()) for pair in listed), np.int64, len(listed))
        hashes.sort()  # where it is
        if (hashes[1:] != hashes[:-1]).all():
            return listed
    owners: dict[str, Pair] = {}
    named = []
    for pair in listed:
        first = name = printable(pair.pair_id)
        number = 1
        while (owner := owners.setdefault(alike(name), pair)) is not pair and owner != pair:
            number += 1
            name = f"{first}~{number}"
        named.append(pair if name == pair.pair_id else replace(pair, pair_id=name))
    return named


def content_of(keypoints: Keypoints) -> str:
    """Return the hash of key points."""
    described = f"{keypoints.points.tolist()} {keypoints.visible.tolist()} {keypoints.frame} {keypoints.skeleton}"
    return hashlib.sha256(described.encode()).hexdigest()
