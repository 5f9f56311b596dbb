"""What every data set of pairs has in common."""

from __future__ import annotations

import copy
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from pgpis.data.contents import PairContents
from pgpis.data.further import drawn_sources, with_further
from pgpis.data.missing import OnMissing
from pgpis.data.names import names_in
from pgpis.data.pair import EDITED, Edit, LoadedPair, Pair, Source, with_names_of_their_own, without_garbage_collection
from pgpis.data.picture_store import read_picture
from pgpis.data.tables import MOST_SOURCES
from pgpis.errors import PgpisError, check_range, error_of
from pgpis.files import is_file
from pgpis.pictures.images import IMAGE_SUFFIXES, read_drawn_pose, read_image
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.kinds import Kind, Role, conditions, kind_of, what_makes
from pgpis.pictures.uv_texture import replace_parts

__all__ = ["Edit", "LoadedPair", "Pair", "PairDataset"]

log = logging.getLogger(__name__)

ORIGINS = ("source", "target", "pose")
PICTURE = kind_of("picture")


class PairDataset(PairContents):
    """A list of pairs on disk; ``setup`` reads it, so that a configuration can be built without the files.

    Args:
        self_pair_probability: In training, share of pairs whose target picture also serves as their source.
        pose_frame: What key points refer to, where their files do not say it.
        on_missing: What happens where a face, texture or DensePose map does not exist.
        most_sources: Up to so many pictures of a person are its sources, where the data set knows others of it; in
            training a random number of random ones.
    """

    frames_per_second = 25.0
    """Of the videos whose frames :meth:`sequences` gives."""
    complete = True
    """Whether a pair without a file that is needed stops the job; else it only fails itself."""
    has_files = True
    """Whether the paths of its pairs are files; else :meth:`read_file` knows where their content is."""
    list_layout: str | None = None
    """The layout whose list was read, of data sets that have several."""

    def __init__(
        self,
        self_pair_probability: float = 0.0,
        pose_frame: Frame | None = None,
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
        most_sources: int = 1,
    ) -> None:
        check_range("self_pair_probability", self_pair_probability, 0, 1)
        check_range("most_sources", most_sources, 1, MOST_SOURCES, whole=True)
        self.most_sources = most_sources
        self.self_pair_probability = self_pair_probability
        self.pose_frame = pose_frame
        self.on_missing = on_missing
        self._pairs: tuple[Pair, ...] | None = None

    @abstractmethod
    def read_pairs(self) -> Sequence[Pair]:
        """Read the lists or list the folders.

        Raises:
            PgpisError: Something is missing or malformed; names it.
        """

    def setup(self) -> None:
        """Read the list of pairs, and give each a name of its own; a second call changes nothing."""
        if self._pairs is None:
            with without_garbage_collection():
                self._pairs = tuple(with_names_of_their_own(self.read_pairs()))

    def require(self, origins: Collection[str]) -> None:
        """Look for the conditions that a model reads, ``iuv``, ``texture`` and so on, and do what ``on_missing`` says.

        Raises:
            PgpisError: Files are missing that may not be, or the pairs ask for edits that the model cannot make.
        """
        if any(pair.edit for pair in self.pairs) and not {"texture", "face"} <= set(origins):
            message = "--identity and --clothes exchange face and texture, and this model reads neither"
            raise PgpisError(message, hint="pgpis predict --config mcld.yaml ...")
        names = cache(names_in)

        def lack(kind: Kind) -> list[Pair]:
            files = [pair.file(kind.name) for pair in self.pairs]
            different = {id(path): path for path in files}  # which a million pairs share; each folder is listed once
            absent = {key for key, path in different.items() if path is None or path.name not in names(path.parent)}
            return [pair for pair, path in zip(self.pairs, files, strict=True) if id(path) in absent] if absent else []

        self._treat(conditions(origins), lack)

    def _treat(self, kinds: Iterable[Kind], lack: Callable[[Kind], list[Pair]]) -> None:
        """Do what ``on_missing`` says about the pairs that lack a kind; all that may not be missing is one error."""
        refused = {kind: told for kind in kinds if (missing := lack(kind)) and (told := self._refused(kind, missing))}
        if refused:
            raise error_of(*refused.values(), hint=self.hint(*refused))

    def _refused(self, kind: Kind, missing: Sequence[Pair]) -> str | None:
        """Leave pairs out or go on without a kind where that is allowed; else return what is missing."""
        policy = self.on_missing.of(kind.name)
        expected = list(dict.fromkeys(str(pair.file(kind.name) or pair.pair_id) for pair in missing))
        message = f"{len(missing)} of {len(self.pairs)} pairs have no {kind.what}: {', '.join(expected[:3])}"
        if policy == "error" and (self.complete or len(missing) == len(self.pairs)):
            return message
        if policy == "drop":
            log.warning("%s; the model gets zeros for them", message)
        elif policy == "skip":
            lacking = {pair.pair_id for pair in missing}
            if not (left := tuple(pair for pair in self.pairs if pair.pair_id not in lacking)):
                return f"no pair is left: {message}"
            log.warning("%s; they are left out", message)
            self._pairs = left
        return None

    @property
    def places(self) -> tuple[Path, ...]:
        """Where its files lie, by which a pack knows whose pairs it holds: here the folder that all sources share."""
        return (Path(os.path.commonpath([pair.source.absolute().parent for pair in self.pairs])),)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, in the order of their index; ``setup`` must have been called."""
        if self._pairs is None:
            raise PgpisError(f"{type(self).__name__} has not read its lists yet", hint="call setup() first")
        return self._pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def with_pairs(self, pairs: Iterable[Pair]) -> Self:
        """Return this data set with other pairs, which are taken as they are: some of its own, for another process."""
        some = copy.copy(self)
        some._pairs = tuple(pairs)  # noqa: SLF001  its own
        vars(some).pop("_first_frames", None)  # positions among the pairs of this one
        return some

    def sequences(self) -> dict[str, list[Pair]]:
        """Return the pairs that are frames of a video, by its name, in order."""
        videos: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            if pair.video is not None:
                videos.setdefault(pair.video, []).append(pair)
        return videos

    def as_self_pair(self, pair: Pair) -> Pair:
        """Let the target also be the source, with what was made of it."""
        assert pair.target is not None
        of_target = self.made_of(pair.target, "source")
        return replace(pair, person=replace(pair.person, picture=pair.target, conditions=of_target))

    def made_of(self, picture: Path, role: Role) -> dict[str, Path | None]:
        """Return where the conditions of a pair's source or target are; by default there are none."""
        return {}

    def map_of(self, picture: Path) -> Path | None:
        """Return where the DensePose map of a source is, by which textures of several are merged."""
        return self.made_of(picture, "target").get("iuv")

    def others_of(self, pair: Pair) -> Sequence[Path]:
        """Return further pictures of a pair's person, neither its source nor its target; by default none is known."""
        return ()

    def require_one_source(self, why: str, option: str) -> None:
        """Refuse pairs of several sources.

        Args:
            why: What each pair can have only one for.
            option: Which data set this is: ``data.train``.

        Raises:
            PgpisError: Pairs have several, or may draw some.
        """
        if self.most_sources > 1:
            raise PgpisError(f"{why}, and {option} has several", hint=f"--{option}.init_args.most_sources 1")
        self.setup()
        if several := next((pair for pair in self.pairs if pair.further), None):
            raise PgpisError(f"{why}, and {option} lists several: {several.pair_id}", hint="list one of each pair")

    def with_sources(self, pair: Pair, pictures: Iterable[Path]) -> Pair:
        """Add further sources to a pair."""
        further = tuple(Source(path, self.made_of(path, "source")) for path in pictures)
        return replace(pair, person=replace(pair.person, further=further))

    def load(
        self, index: int, origins: Collection[str] = ORIGINS, generator: torch.Generator | None = None
    ) -> LoadedPair:
        """Read the files of one pair.

        Args:
            index: Position in ``pairs``.
            origins: Which of ``source``, ``target``, ``pose`` and the conditions are needed; nothing else is read.
            generator: Given in training only: draws whether this is a self-pair, and its further sources.

        Raises:
            PgpisError: A file is missing or unreadable.
        """
        pair = self.pairs[index]
        pair.refuse_fault()
        may_draw = generator is not None and pair.target is not None
        if may_draw and torch.rand((), generator=generator).item() < self.self_pair_probability:
            pair = self.as_self_pair(pair)
        if generator is not None and self.most_sources > 1:
            pair = self.with_sources(pair, drawn_sources(self.others_of(pair), self.most_sources, generator))
        loaded = with_further(self._load, self._load(pair, origins), origins, self.map_of)
        if pair.edit is None:
            return loaded
        read = {name: content for name, content in loaded.conditions.items() if name in EDITED}
        edited = {name: self._edited(kind_of(name), content, pair.edit) for name, content in read.items()}
        return replace(loaded, conditions={**loaded.conditions, **edited})

    def _load(self, pair: Pair, origins: Collection[str]) -> LoadedPair:
        """Read the files of a pair, but for its further sources and its edit of textures."""
        files = {kind: self._existing(pair, kind.name) for kind in conditions(origins)}
        source = self.read_file(PICTURE, pair.source) if "source" in origins else None
        target = self.read_file(PICTURE, pair.target) if "target" in origins and pair.target is not None else None
        read = {kind.name: self._read(kind, path) for kind, path in files.items() if path is not None}
        pose = self.read_pose(pair) if "pose" in origins else None
        return LoadedPair(
            pair,
            source,
            target,
            keypoints=pose if isinstance(pose, Keypoints) else None,
            pose_image=pose if isinstance(pose, Image.Image) else None,
            conditions=read,
            dropped={kind.name for kind in files} - read.keys(),
        )

    def read_file(self, kind: Kind, path: Path) -> Any:
        """Read a picture, or what was made of one, of which :meth:`has_file` is true.

        Raises:
            PgpisError: It is missing or unreadable.
        """
        return read_picture(path) if kind is PICTURE else kind.read(path)

    def has_file(self, path: Path) -> bool:
        """Whether something that was made of a picture is there."""
        return is_file(path)

    def _read(self, kind: Kind, path: Path) -> Any:
        content = self.read_file(kind, path)
        if kind.name == "face":
            self.on_missing.refuse_foreign(content, path)
        return content

    def _edited(self, kind: Kind, content: Image.Image, edit: Edit) -> Image.Image:
        """Replace parts of a texture or surface by those of others, the head last."""
        values = np.asarray(content)
        for parts, files in edit.swaps:
            path = files.get(kind.name)
            if path is None or not is_file(path):
                raise PgpisError(f"no {kind.what} of another: {path}", hint=self.on_missing.hint(kind.name))
            values = replace_parts(values, np.asarray(read_image(path)), parts)
        return Image.fromarray(values)

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points or the drawn pose of a pair.

        Raises:
            PgpisError: There is none, or it cannot be read, or does not show a person.
        """
        pose = pair.pose
        if pose is None:
            hint = f"{what_makes(kind_of('pose'))}; or --config mcld.yaml, which reads DensePose maps"
            raise PgpisError("there are neither key points nor drawn poses, which this model reads", hint=hint)
        is_drawn = pose.suffix.lower() in IMAGE_SUFFIXES
        return read_drawn_pose(pose) if is_drawn else read_keypoints(pose, self.pose_frame)

    def _existing(self, pair: Pair, origin: str) -> Path | None:
        """Return a file that exists, or None where zeros may take its place."""
        path = pair.file(origin)
        if path is not None and self.has_file(path):
            return path
        if self.on_missing.of(origin) == "drop":
            return None
        where = f": {path}" if path is not None else ""
        raise PgpisError(f"no {kind_of(origin).what}{where}", hint=self.hint(kind_of(origin)))

    def hint(self, *kinds: Kind) -> str:
        """Return what the user can do where files of some kinds are missing."""
        return self.on_missing.hint(*(kind.name for kind in kinds))
