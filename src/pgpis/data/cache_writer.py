"""Writes cached features, shard by shard, in this process or in others; see :mod:`pgpis.data.cache`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import ImageOps

from pgpis.batch import FrozenFeature, InputSpecs
from pgpis.cluster import Crew, Shared
from pgpis.data.cache import (
    INDEX,
    DtypeName,
    files_in,
    has_unread,
    is_made,
    is_whole,
    read_index,
    shards_of,
    write_shard,
)
from pgpis.data.features import FeatureKey, Variant, image_chain, origin_of
from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.errors import PgpisError
from pgpis.files import remove_unfinished, write_text
from pgpis.jobs import parts, reason_of
from pgpis.pictures.images import fit_images

Unreadable = list[tuple[str, str]]
"""Pictures that could not be read, and why."""


@dataclass(frozen=True)
class Shard:
    """Features of a few pictures in one variant: what is made in one go."""

    path: Path
    """Where they are written to."""
    files: Sequence[Path]
    variant: Variant


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of one feature; it holds all that another process needs for it."""

    feature: FrozenFeature
    specs: InputSpecs
    """What the task declares."""
    dtype: DtypeName = "float32"
    """How features are stored."""
    device: str = "cpu"
    """Where the encoder runs."""
    batch_size: int = 8
    """Pictures at a time."""

    def make(self, shard: Shard) -> Unreadable:
        """Write a shard, and return the pictures that could not be read: their features are not a number.

        Raises:
            PgpisError: It cannot be written.
        """
        unreadable: Unreadable = []
        self.feature.encoder.to(self.device)
        with torch.inference_mode():
            rows = torch.cat([self._encode(batch) for batch in self._batches(shard, unreadable)])
        write_shard(shard.path, rows.to(getattr(torch, self.dtype)))
        return unreadable

    def _batches(self, shard: Shard, unreadable: Unreadable) -> Iterator[torch.Tensor]:
        """Prepare pictures as training does; one that cannot be read is not a number."""
        images = image_chain(self.feature.picture, self.specs)
        spec = images[self.feature.picture]
        for files in parts(shard.files, self.batch_size):
            prepared = []
            for path in files:
                try:
                    image = read_picture(path)
                    image = ImageOps.mirror(image) if shard.variant.flip else image
                    fitted = fit_images({spec.origin: image}, images, detour=shard.variant.detour)
                    prepared.append(fitted[self.feature.picture])
                except Exception as error:  # noqa: BLE001  whatever is wrong with one picture ends no job
                    unreadable.append((str(path), reason_of(error)))
                    prepared.append(torch.full((3, spec.height, spec.width), torch.nan))
            yield torch.stack(prepared)

    def _encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode pictures; what could not be read gives features that are not a number."""
        unreadable = pictures.flatten(1)[:, 0].isnan()
        features = self.feature.encode(self.feature.encoder, pictures.nan_to_num().to(self.device)).cpu()
        features[unreadable] = torch.nan
        return features


@dataclass(frozen=True)
class CacheWriter:
    """Writes the features of a data set; what is there already is not computed again."""

    folder: Path
    """Where the cache is."""
    dtype: DtypeName = "float32"
    """How features are stored."""
    rank: int = 0
    """Number of this process; shard i is made by process ``i % world_size``."""
    world_size: int = 1
    """Number of processes, on one machine or many that share the folder."""

    def begin(self, name: str, key: FeatureKey, files: Sequence[Path], variants: Sequence[Variant]) -> list[Shard]:
        """Begin a feature, or go on with it: return the shards that this process has to make, whole ones included.

        Pictures that could not be read may have changed since; their shards are not complete, and are made again.

        Raises:
            PgpisError: The folder holds this feature with another key.
        """
        self._write_index(self.folder / name / INDEX, key, files, variants)
        own: list[Shard] = []
        for variant in variants:
            folder = self.folder / name / variant.name
            if self.world_size == 1:  # what another process is writing looks like what a killed one has left
                remove_unfinished(folder)
            parts = list(shards_of(folder, files))[self.rank :: self.world_size]
            own += [Shard(path, part, variant) for path, part in parts]
        return own

    def _write_index(self, index: Path, key: FeatureKey, files: Sequence[Path], variants: Sequence[Variant]) -> None:
        entry = {
            "key": key._asdict(),
            "dtype": self.dtype,
            "variants": [variant._asdict() for variant in variants],
            "files": [[str(path), picture_stamp(path)] for path in files],
            "folder": str(Path.cwd()),
        }
        if not index.is_file():
            if self.rank == 0:
                write_text(index, json.dumps(entry))
            return
        stored = read_index(index)
        stored["key"].setdefault("origin", origin_of(stored))  # earlier versions had it in ``spec`` alone
        now = json.loads(json.dumps(entry))
        if _has_mended(index.parent, stored, now):
            stored |= {"files": now["files"], "folder": now["folder"]}
            if self.rank == 0:
                write_text(index, json.dumps(stored))
        if _content(stored) != _content(now):
            dtype = None if stored["dtype"] == self.dtype else f"it holds {stored['dtype']}, now {self.dtype}"
            reason = key.difference(stored) or dtype or "its pictures have changed"
            raise PgpisError(f"{index.parent} is stale: {reason}", hint="remove it, or choose another --out")


def _has_mended(folder: Path, stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether pictures have changed, and no others than those of which no variant could be read."""
    if len(stored["files"]) != len(now["files"]):
        return False
    pairs = zip(files_in(stored), files_in(now), strict=True)
    changed = [(row, before[0] == after[0]) for row, (before, after) in enumerate(pairs) if before != after]
    return bool(changed) and all(is_same and not is_made(folder, stored, row) for row, is_same in changed)


def _content(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return an index without the spelling of its files."""
    return {**index, "folder": None, "files": files_in(index)}


MakeShards = Callable[[ShardMaker, Sequence[Shard], Callable[[int], None]], Unreadable]
"""Makes shards, and calls the function with the number of further pictures; see :func:`make_here`."""


def missing_of(parts: Sequence[Shard]) -> list[Shard]:
    """Return the shards that are not there, damaged, or lack pictures that could not be read."""
    return [shard for shard in parts if not is_whole(shard.path, len(shard.files)) or has_unread(shard.path)]


def make_here(maker: ShardMaker, parts: Sequence[Shard], advance: Callable[[int], None]) -> Unreadable:
    """Make shards in this process; return the pictures that could not be read."""
    unreadable: Unreadable = []
    for shard in parts:
        unreadable += maker.make(shard)
        advance(len(shard.files))
    return unreadable


def make_on(crew: Crew, maker: ShardMaker, parts: Sequence[Shard], advance: Callable[[int], None]) -> Unreadable:
    """Make shards in actors of a cluster, each of which has the encoder once; return what could not be read or made.

    Raises:
        PgpisError: Nothing more can be written.
        Stopped: By a signal, after the shards in hand.
    """
    unreadable: Unreadable = []
    work = functools.partial(_make_with, Shared(replace(maker, device=crew.device)))
    for shard, future in crew.done(work, parts):
        try:
            unreadable += future.result()
        except BrokenExecutor as error:  # this shard ends whoever makes it
            unreadable.append((str(shard.path), str(error)))
        advance(len(shard.files))
    return unreadable


def _make_with(maker: Shared[ShardMaker], shard: Shard) -> Unreadable:
    return maker.get().make(shard)
