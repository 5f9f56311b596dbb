"""Features of frozen encoders, computed once: shards of safetensors with an index, refused where they are stale.

A feature is a folder with an index, and in it a folder with shards for each variant of the pictures. They are written
by :mod:`pgpis.data.cache_writer`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pgpis.data.features import Variant
from pgpis.data.names import DATABASE
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_stamp
from pgpis.data.user_files import real_folder
from pgpis.errors import PgpisError
from pgpis.files import replacing
from pgpis.jobs import parts

UNREAD = "unread"
SHARD = 512
INDEX = "cache.json"
INDEX_ENTRIES = {"key": dict, "dtype": str, "variants": list, "files": list}
GO_ON = "run the same 'pgpis cache' again: it goes on"
DtypeName = Literal["float32", "bfloat16"]


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


def files_in(index: Mapping[str, Any]) -> list[tuple[Path, list[Any]]]:
    """Return the files of an index, by the names that :func:`whole_name` gives them, and their stamps.

    Relative names are of the working directory or, where another file or none is there by the first of them, of the
    one in which the cache was made.
    """
    files, folder = [(Path(file), list(stamp)) for file, stamp in index["files"]], index.get("folder")
    if files and isinstance(folder, str) and list(picture_stamp(files[0][0]) or ()) != files[0][1]:
        files = [(folder / file, stamp) for file, stamp in files]
    return [(whole_name(file), stamp) for file, stamp in files]


def whole_name(path: Path) -> Path:
    """Return the one name of a file, however its folder is spelt: relative, with ``..``, through links."""
    depth = path.parts.index(DATABASE) if DATABASE in path.parts else len(path.parts) - 1
    return real_folder(Path.cwd().joinpath(*path.parts[:depth])).joinpath(*path.parts[depth:])


class CacheFolder:
    """A folder that :class:`pgpis.data.cache_writer.CacheWriter` wrote, see ``FeatureFiles``.

    Args:
        folder: The cache.
    """

    hint = "pgpis cache --config RECIPE --out NEW"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, dict[Path, int]] = {}

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
        return read_index(path) if path.is_file() else None

    def check(self, name: str) -> None:
        """Look for changed pictures, and for all shards.

        Raises:
            PgpisError: A picture has changed since, or a shard is missing or damaged.
        """
        folder = self.folder / name
        index = read_index(folder / INDEX)
        files = files_in(index)
        for row, ((path, _), (file, stamp)) in enumerate(zip(index["files"], files, strict=True)):
            if list(picture_stamp(file) or ()) != stamp:
                hint = self.hint if is_made(folder, index, row) else GO_ON
                raise PgpisError(f"{name} in {self} is stale: {path} has changed", hint=hint)
        for variant in sorted({Variant(**variant).name for variant in index["variants"]}):
            for path, shard in shards_of(folder / variant, index["files"]):
                if not is_whole(path, len(shard)):
                    reason = f"{path} is damaged" if path.is_file() else f"{folder} is not complete: no {path}"
                    raise PgpisError(reason, hint=GO_ON)
        self._rows[name] = {file: number for number, (file, _) in enumerate(files)}

    def read(self, name: str, path: Path | None, variant: Variant) -> torch.Tensor | None:
        """Return a picture's feature; None: it has none."""
        row = None if path is None else self.row(name, path)
        return None if row is None else read_row(*self.place(name, row, variant))

    def row(self, name: str, path: Path) -> int | None:
        """Return the row of a picture in a feature that was looked through; None: it has none."""
        return self._rows[name].get(whole_name(path))

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
    return _open_slice(path)


def _open_slice(path: Path) -> Any:
    file: Any = safe_open(path, "pt")
    return file.get_slice("features")


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def shards_of(folder: Path, files: Sequence[Any]) -> Iterator[tuple[Path, Sequence[Any]]]:
    """Yield the shards of a variant, and whose features they hold."""
    for number, part in enumerate(parts(files, SHARD)):
        yield _shard_path(folder, number), part


def write_shard(path: Path, rows: torch.Tensor) -> None:
    """Write a shard whole; it says of how many pictures, which could not be read, the rows are not a number."""
    unread = int(rows.flatten(1).isnan().any(dim=1).sum())
    with replacing(path) as temporary:
        save_file({"features": rows.contiguous()}, temporary, {UNREAD: str(unread)})
    _slices.cache_clear()


def is_whole(path: Path, count: int) -> bool:
    """Return whether a shard is there with all its rows; those of pictures that could not be read count too."""
    try:
        with safe_open(path, "pt") as file:
            return bool(file.get_slice("features").get_shape()[0] == count)
    except (OSError, SafetensorError, IndexError):
        return False


def has_unread(path: Path) -> bool:
    """Return whether a picture of a whole shard could not be read: the next time it may be."""
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get(UNREAD, "0") != "0"


def is_made(folder: Path, index: Mapping[str, Any], row: int) -> bool:
    """Return whether a shard holds the feature of a row; not where the picture could not be read in any variant."""
    count = min(SHARD, len(index["files"]) - row // SHARD * SHARD)
    paths = [_shard_path(folder / Variant(**variant).name, row // SHARD) for variant in index["variants"]]
    return any(is_whole(path, count) and not _open_slice(path)[row % SHARD].isnan().any() for path in paths)


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
