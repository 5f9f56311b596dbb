"""Pairs in shards that ``pgpis data pack`` wrote, read from disk or from a store."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from pgpis.caches import below_home
from pgpis.data.missing import OnMissing
from pgpis.data.names import LayoutName, PathText
from pgpis.data.packs.features import PackedFeatures
from pgpis.data.packs.lists import AGAIN, PACK, read_index, read_list, read_pack, refuse_elsewhere
from pgpis.data.packs.shards import Shards
from pgpis.data.packs.stores import Store
from pgpis.data.pair import Aim, Pair, Person
from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError, check_range, first_line
from pgpis.files import writing_at
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.kinds import Kind, Role, conditions, kind_of

Result = TypeVar("Result")
POSE = "pose"
NONE = -1
"""Number of a file that is not there."""
DEFAULT_CACHE = "~/.cache/pgpis/packs"


class Packed(PairDataset):
    """Pairs that ``pgpis data pack`` wrote: the same batches as from the folder, for the same seed.

    Args:
        root: Folder or URL, ``s3://bucket/people`` say, that was given to ``pgpis data pack --out``.
        split: ``train``, ``val``, ``test`` or ``predict``. Validation reads the test pairs where no others are packed.
        max_pairs: Take only the first pairs.
        self_pair_probability: Share of training pairs whose target picture also serves as source. None: as packed.
        on_missing: What happens where a face, texture or DensePose map does not exist that the model reads.
        cache_dir: Folder for shards that are elsewhere. None: ``~/.cache/pgpis/packs``.
        cache_size: Gigabytes that each split may take there. Of shards beyond that, only the files that are asked for
            are read, each time.
        pose: What must have been packed, ``keypoints`` or ``drawn`` poses, see ``DeepFashion``. None: either.
        layout: Layout whose list and pictures must have been packed. ``auto``: any.
        most_sources: Packs hold one source of a pair.
    """

    has_files = False

    def __init__(
        self,
        root: PathText,
        split: str = "train",
        max_pairs: int | None = None,
        self_pair_probability: float | None = None,
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
        cache_dir: PathText | None = None,
        cache_size: float = 100.0,
        pose: Literal["keypoints", "drawn"] | None = None,
        layout: Literal["auto"] | LayoutName = "auto",
        most_sources: int = 1,
    ) -> None:
        if most_sources != 1:
            hint = "train with several from the folder, or set most_sources: 1"
            raise PgpisError(f"packs hold one source of a pair, and most_sources is {most_sources}", hint=hint)
        super().__init__(self_pair_probability or 0.0, on_missing=on_missing)
        check_range("max_pairs", max_pairs, 1, whole=True, optional=True)
        check_range("cache_size", cache_size, 0)
        self.root = Store(os.fspath(root))
        self.split = split
        self.layout = layout
        self.pose = pose
        self.max_pairs = max_pairs
        self.as_packed = self_pair_probability is None
        self.cache_dir = below_home(os.fspath(cache_dir or DEFAULT_CACHE), "cache_dir")
        self.cache_size = cache_size

    def read_pairs(self) -> list[Pair]:
        """Read the list of the split.

        Raises:
            PgpisError: There is no pack, it is not whole, or its list is damaged.
        """
        store, pack = self._open()
        try:
            return self._pairs_of(store, pack)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise PgpisError(f"the pack {store} is damaged: {first_line(error)}", hint=AGAIN) from error

    def _pairs_of(self, store: Store, pack: dict[str, Any]) -> list[Pair]:
        content, files, pairs = read_list(store, pack)
        self.kinds: list[str] = pack["kinds"]
        if self.as_packed:
            self.self_pair_probability = pack["self_pair_probability"]
        own = hashlib.sha256(str(store).encode()).hexdigest()[:16]
        self._shards = Shards(store, read_index(store), self.cache_dir / own, int(self.cache_size * 1e9))
        self._files, self._features = files, content.get("features", {})
        are_points = (files[row[4]].suffix == ".json" for row in pairs if row[4] != NONE)
        self._refuse_other(store, pack.get("layout"), are_points)
        self._numbers = {path: number for number, path in enumerate(files)}
        file_of: list[Path | None] = [*files, None]  # NONE: none

        def made(role: Role, numbers: Iterable[int]) -> dict[str, Path | None]:
            return {kind: file_of[number] for kind, number in zip(content[f"{role}_kinds"], numbers, strict=True)}

        @cache
        def person(source: int, noise_name: str | None, video: str | None) -> Person:
            picture = files[source]
            return Person(picture, self._of_sources[picture], noise_name=noise_name, video=video)

        @cache
        def aim(pose: int, target: int, *numbers: int) -> Aim:
            return Aim(file_of[pose], file_of[target], made("target", numbers))

        videos = content.get("videos", [None] * len(pairs))
        names = [("pair", row[0]) for row in pairs] + [("video", name) for name in videos if name is not None]
        for what, name in names:
            refuse_elsewhere(name, f"the pack {store} calls a {what}", "take packs only from people whom you trust")
        self.frames_per_second = content.get("frames_per_second", self.frames_per_second)
        self._of_sources = {files[row[0]]: made("source", row[1:]) for row in content["sources"]}
        return [
            Pair(pair_id, person(source, noise_name, video), aim(pose, target, *numbers))
            for (pair_id, noise_name, source, target, pose, *numbers), video in zip(
                pairs[: self.max_pairs], videos[: self.max_pairs], strict=True
            )
        ]

    def _refuse_other(self, store: Store, layout: str | None, are_points: Iterable[bool]) -> None:
        """Refuse pairs of another layout, or poses of another protocol; earlier versions did not say the layout."""
        reasons = []
        if layout is not None and self.layout not in ("auto", layout):
            reasons.append(f"has the list of layout '{layout}', and layout is '{self.layout}'")
        if self.pose is not None and (self.pose == "drawn") in are_points:
            other = "drawn poses" if self.pose == "keypoints" else "key points, which are drawn as in training"
            reasons.append(f"has {other}, and pose is '{self.pose}'")
        if reasons:
            hint = f"pgpis data pack --config RECIPE --out {self.root} --splits {self.split}"
            raise PgpisError(f"the pack {store} {'; '.join(reasons)}", hint=hint)

    def _open(self) -> tuple[Store, dict[str, Any]]:
        """Return where the split is, and what is said of it."""
        for split in (self.split, "test") if self.split == "val" else (self.split,):
            store = self.root.below(split)
            if (content := store.read_if_there(PACK)) is not None:
                return store, read_pack(store, content)
        raise PgpisError(f"no pack in {self.root.below(self.split)}", hint=f"pgpis data pack ROOT --out {self.root}")

    def require(self, origins: Collection[str]) -> None:
        """Look for what a model reads, see ``PairDataset.require``; nothing but the list is read.

        Raises:
            PgpisError: A kind was not packed, or files are missing that may not be.
        """
        wanted = [kind.name for kind in conditions(origins) if self.on_missing.of(kind.name) == "error"]
        if absent := [name for name in wanted + [POSE] * (POSE in origins) if name not in self.kinds]:
            hint = f"run pgpis data pack ROOT --out {self.root} --kinds {' '.join([*self.kinds, *absent])}"
            raise PgpisError(f"{self.root.below(self.split)}: not packed: {', '.join(absent)}", hint=hint)
        self._treat(conditions(origins), lambda kind: [pair for pair in self.pairs if pair.file(kind.name) is None])

    def features(self, place: str) -> PackedFeatures:
        """Return the features that were packed, for training that takes them in place of pictures.

        Args:
            place: What ``data.cache`` says, which must be this pack.

        Raises:
            PgpisError: It is another place.
        """
        if not self.root.is_at(place):
            message = f"the pack {self.root} has features of its own, and data.cache is {place}"
            hint = f"pgpis data pack ROOT --out {self.root} --cache {place}, and --data.cache={self.root}"
            raise PgpisError(message, hint=hint)
        if self._features:
            self._shards.keep_from(len(self._files))  # training reads them rather than pictures
        return PackedFeatures(self, str(self.root), self._features, self._files, self._shards)

    def made_of(self, picture: Path, role: Role) -> dict[str, Path | None]:
        """Return what was made of a source; of targets their pairs say it."""
        return dict(self._of_sources.get(picture, {})) if role == "source" else {}

    def has_file(self, path: Path) -> bool:
        """Whether a file was packed."""
        return path in self._numbers

    def read_file(self, kind: Kind, path: Path) -> Any:
        """Read a file from its shard, by the reader that its kind has for files.

        Raises:
            PgpisError: It is damaged, or its shard is missing or cannot be reached.
        """
        return self._made(path, partial(self._decoded, kind, path))

    def _decoded(self, kind: Kind, path: Path, content: bytes) -> Any:
        with writing_at(Path(tempfile.gettempdir())), tempfile.NamedTemporaryFile(suffix=path.suffix) as file:
            file.write(content)
            file.flush()
            try:
                return kind.read(Path(file.name))
            except PgpisError as error:
                where = f"{path} in {self._shards.shard_of(self._numbers[path])}"
                raise PgpisError(error.message.replace(file.name, where), hint=error.hint) from error

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points or the drawn pose of a pair."""
        if pair.pose is None:
            return super().read_pose(pair)  # tells it
        if pair.pose.suffix != ".json":
            return self.read_file(kind_of("drawn"), pair.pose)
        return self._made(pair.pose, keypoints_from)

    def pose_content(self, pair: Pair) -> str:
        """Identify the pose, whose frame is in its content."""
        return self.file_content(pair.pose)

    def file_content(self, path: Path | None) -> str:
        """Identify the content of a file."""
        return "" if path is None else hashlib.sha256(self._content(path)).hexdigest()

    def digest(self, path: Path | None) -> str:
        """Identify a file by its content alone."""
        return self.file_content(path)

    def _made(self, path: Path, make: Callable[[bytes], Result]) -> Result:
        """Return what is made of a file's content; a damaged copy of its shard is fetched anew."""
        content = self._content(path)
        try:
            return make(content)
        except Exception:  # of any reader; raised again where the copy is whole
            if not self._shards.mend(self._numbers[path]):
                raise
        return make(self._content(path))

    def _content(self, path: Path) -> bytes:
        if path not in self._numbers:
            raise PgpisError(f"{path} is not in the pack {self.root}")
        return self._shards.read(self._numbers[path])


def keypoints_to_json(keypoints: Keypoints) -> bytes:
    """Return all of some key points; :func:`keypoints_from` returns the same."""
    content = {
        "points": keypoints.points.tolist(),
        "visible": keypoints.visible.astype(int).tolist(),
        "frame": vars(keypoints.frame),
        "skeleton": keypoints.skeleton,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def keypoints_from(content: bytes) -> Keypoints:
    """Read :func:`keypoints_to_json`'s text."""
    values = json.loads(content)
    points, visible = np.array(values["points"], np.float64), np.array(values["visible"], bool)
    return Keypoints(points, visible, Frame(**values["frame"]), values["skeleton"])
