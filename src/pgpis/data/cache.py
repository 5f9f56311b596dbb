"""Features of frozen encoders, computed once: shards of safetensors with an index, refused where they are stale.

A feature is a folder with an index, and in it a folder with shards for each variant of the pictures.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pgpis.batch import InputSpecs
from pgpis.data.features import FeatureKey, Variant, image_chain
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.errors import PgpisError
from pgpis.files import remove_unfinished, replacing, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.images import fit_images

SHARD = 512
INDEX = "cache.json"
INDEX_ENTRIES = {"key": dict, "dtype": str, "variants": list, "files": list}
DtypeName = Literal["float32", "bfloat16"]
Encode = Callable[[torch.Tensor], torch.Tensor]


def files_of(dataset: PairDataset, origin: str) -> list[Path]:
    """Return the distinct files of an origin that are there, those of self-pairs included.

    Raises:
        PgpisError: The pictures are in a pack, and not in files by whose change a stale feature is told.
    """
    if not dataset.has_files:
        message = f"{type(dataset).__name__} has no files of its own, to which cached features could belong"
        hint = "run pgpis cache on what was packed; pgpis data pack ROOT --cache FOLDER packs its features"
        raise PgpisError(message, hint=hint)
    return [path for path in paths_of(dataset, origin) if picture_stamp(path) is not None]


def paths_of(dataset: PairDataset, origin: str) -> list[Path]:
    """Return the distinct paths of an origin, those of self-pairs included."""
    paths = {pair.file(origin) for pair in dataset.pairs}
    if dataset.self_pair_probability:
        paths |= {dataset.as_self_pair(pair).file(origin) for pair in dataset.pairs if pair.target is not None}
    return sorted(path for path in paths if path is not None)


@dataclass(frozen=True)
class CacheWriter:
    """Computes the features of a data set, shard by shard; what is there already is not computed again."""

    folder: Path
    """Where the cache is."""
    specs: InputSpecs
    """What the task declares."""
    dtype: DtypeName = "float32"
    """How features are stored."""
    rank: int = 0
    """Number of this process; shard i is made by process ``i % world_size``."""
    world_size: int = 1
    """Number of processes, on one machine or many that share the folder."""

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
        self._write_index(self.folder / name / INDEX, key, files, variants)
        failures: list[tuple[str, str]] = []
        for variant in variants:
            folder = self.folder / name / variant.name
            if self.world_size == 1:  # what another process is writing looks like what a killed one has left
                remove_unfinished(folder)
            for path, shard in list(_shards(folder, files))[self.rank :: self.world_size]:
                if not _is_whole(path, len(shard)):
                    batches = self._batches(key.picture, shard, variant, batch_size, failures)
                    rows = torch.cat([_encode_readable(encode, batch) for batch in batches])
                    with replacing(path) as temporary:
                        save_file({"features": rows.to(getattr(torch, self.dtype)).contiguous()}, temporary)
                advance(len(shard))
        return failures

    def _write_index(self, index: Path, key: FeatureKey, files: Sequence[Path], variants: Sequence[Variant]) -> None:
        entry = {
            "key": key._asdict(),
            "dtype": self.dtype,
            "variants": [variant._asdict() for variant in variants],
            "files": [[str(path), picture_stamp(path)] for path in files],
        }
        if not index.is_file():
            if self.rank == 0:
                write_text(index, json.dumps(entry))
            return
        stored = _read_index(index)
        if stored != json.loads(json.dumps(entry)):
            dtype = None if stored["dtype"] == self.dtype else f"it holds {stored['dtype']}, now {self.dtype}"
            reason = key.difference(stored) or dtype or "its pictures have changed"
            raise PgpisError(f"{index.parent} is stale: {reason}", hint="remove it, or choose another --out")

    def _batches(
        self, picture: str, files: Sequence[Path], variant: Variant, batch_size: int, failures: list[tuple[str, str]]
    ) -> Iterator[torch.Tensor]:
        """Prepare pictures as training does; one that cannot be read is not a number, and so is its feature."""
        images = image_chain(picture, self.specs)
        spec = images[picture]
        for start in range(0, len(files), batch_size):
            prepared = []
            for path in files[start : start + batch_size]:
                try:
                    image = read_picture(path)
                    image = ImageOps.mirror(image) if variant.flip else image
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


class CacheFolder:
    """A folder that :class:`CacheWriter` wrote, see ``FeatureFiles``.

    Args:
        folder: The cache.
    """

    hint = "pgpis cache --config RECIPE --out NEW"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, dict[str, int]] = {}

    def __str__(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        """Return the features that are there."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{INDEX}"))

    def index(self, name: str) -> dict[str, Any] | None:
        """Return what a feature was made of.

        Raises:
            PgpisError: It is damaged.
        """
        path = self.folder / name / INDEX
        return _read_index(path) if path.is_file() else None

    def check(self, name: str) -> None:
        """Look for changed pictures, and for all shards.

        Raises:
            PgpisError: A picture has changed since, or a shard is missing or damaged.
        """
        folder = self.folder / name
        index = _read_index(folder / INDEX)
        for path, stamp in index["files"]:
            if list(picture_stamp(Path(path)) or ()) != stamp:
                raise PgpisError(f"{name} in {self} is stale: {path} has changed", hint=self.hint)
        for variant in sorted({Variant(**variant).name for variant in index["variants"]}):
            for path, shard in _shards(folder / variant, index["files"]):
                if not _is_whole(path, len(shard)):
                    reason = f"{path} is damaged" if path.is_file() else f"{folder} is not complete: no {path}"
                    raise PgpisError(reason, hint="run the same 'pgpis cache' again: it goes on")
        self._rows[name] = {path: number for number, (path, _) in enumerate(index["files"])}

    def read(self, name: str, path: Path | None, variant: Variant) -> torch.Tensor | None:
        """Return a picture's feature; None: it has none."""
        row = self._rows[name].get(str(path))
        return None if row is None else read_row(*self.place(name, row, variant))

    def place(self, name: str, row: int, variant: Variant) -> tuple[Path, int]:
        """Return the shard of a feature, and its row there."""
        return _shard_path(self.folder / name / variant.name, row // SHARD), row % SHARD


def read_row(shard: Path, row: int) -> torch.Tensor:
    """Read one row of a shard, and no other."""
    values: torch.Tensor = _slices(shard)[row]
    return values


@functools.lru_cache(maxsize=256)
def _slices(path: Path) -> Any:
    """Open a shard once per process."""
    file: Any = safe_open(path, "pt")
    return file.get_slice("features")


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def _shards(folder: Path, files: Sequence[Any]) -> Iterator[tuple[Path, Sequence[Any]]]:
    """Yield the shards of a variant, and whose features they hold."""
    for number, start in enumerate(range(0, len(files), SHARD)):
        yield _shard_path(folder, number), files[start : start + SHARD]


def _is_whole(path: Path, count: int) -> bool:
    """Return whether a shard is there with all its rows."""
    try:
        with safe_open(path, "pt") as file:
            return bool(file.get_slice("features").get_shape()[0] == count)
    except (OSError, SafetensorError, IndexError):
        return False


def _read_index(path: Path) -> dict[str, Any]:
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
