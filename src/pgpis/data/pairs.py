"""A pair of source picture and target pose, and what every data set of pairs has in common."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.missing import WHAT, Listing, OnMissing, WhenMissing
from pgpis.data.pictures import content_hash, read_picture
from pgpis.errors import PgpisError, check_range
from pgpis.files import is_file
from pgpis.pictures.conditions import read_face, read_iuv
from pgpis.pictures.images import IMAGE_SUFFIXES, read_image
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.plausibility import check_drawn_pose
from pgpis.pictures.uv_texture import PART_GROUPS, replace_parts

log = logging.getLogger(__name__)

ORIGINS = ("source", "target", "pose")


@dataclass(frozen=True)
class Appearance:
    """Files that were made from one picture of a person."""

    texture: Path | None = None
    """Its texture map."""
    face: Path | None = None
    """Its face embedding."""


@dataclass(frozen=True)
class Edit:
    """What of another person replaces what of the source."""

    identity: Appearance | None = None
    """Whose face embedding and head are taken."""
    clothes: tuple[tuple[tuple[int, ...], Path], ...] = ()
    """Parts of the texture map, and the map that they are taken from."""


@dataclass(frozen=True)
class Pair:
    """The files of one pair."""

    pair_id: str
    """``SOURCE_2_POSE``: names the result."""
    source: Path
    """Picture of the person."""
    pose: Path | None
    """File that the target pose is read from: key points or a drawn skeleton; None: there is none."""
    target: Path | None = None
    """Picture of the person in the target pose, where there is one."""
    iuv: Path | None = None
    """DensePose's map of the target pose."""
    appearance: Appearance = Appearance()
    """What was made from the source."""
    edit: Edit | None = None
    """What is to be another's."""
    noise_name: str | None = None
    """What the noise of its results depends on beside the seed; None: ``pair_id``."""

    @property
    def pose_file(self) -> Path | None:
        """The file that names the target pose."""
        return self.pose or self.iuv

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the pair names, whatever a model reads of them."""
        looks = [self.appearance] + ([self.edit.identity] if self.edit is not None and self.edit.identity else [])
        files = [self.source, self.pose, self.target, self.iuv, *(look.texture for look in looks)]
        files += [*(look.face for look in looks), *(path for _, path in (self.edit.clothes if self.edit else ()))]
        return tuple(file for file in files if file is not None)

    def file(self, origin: str) -> Path | None:
        """Return the file of ``source``, ``target``, ``iuv``, ``texture`` or ``face``, as edited."""
        if origin in ("source", "target"):
            return self.source if origin == "source" else self.target
        if origin == "iuv":
            return self.iuv
        if origin == "face" and self.edit is not None and self.edit.identity is not None:
            return self.edit.identity.face
        path: Path | None = getattr(self.appearance, origin)
        return path


@dataclass(frozen=True)
class LoadedPair:
    """The content of the files of one pair; None for what was not asked for or does not exist."""

    pair: Pair
    source: Image.Image | None = None
    target: Image.Image | None = None
    keypoints: Keypoints | None = None
    pose_image: Image.Image | None = None
    iuv: Image.Image | None = None
    texture: Image.Image | None = None
    face: NDArray[np.float32] | None = None
    dropped: frozenset[str] = frozenset()
    """What the model gets zeros for."""


class PairDataset(ABC):
    """A list of pairs on disk.

    The constructor only keeps its arguments; ``setup`` reads the lists, so that a configuration can be built and
    printed without the files.

    Args:
        self_pair_probability: In training, share of pairs whose target picture also serves as their source.
        pose_frame: What key points refer to, where their files do not say it.
        on_missing: What happens where a face, texture or DensePose map does not exist.
    """

    frames_per_second = 25.0
    """Of the videos whose frames :meth:`sequences` gives."""
    complete = True
    """Whether a pair without a file that is needed stops the job; else it only fails itself."""

    def __init__(
        self,
        self_pair_probability: float = 0.0,
        pose_frame: Frame | None = None,
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
    ) -> None:
        check_range("self_pair_probability", self_pair_probability, 0, 1)
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
        """Read the list of pairs; a second call changes nothing."""
        if self._pairs is None:
            self._pairs = tuple(self.read_pairs())

    def require(self, origins: Collection[str]) -> None:
        """Look for the files of ``iuv``, ``texture`` and ``face`` that a model reads, and do what ``on_missing`` says.

        Args:
            origins: What the model reads.

        Raises:
            PgpisError: Files are missing that may not be, or the pairs ask for edits that the model cannot make.
        """
        if any(pair.edit for pair in self.pairs) and not {"texture", "face"} <= set(origins):
            raise PgpisError(
                "--identity and --clothes exchange face and texture, and this model reads neither",
                hint="pgpis predict --config mcld.yaml ...",
            )
        listing = Listing()
        for origin in WHAT:
            if origin not in origins:
                continue
            missing = [pair for pair in self.pairs if not listing.has(pair.file(origin))]
            if missing:
                self._treat(origin, missing)

    def _treat(self, origin: str, missing: Sequence[Pair]) -> None:
        policy: WhenMissing = getattr(self.on_missing, origin)
        expected = list(dict.fromkeys(str(pair.file(origin) or pair.pair_id) for pair in missing))
        message = f"{len(missing)} of {len(self.pairs)} pairs have no {WHAT[origin]}: {', '.join(expected[:3])}"
        if policy == "error" and (self.complete or len(missing) == len(self.pairs)):
            raise PgpisError(message, hint=self.on_missing.hint(origin))
        if policy == "drop":
            log.warning("%s; the model gets zeros for them", message)
        elif policy == "skip":
            lacking = {pair.pair_id for pair in missing}
            self._pairs = tuple(pair for pair in self.pairs if pair.pair_id not in lacking)
            log.warning("%s; they are left out", message)
            if not self._pairs:
                raise PgpisError(f"no pair is left: {message}", hint=self.on_missing.hint(origin))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, in the order of their index.

        Raises:
            PgpisError: ``setup`` was not called.
        """
        if self._pairs is None:
            raise PgpisError(f"{type(self).__name__} has not read its lists yet", hint="call setup() first")
        return self._pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def fingerprint(self, index: int, origins: Collection[str]) -> str:
        """Return the hash of everything that is read for one pair but its target; empty where a part cannot be read.

        Args:
            index: Position in ``pairs``.
            origins: As in :meth:`load`.
        """
        pair = self.pairs[index]
        content = {}
        for origin in sorted({*origins} - {"target"}):
            parts = [self.pose_content(pair)] if origin == "pose" else [self.file_content(pair.file(origin))]
            if origin in WHAT and parts == [""] and getattr(self.on_missing, origin) == "drop":
                parts = ["dropped"]
            if origin == "texture" and pair.edit is not None:
                parts += [f"{numbers} {self.file_content(path)}" for numbers, path in pair.edit.clothes]
                parts += [] if pair.edit.identity is None else [self.file_content(pair.edit.identity.texture)]
            if "" in parts:
                return ""
            content[origin] = parts
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def file_content(self, path: Path | None) -> str:
        """Identify the content of a file; empty where there is none."""
        return content_hash(path)

    def pose_content(self, pair: Pair) -> str:
        """Identify what :meth:`read_pose` reads; empty where there is nothing."""
        content = content_hash(pair.pose)
        return content and f"{content} {self.pose_frame}"

    def sequences(self) -> dict[str, list[Pair]]:
        """Return the pairs that are frames of a video, by its name, in order; by default there are none."""
        return {}

    def as_self_pair(self, pair: Pair) -> Pair:
        """Let the target also be the source; a data set with textures and faces exchanges them too."""
        assert pair.target is not None
        return replace(pair, source=pair.target, appearance=Appearance())

    def load(
        self,
        index: int,
        origins: Collection[str] = ORIGINS,
        generator: torch.Generator | None = None,
    ) -> LoadedPair:
        """Read the files of one pair.

        Args:
            index: Position in ``pairs``.
            origins: Which of ``source``, ``target``, ``pose``, ``iuv``, ``texture`` and ``face`` are needed; nothing
                else is read.
            generator: Given in training only: draws whether this is a self-pair.

        Raises:
            PgpisError: A file is missing or unreadable.
        """
        pair = self.pairs[index]
        if generator is not None and pair.target is not None:
            drawn = torch.rand((), generator=generator).item()
            if drawn < self.self_pair_probability:
                pair = self.as_self_pair(pair)
        loaded = LoadedPair(
            pair,
            source=read_picture(pair.source) if "source" in origins else None,
            target=read_picture(pair.target) if "target" in origins and pair.target is not None else None,
        )
        if "pose" in origins:
            loaded = self._with_pose(loaded)
        files = {origin: self._existing(pair, origin) for origin in WHAT if origin in origins}
        iuv, texture, face = (files.get(origin) for origin in ("iuv", "texture", "face"))
        embedding = None if face is None else read_face(face)
        if face is not None and embedding is not None:
            self.on_missing.refuse_foreign(embedding, face)
        return replace(
            loaded,
            iuv=None if iuv is None else read_iuv(iuv),
            texture=None if texture is None else _edited(read_image(texture), pair.edit),
            face=embedding,
            dropped=frozenset(origin for origin, path in files.items() if path is None),
        )

    def _with_pose(self, loaded: LoadedPair) -> LoadedPair:
        pose = self.read_pose(loaded.pair)
        if isinstance(pose, Image.Image):
            return replace(loaded, pose_image=pose)
        return replace(loaded, keypoints=pose)

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points or the drawn pose of a pair.

        Raises:
            PgpisError: There is none, or it cannot be read, or does not show a person.
        """
        pose = pair.pose
        if pose is None:
            raise PgpisError(
                "there are neither key points nor drawn poses, and this model reads the pose from them",
                hint="a layout with key points, or --config mcld.yaml, which reads DensePose's maps",
            )
        if pose.suffix.lower() in IMAGE_SUFFIXES:
            return read_drawn_pose(pose)
        return read_keypoints(pose, self.pose_frame)

    def _existing(self, pair: Pair, origin: str) -> Path | None:
        """Return a file that exists, or None where zeros may take its place."""
        path = pair.file(origin)
        if path is not None and is_file(path):
            return path
        if getattr(self.on_missing, origin) == "drop":
            return None
        where = f": {path}" if path is not None else ""
        raise PgpisError(f"no {WHAT[origin]}{where}", hint=self.on_missing.hint(origin))


def read_drawn_pose(path: Path) -> Image.Image:
    """Read a picture of a skeleton.

    Raises:
        PgpisError: The file is missing or not such a picture.
    """
    drawing = read_image(path, background="black")
    check_drawn_pose(drawing, str(path))
    return drawing


def _edited(texture: Image.Image, edit: Edit | None) -> Image.Image:
    """Replace parts of a texture by those of others, the head last."""
    if edit is None:
        return texture
    values = np.asarray(texture)
    for parts, path in edit.clothes:
        values = replace_parts(values, np.asarray(read_image(path)), parts)
    if edit.identity is not None and edit.identity.texture is not None:
        values = replace_parts(values, np.asarray(read_image(edit.identity.texture)), PART_GROUPS["head"])
    return Image.fromarray(values)
