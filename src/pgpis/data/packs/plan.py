"""Which files of a data set are packed, each once, in the order in which pairs first name it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pgpis.data.cache import whole_name
from pgpis.data.deepfashion import DeepFashion
from pgpis.data.layouts import Split, layouts_in
from pgpis.data.names import DATABASE
from pgpis.data.packs.features import FeatureItem, plan_features
from pgpis.data.packs.lists import refuse_elsewhere
from pgpis.data.packs.packed import NONE, POSE, keypoints_to_json
from pgpis.data.pair import Pair, without_garbage_collection
from pgpis.data.pairs import PICTURE, PairDataset
from pgpis.data.phoenix import SPLITS, Phoenix14T, corpus_path, find_release
from pgpis.data.picture_store import picture_exists, picture_stamp, read_content, read_picture
from pgpis.errors import PgpisError
from pgpis.jobs import Failure, reason_of
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import Kind, Role, kind_of

ENTRY_BYTES = 100_000
"""What an entry of an LMDB, whose size is not known, counts for the size of its shard."""


@dataclass(frozen=True)
class Item:
    """A file, or the content of a pose that no file holds alone."""

    path: Path
    kind: str
    content: bytes | None = None

    @property
    def stamp(self) -> list[Any]:
        """What changes with its content; the last number is its size."""
        if self.content is not None:
            return [hashlib.sha256(self.content).hexdigest(), len(self.content)]
        size, changed = picture_stamp(self.path) or (0, 0)
        return [changed, ENTRY_BYTES if DATABASE in self.path.parts else size]

    def read(self) -> bytes:
        """Return its bytes, which its kind must be able to read.

        Raises:
            PgpisError: It is missing or damaged.
        """
        if self.content is not None:
            return self.content
        _ = read_picture(self.path) if self.kind == PICTURE.name else kind_of(self.kind).read(self.path)
        return read_content(self.path)


@dataclass(frozen=True)
class Shard:
    """What one process writes in one go."""

    number: int
    items: tuple[Item | FeatureItem, ...]
    stamp: str
    """What changes with the content of its items."""

    def __str__(self) -> str:
        return f"chunk-0-{self.number}.bin"  # as litdata calls it

    @property
    def pictures(self) -> int:
        """Number of files."""
        return len(self.items)

    @property
    def record(self) -> str:
        """Name of what is said of it, once it is whole."""
        return f"chunk-0-{self.number}.json"


@dataclass
class Plan:
    """Which files are packed, and which pairs name them."""

    dataset: PairDataset
    kinds: Sequence[Kind]
    """Conditions to look for."""
    with_pose: bool
    cache: Path | None = None
    """Whose features are packed too."""
    items: list[Item] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    """Of each pair: id, name of its noise, numbers of source, target, pose and the conditions of the target."""
    sources: dict[int, list[int]] = field(default_factory=dict)
    """By the number of a picture the numbers of the conditions of sources."""
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is said of each feature, by name."""
    feature_items: list[FeatureItem] = field(default_factory=list)
    """Features, which are numbered behind ``items``."""
    failures: list[Failure] = field(default_factory=list)
    _numbers: dict[Any, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with without_garbage_collection():
            for pair in self.dataset.pairs:
                self._add(pair)
        if self.cache is not None:
            planned = plan_features(self.cache, self.dataset, self._numbers, len(self.items))
            self.features, self.feature_items = planned

    def of(self, role: Role) -> list[Kind]:
        """Return the kinds that are made of a source or of a target."""
        return [kind for kind in self.kinds if kind.of == role]

    def _add(self, pair: Pair) -> None:
        for what, name in (("pair", pair.pair_id), ("video", pair.video)):
            if name is not None:
                refuse_elsewhere(name, f"the data set calls a {what}", "rename it: packs hold names without folders")
        if pair.edit is not None:
            raise PgpisError(f"{pair.pair_id} has an edit, and packs hold none", hint="pack the pairs without it")
        if pair.further or self.dataset.most_sources > 1:
            raise PgpisError(f"{pair.pair_id} has several sources, and packs hold one", hint="most_sources: 1")
        numbers = [self._file(PICTURE, pair.source)]
        self._add_source(numbers[0], {kind.name: pair.file(kind.name) for kind in self.kinds})
        numbers += [NONE if pair.target is None else self._file(PICTURE, pair.target)]
        files = [(kind, pair.file(kind.name)) for kind in self.of("target")]
        # where poses are read, a picture in their place shows a skeleton, and is not the map that it could be
        made = [NONE if self.with_pose and path == pair.pose else self._file(kind, path) for kind, path in files]
        pose = self._pose(pair) if self.with_pose else NONE
        if self.dataset.self_pair_probability and pair.target is not None:
            self._add_source(numbers[1], self.dataset.made_of(pair.target, "source"))
        missing = [path for path, number in zip((pair.source, pair.target), numbers, strict=True) if number == NONE]
        reason = next((f"picture not found: {path}" for path in missing if path), pose)
        if isinstance(reason, str):
            self.failures.append(Failure(pair.pair_id, reason))
        else:
            self.rows.append([pair.pair_id, pair.noise_name, *numbers, pose, *made])

    def _add_source(self, picture: int, files: dict[str, Path | None]) -> None:
        if picture != NONE and picture not in self.sources:
            self.sources[picture] = [self._file(kind, files.get(kind.name)) for kind in self.of("source")]

    def _file(self, kind: Kind, path: Path | None) -> int:
        """Return the number of a file; conditions may not be there."""
        if path not in self._numbers:
            is_there = path is not None and picture_exists(path)
            self._numbers[path] = self._new(Item(path, kind.name)) if path is not None and is_there else NONE
        return int(self._numbers[path])

    def _pose(self, pair: Pair) -> int | str:
        """Return the number of a pose, or why it cannot be read."""
        key = (pair.pose, pair.target)
        if key not in self._numbers:
            try:
                pose = self.dataset.read_pose(pair)
            except Exception as error:  # noqa: BLE001  readers raise anything on odd files, which cost their pairs
                self._numbers[key] = reason_of(error)
            else:
                owner = pair.target or pair.pose or pair.source
                if isinstance(pose, Keypoints):
                    path = owner.with_name(f"{owner.stem}.{len(self.items)}.pose.json")
                    self._numbers[key] = self._new(Item(path, POSE, keypoints_to_json(pose)))
                else:
                    self._numbers[key] = self._file(kind_of("drawn"), pair.pose)
        return self._numbers[key]

    def _new(self, item: Item) -> int:
        self.items.append(item)
        return len(self.items) - 1

    def packed_kinds(self) -> list[str]:
        """Return the kinds of which there is a file."""
        columns = [[row[4] for row in self.rows]]
        columns += [[row[5 + place] for row in self.rows] for place in range(len(self.of("target")))]
        columns += [[row[place] for row in self.sources.values()] for place in range(len(self.of("source")))]
        names = [POSE, *(kind.name for role in ("target", "source") for kind in self.of(role))]
        return [name for name, numbers in zip(names, columns, strict=True) if any(n != NONE for n in numbers)]

    def shards(self, least_bytes: float) -> Iterator[Shard]:
        """Deal the items out, in their order, to shards of about a size; features begin a new one."""
        number = 0
        groups: tuple[Sequence[Item | FeatureItem], ...] = (self.items, self.feature_items)
        for items in groups:
            start, size, stamps = 0, 0, []
            for end, item in enumerate(items, 1):
                stamps.append([str(whole_name(item.path)), item.kind, *item.stamp])
                size += stamps[-1][-1]
                if size >= least_bytes or end == len(items):
                    stamp = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
                    yield Shard(number, tuple(items[start:end]), stamp)
                    number, start, size, stamps = number + 1, end, 0, []


def datasets_in(root: Path) -> dict[str, PairDataset]:
    """Return the data sets of a folder, DeepFashion in any layout or Phoenix, by the splits that have a list.

    Raises:
        PgpisError: It is missing, or neither of the two.
    """
    if not root.is_dir():
        raise PgpisError(f"folder not found: {root}")
    datasets: dict[str, PairDataset] = {}
    release, layouts = find_release(root), layouts_in(root)
    for split in get_args(Split):
        if any(layout.find_list(root, split) for layout in layouts):
            datasets[split] = DeepFashion(root, split)
        elif release is not None and corpus_path(release, SPLITS[split]).is_file():
            datasets[split] = Phoenix14T(root, split)
    if not datasets:
        hint = "pgpis data check says what is in a folder; pairs of a recipe are packed with --config RECIPE"
        raise PgpisError(f"{root} has no layout that pgpis knows", hint=hint)
    return datasets
