"""Features of frozen encoders, computed once: shards of safetensors with an index, refused where they are stale."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pgpis.batch import ImageSpec, InputSpecs
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.data.shards import INDEX, FeatureKey, Variant, difference, is_whole, read_index, shard_path
from pgpis.data.transforms import Augmentation, may_flip, mirror
from pgpis.errors import PgpisError
from pgpis.files import remove_unfinished, replacing, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.images import fit_images

SHARD = 512
AGAIN = "pgpis cache again, with another --out"
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DtypeName = Literal["float32", "bfloat16"]
Encode = Callable[[torch.Tensor], torch.Tensor]


def feature_key(picture: str, specs: InputSpecs, weights: str) -> FeatureKey:
    """Return the key of a feature."""
    chain, key = [], picture
    while True:
        spec = specs[key]
        assert isinstance(spec, ImageSpec)
        chain.append(repr(spec))
        if spec.base is None:
            return FeatureKey(picture, weights, " from ".join(chain))
        key = spec.base


def variants_of(picture: str, specs: InputSpecs, augmentation: Augmentation) -> list[Variant]:
    """Return the variants of a picture that training may ask for."""
    spec = specs[picture]
    assert isinstance(spec, ImageSpec)
    base = specs[spec.base] if spec.base is not None else None
    has_detour = spec.train_detour is not None or (isinstance(base, ImageSpec) and base.train_detour is not None)
    flips = (False, True) if augmentation.flip_probability and may_flip(specs) else (False,)
    detours = (False, True) if augmentation.detour_probability and has_detour else (False,)
    return [Variant(flip, detour) for flip in flips for detour in detours]


def files_of(dataset: PairDataset, origin: str) -> list[Path]:
    """Return the distinct files of an origin, those of self-pairs included."""
    files = {pair.file(origin) for pair in dataset.pairs}
    if dataset.self_pair_probability:
        files |= {dataset.as_self_pair(pair).file(origin) for pair in dataset.pairs if pair.target is not None}
    return sorted(path for path in files if path is not None and picture_stamp(path) is not None)


class CacheWriter:
    """Computes the features of a data set, shard by shard; what is there already is not computed again.

    Args:
        folder: Where the cache is.
        specs: What the task declares.
        dtype: How features are stored.
        rank: Number of this process; shard i is made by process ``i % world_size``.
        world_size: Number of processes, on one machine or many that share the folder.
    """

    def __init__(
        self, folder: Path, specs: InputSpecs, dtype: DtypeName = "float32", rank: int = 0, world_size: int = 1
    ) -> None:
        self.folder = folder
        self.specs = specs
        self.dtype = dtype
        self.rank = rank
        self.world_size = world_size

    def write(
        self,
        name: str,
        key: FeatureKey,
        files: Sequence[Path],
        variants: Sequence[Variant],
        encode: Encode,
        batch_size: int,
        advance: Callable[[int], None],
    ) -> list[tuple[str, str]]:
        """Write one feature; return pictures that could not be read, with the reason.

        Raises:
            PgpisError: The folder holds this feature with another key.
        """
        entry = {
            "key": asdict(key),
            "dtype": self.dtype,
            "variants": [asdict(variant) for variant in variants],
            "files": [[str(path), picture_stamp(path)] for path in files],
        }
        index = self.folder / name / INDEX
        if index.is_file():
            stored = read_index(index)
            if stored != json.loads(json.dumps(entry)):
                reason = difference(stored, key, self.dtype) or "its pictures have changed"
                raise PgpisError(f"{index.parent} is stale: {reason}", hint="remove it, or choose another --out")
        elif self.rank == 0:
            write_text(index, json.dumps(entry))
        failures: list[tuple[str, str]] = []
        for variant in variants:
            if self.world_size == 1:  # what another process is writing looks like what a killed one has left
                remove_unfinished(self.folder / name / variant.name)
            for number, start in enumerate(range(0, len(files), SHARD)):
                chunk = files[start : start + SHARD]
                if number % self.world_size != self.rank:
                    continue
                path = shard_path(self.folder / name / variant.name, number)
                if not is_whole(path, len(chunk)):
                    batches = self._batches(key.picture, chunk, variant, batch_size, failures)
                    rows = torch.cat([_encode_readable(encode, batch) for batch in batches])
                    with replacing(path) as temporary:
                        save_file({"features": rows.to(DTYPES[self.dtype]).contiguous()}, temporary)
                advance(len(chunk))
        return failures

    def _batches(
        self,
        picture: str,
        files: Sequence[Path],
        variant: Variant,
        batch_size: int,
        failures: list[tuple[str, str]],
    ) -> Iterator[torch.Tensor]:
        """Prepare pictures as training does; one that cannot be read is not a number, and so is its feature."""
        spec = self.specs[picture]
        assert isinstance(spec, ImageSpec)
        chain = (picture, spec.base)
        images = {key: entry for key, entry in self.specs.items() if key in chain and isinstance(entry, ImageSpec)}
        for start in range(0, len(files), batch_size):
            prepared = []
            for path in files[start : start + batch_size]:
                try:
                    image = read_picture(path)
                    image = mirror(image) if variant.flip else image
                    prepared.append(fit_images({spec.origin: image}, images, detour=variant.detour)[picture])
                except Exception as error:  # noqa: BLE001  whatever is wrong with one picture ends no job
                    failures.append((str(path), reason_of(error)))
                    prepared.append(torch.full((3, spec.height, spec.width), torch.nan))
            yield torch.stack(prepared)


def _encode_readable(encode: Encode, pictures: torch.Tensor) -> torch.Tensor:
    """Encode pictures; what could not be read gives features that are not a number."""
    unreadable = pictures.flatten(1)[:, 0].isnan()
    features = encode(pictures.nan_to_num()).cpu()
    features[unreadable] = torch.nan
    return features


class FeatureCache:
    """Reads what :class:`CacheWriter` wrote.

    Args:
        folder: The cache.
        keys: Features that the task can take, by name; those that are not in the folder are computed in training.
        variants: What the augmentation may ask for, by name.

    Raises:
        PgpisError: A feature is stale or not complete.
    """

    def __init__(self, folder: Path, keys: Mapping[str, FeatureKey], variants: Mapping[str, Sequence[Variant]]) -> None:
        self.folder = folder
        self.variants: dict[str, set[Variant]] = {}
        self.rows: dict[str, dict[str, int]] = {}
        self.pictures: dict[str, str] = {}
        for name, key in keys.items():
            index = folder / name / INDEX
            if index.is_file():
                self.rows[name] = self._open(name, key, index, variants[name])
                self.pictures[name] = key.picture
        if not self.rows:
            raise PgpisError(
                f"no features in {folder} that this model can take ({', '.join(keys) or 'it takes none'})",
                hint="pgpis cache --config RECIPE --out FOLDER",
            )

    def _open(self, name: str, key: FeatureKey, index: Path, required: Sequence[Variant]) -> dict[str, int]:
        stored = read_index(index)
        reason = difference(stored, key)
        if reason is not None:
            raise PgpisError(f"{index.parent} is stale: {reason}", hint=AGAIN)
        changed = (path for path, stamp in stored["files"] if list(picture_stamp(Path(path)) or ()) != stamp)
        first = next(changed, None)
        if first is not None:
            raise PgpisError(f"{index.parent} is stale: {first} has changed", hint=AGAIN)
        self.variants[name] = {Variant(**variant) for variant in stored["variants"]}
        lacking = [variant.name for variant in required if variant not in self.variants[name]]
        if lacking:
            raise PgpisError(f"{index.parent} was made with another augmentation: no {lacking[0]}", hint=AGAIN)
        count = len(stored["files"])
        for variant in sorted(self.variants[name], key=lambda variant: variant.name):
            for number, start in enumerate(range(0, count, SHARD)):
                path = shard_path(index.parent / variant.name, number)
                if not is_whole(path, min(SHARD, count - start)):
                    reason = f"{path} is damaged" if path.is_file() else f"{index.parent} is not complete: no {path}"
                    raise PgpisError(reason, hint="run the same 'pgpis cache' again: it goes on")
        return {path: number for number, (path, *_) in enumerate(stored["files"])}

    def read(self, name: str, path: Path | None, *, flip: bool, detour: bool) -> torch.Tensor:
        """Return a picture's feature in float32.

        Raises:
            PgpisError: It is not in the cache.
        """
        row = self.rows[name].get(str(path))
        if row is None:
            raise PgpisError(
                f"{self.folder / name} has no features of {path}", hint="pgpis cache again: the list has changed"
            )
        asked = Variant(flip, detour)
        variant = asked if asked in self.variants[name] else Variant(flip, detour=False)
        folder = self.folder / name / variant.name
        values: torch.Tensor = _slices(shard_path(folder, row // SHARD))[row % SHARD]
        if not values.isfinite().all():
            raise PgpisError(
                f"{path} could not be read when the cache was made, or gave numbers that are not finite",
                hint="repair or remove it, and run pgpis cache again",
            )
        return values.float()


@functools.lru_cache(maxsize=256)
def _slices(path: Path) -> Any:
    """Open a shard once per process; only the rows that are asked for are read."""
    file: Any = safe_open(path, "pt")
    return file.get_slice("features")
