"""Features of frozen encoders, computed once: shards of safetensors with an index, refused where they are stale.

A feature is a folder with an index, and in it a folder with shards for each variant of the pictures. They are written
by :mod:`pgpis.data.cache_writer`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from pgpis.batch import ImageSpec, InputSpecs
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_stamp
from pgpis.data.transforms import Augmentation, may_flip
from pgpis.errors import PgpisError

SHARD = 512
INDEX = "cache.json"
INDEX_ENTRIES = {"key": dict, "dtype": str, "variants": list, "files": list}
AGAIN = "pgpis cache again, with another --out"
DtypeName = Literal["float32", "bfloat16"]


class Variant(NamedTuple):
    """How the picture was varied before it was encoded."""

    flip: bool
    detour: bool

    @property
    def name(self) -> str:
        """Name of the variant's folder."""
        return f"flip{int(self.flip)}-detour{int(self.detour)}"


class FeatureKey(NamedTuple):
    """What a feature depends on beside the picture; a cache with another key is stale."""

    picture: str
    """Batch key of the picture it is made from."""
    weights: str
    """Hash of the encoder's weights."""
    spec: str
    """How the picture is prepared."""

    def difference(self, index: Mapping[str, Any]) -> str | None:
        """Say in what the key of an index differs; None: in nothing."""
        what = {"weights": "the encoder's weights", "spec": "how pictures are prepared", "picture": "the picture"}
        for field, text in what.items():
            stored, now = index["key"].get(field), getattr(self, field)
            if stored != now:
                return f"it was made with another value of {text} ({stored}, now {now})"
        return None


def feature_key(picture: str, specs: InputSpecs, weights: str) -> FeatureKey:
    """Return the key of a feature."""
    return FeatureKey(picture, weights, " from ".join(map(repr, chain_of(picture, specs).values())))


def chain_of(picture: str, specs: InputSpecs) -> dict[str, ImageSpec]:
    """Return the entries that a picture is made from, its own first."""
    chain: dict[str, ImageSpec] = {}
    key: str | None = picture
    while key is not None:
        spec = specs[key]
        assert isinstance(spec, ImageSpec)
        chain[key] = spec
        key = spec.base
    return chain


def variants_of(picture: str, specs: InputSpecs, augmentation: Augmentation) -> list[Variant]:
    """Return the variants of a picture that training may ask for."""
    has_detour = any(spec.train_detour is not None for spec in chain_of(picture, specs).values())
    flips = (False, True) if augmentation.flip_probability and may_flip(specs) else (False,)
    detours = (False, True) if augmentation.detour_probability and has_detour else (False,)
    return [Variant(flip, detour) for flip in flips for detour in detours]


def files_of(dataset: PairDataset, origin: str) -> list[Path]:
    """Return the distinct files of an origin, those of self-pairs included; see :func:`refuse_packs`."""
    refuse_packs(dataset)
    files = {pair.file(origin) for pair in dataset.pairs}
    if dataset.self_pair_probability:
        files |= {dataset.as_self_pair(pair).file(origin) for pair in dataset.pairs if pair.target is not None}
    return sorted(path for path in files if path is not None and picture_stamp(path) is not None)


def refuse_packs(dataset: PairDataset) -> None:
    """Refuse a data set whose pictures are not files, by whose change a stale feature is told."""
    if not dataset.has_files:
        message = f"{type(dataset).__name__} has no files of its own, to which cached features could belong"
        raise PgpisError(message, hint="take the features from the folder that was packed, or train without data.cache")


class FeatureCache:
    """Reads what :class:`pgpis.data.cache_writer.CacheWriter` wrote.

    Args:
        folder: The cache.
        keys: Features that the task can take, by name; those that are not in the folder are computed in training.
        variants: What the augmentation may ask for, by name.
        kept: Batch keys of pictures that are read beside their features.

    Raises:
        PgpisError: A feature is stale or not complete.
    """

    def __init__(
        self,
        folder: Path,
        keys: Mapping[str, FeatureKey],
        variants: Mapping[str, Sequence[Variant]],
        kept: Collection[str] = (),
    ) -> None:
        self.folder = folder
        self.kept = kept
        self.variants: dict[str, set[Variant]] = {}
        self.rows: dict[str, dict[str, int]] = {}
        self.pictures: dict[str, str] = {}
        for name, key in keys.items():
            if (folder / name / INDEX).is_file():
                self._open(name, key, variants[name])
        if not self.rows:
            message = f"no features in {folder} that this model can take ({', '.join(keys) or 'it takes none'})"
            raise PgpisError(message, hint="pgpis cache --config RECIPE --out FOLDER")

    def _open(self, name: str, key: FeatureKey, required: Sequence[Variant]) -> None:
        folder = self.folder / name
        index = read_index(folder / INDEX)
        changed = (
            f"{path} has changed" for path, stamp in index["files"] if list(picture_stamp(Path(path)) or ()) != stamp
        )
        reason = key.difference(index) or next(changed, None)
        if reason is not None:
            raise PgpisError(f"{folder} is stale: {reason}", hint=AGAIN)
        files = [path for path, _ in index["files"]]
        self.variants[name] = {Variant(**variant) for variant in index["variants"]}
        for variant in required:
            if variant not in self.variants[name]:
                raise PgpisError(f"{folder} was made with another augmentation: no {variant.name}", hint=AGAIN)
        for variant in sorted(self.variants[name], key=lambda variant: variant.name):
            for path, shard in shards_of(folder / variant.name, files):
                if not is_whole(path, len(shard)):
                    reason = f"{path} is damaged" if path.is_file() else f"{folder} is not complete: no {path}"
                    raise PgpisError(reason, hint="run the same 'pgpis cache' again: it goes on")
        self.rows[name] = {path: number for number, path in enumerate(files)}
        self.pictures[name] = key.picture

    def read(self, name: str, path: Path | None, *, flip: bool, detour: bool) -> torch.Tensor:
        """Return a picture's feature in float32; one that is not there or not finite is refused."""
        row = self.rows[name].get(str(path))
        if row is None:
            hint = "pgpis cache again: the list has changed"
            raise PgpisError(f"{self.folder / name} has no features of {path}", hint=hint)
        asked = Variant(flip, detour)
        variant = asked if asked in self.variants[name] else Variant(flip, detour=False)
        values: torch.Tensor = _slices(_shard_path(self.folder / name / variant.name, row // SHARD))[row % SHARD]
        if not values.isfinite().all():
            message = f"{path} could not be read when the cache was made, or gave numbers that are not finite"
            raise PgpisError(message, hint="repair or remove it, and run pgpis cache again")
        return values.float()


@functools.lru_cache(maxsize=256)
def _slices(path: Path) -> Any:
    """Open a shard once per process; only the rows that are asked for are read."""
    file: Any = safe_open(path, "pt")
    return file.get_slice("features")


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def shards_of(folder: Path, files: Sequence[Any]) -> Iterator[tuple[Path, Sequence[Any]]]:
    """Yield the shards of a variant, and whose features they hold."""
    for number, start in enumerate(range(0, len(files), SHARD)):
        yield _shard_path(folder, number), files[start : start + SHARD]


def is_whole(path: Path, count: int) -> bool:
    """Return whether a shard is there with all its rows."""
    try:
        with safe_open(path, "pt") as file:
            return bool(file.get_slice("features").get_shape()[0] == count)
    except (OSError, SafetensorError, IndexError):
        return False


def read_index(path: Path) -> dict[str, Any]:
    """Read what a feature was made of, whatever the file holds."""
    damage: object = None
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(index[name], kind) for name, kind in INDEX_ENTRIES.items()):
            damage = "an entry is of another kind"
        [(Path(file), *stamp) for file, stamp in index["files"]]
        [Variant(**variant).name for variant in index["variants"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        damage = error
    if damage is not None:
        raise PgpisError(f"{path} is damaged: {damage}", hint=f"remove {path.parent}, and run pgpis cache again")
    return dict(index)
