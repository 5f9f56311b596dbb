"""Cached features in packs: each feature of a picture, in each variant, is a file of its own behind all others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pgpis.data.cache import GO_ON, CacheFolder, files_of, paths_of, read_row
from pgpis.data.features import Variant, origin_of
from pgpis.data.packs.shards import Shards
from pgpis.data.pairs import PairDataset
from pgpis.data.picture_store import picture_stamp
from pgpis.errors import PgpisError

AS_INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}
"""Of the types of features those of the same size that NumPy has too."""


@dataclass(frozen=True)
class FeatureItem:
    """A row of a cache's shard."""

    path: Path
    row: int
    size: int
    """Bytes."""
    kind: str = "feature"

    @property
    def stamp(self) -> list[Any]:
        """What changes with its content; the last number is its size."""
        return [picture_stamp(self.path), self.row, self.size]

    def read(self) -> bytes:
        """Return its numbers, row by row.

        Raises:
            PgpisError: The shard is not what its index says.
        """
        values = read_row(self.path, self.row).contiguous()
        content: bytes = values.view(AS_INTEGERS[values.dtype]).numpy().tobytes()
        if len(content) != self.size:
            raise PgpisError(f"{self.path} is damaged", hint=GO_ON)
        return content


def plan_features(
    folder: Path, dataset: PairDataset, numbers: Mapping[Any, int | str], start: int
) -> tuple[dict[str, dict[str, Any]], list[FeatureItem]]:
    """List the features of the files that are packed.

    Args:
        folder: The cache.
        dataset: The pairs.
        numbers: Of the files that are packed, by path.
        start: Number of the first feature.

    Returns:
        What is said of each feature, by name; and the features, in the order of their numbers.

    Raises:
        PgpisError: The cache is stale or not whole, holds nothing, or lacks features of files that are packed.
    """
    cache = CacheFolder(folder)
    entries: dict[str, dict[str, Any]] = {}
    items: list[FeatureItem] = []
    for name in cache.names():
        index = cache.index(name)
        assert index is not None
        cache.check(name)
        # an entry that an LMDB does not have is -1, and its pairs are not packed
        files = [path for path in files_of(dataset, origin_of(index) or "") if numbers.get(path) != -1]
        rows = {path: row for path in files if (row := cache.row(name, path)) is not None}
        _refuse_others(f"{name} in {cache}", files, rows, numbers)
        variants = [Variant(**variant) for variant in index["variants"]]
        values = read_row(*cache.place(name, 0, variants[0]))
        entries[name] = {
            "key": index["key"],
            "variants": index["variants"],
            "dtype": str(values.dtype).removeprefix("torch."),
            "shape": list(values.shape),
            "start": start + len(items),
            "files": [numbers[path] for path in files],
        }
        items += [
            FeatureItem(*cache.place(name, rows[path], variant), values.nbytes)
            for variant in variants
            for path in files
        ]
    if not entries:
        raise PgpisError(f"--cache: there are no features in {folder}", hint="pgpis cache --config RECIPE --out FOLDER")
    return entries, items


def _refuse_others(what: str, files: Sequence[Path], rows: Collection[Path], numbers: Collection[Any]) -> None:
    """Refuse a feature, unless each file is in its cache, and packed."""
    hint = "pack the pairs of the recipe that the cache was made with: --config RECIPE"
    if not files:
        raise PgpisError(f"--cache: no pair has files that {what} was made of", hint=hint)
    missing = [path for path in files if path not in rows]
    if missing:
        message = f"--cache: {what} lacks {len(missing)} of {len(files)} files that are packed, e.g. {missing[0]}"
        raise PgpisError(message, hint=hint)
    left_out = next((path for path in files if path not in numbers), None)
    if left_out is not None:
        raise PgpisError(f"--cache: {what} was made of files that --kinds leaves out, e.g. {left_out}")


class PackedFeatures:
    """The features of a pack, see ``FeatureFiles``.

    Args:
        dataset: The pairs that are trained on.
        place: Where the pack is.
        entries: What its list says of each feature.
        files: Its files, by number.
        shards: Where all of them are.
    """

    def __init__(
        self,
        dataset: PairDataset,
        place: str,
        entries: Mapping[str, Mapping[str, Any]],
        files: Sequence[Path],
        shards: Shards,
    ) -> None:
        self.dataset = dataset
        self.place = place
        self.entries = entries
        self.shards = shards
        self.hint = f"pgpis cache --config RECIPE --out NEW, and pgpis data pack ROOT --out {place} --cache NEW"
        self._rows = {
            name: {files[number]: row for row, number in enumerate(entry["files"])} for name, entry in entries.items()
        }

    def __str__(self) -> str:
        return self.place

    def index(self, name: str) -> Mapping[str, Any] | None:
        """Return what is said of a feature."""
        return self.entries.get(name)

    def check(self, name: str) -> None:
        """Look whether each file that is trained on has the feature.

        Raises:
            PgpisError: Pairs were packed without self-pairs, say, and are trained with them.
        """
        files = paths_of(self.dataset, origin_of(self.entries[name]) or "")
        missing = [path for path in files if path not in self._rows[name]]
        if missing:
            message = f"{self.place} has no {name} of {len(missing)} of {len(files)} files, e.g. {missing[0]}"
            raise PgpisError(message, hint=self.hint)

    def read(self, name: str, path: Path | None, variant: Variant) -> torch.Tensor | None:
        """Return a picture's feature; None: it has none.

        Raises:
            PgpisError: It could not be packed, or its shard is missing or cannot be reached.
        """
        entry, row = self.entries[name], None if path is None else self._rows[name].get(path)
        if row is None:
            return None
        number = entry["start"] + entry["variants"].index(variant._asdict()) * len(entry["files"]) + row
        content = self.shards.read(number)
        if not content:
            raise PgpisError(f"{name} of {path} could not be packed", hint=self.hint)
        return torch.frombuffer(bytearray(content), dtype=getattr(torch, entry["dtype"])).reshape(entry["shape"])
