"""Files of the feature cache: one folder per feature, with an index, and shards of each variant of the pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pgpis.errors import PgpisError

INDEX = "cache.json"
INDEX_ENTRIES = {"key": dict, "dtype": str, "variants": list, "files": list}


@dataclass(frozen=True)
class Variant:
    """How the picture was varied before it was encoded."""

    flip: bool
    detour: bool

    @property
    def name(self) -> str:
        """Name of the variant's folder."""
        return f"flip{int(self.flip)}-detour{int(self.detour)}"


@dataclass(frozen=True)
class FeatureKey:
    """What a feature depends on beside the picture; a cache with another key is stale."""

    picture: str
    """Batch key of the picture it is made from."""
    weights: str
    """Hash of the encoder's weights."""
    spec: str
    """How the picture is prepared."""


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a variant's shard."""
    return folder / f"{number:05d}.safetensors"


def is_whole(path: Path, count: int) -> bool:
    """Return whether a shard is there with all its rows."""
    try:
        with safe_open(path, "pt") as file:
            return bool(file.get_slice("features").get_shape()[0] == count)
    except (OSError, SafetensorError, IndexError):
        return False


def read_index(path: Path) -> dict[str, Any]:
    """Read what a feature was made of.

    Raises:
        PgpisError: The file is damaged.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(index[name], kind) for name, kind in INDEX_ENTRIES.items())
        [(Path(file), *stamp) for file, *stamp in index["files"]]
        [Variant(**variant) for variant in index["variants"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PgpisError(
            f"{path} is damaged: {error}", hint=f"remove {path.parent}, and run pgpis cache again"
        ) from error
    if not whole:
        raise PgpisError(f"{path} is damaged", hint=f"remove {path.parent}, and run pgpis cache again")
    return dict(index)


def difference(index: Mapping[str, Any], key: FeatureKey, dtype: str | None = None) -> str | None:
    """Say in what the stored key differs; None: in nothing."""
    stored = index["key"]
    what = {"weights": "the encoder's weights", "spec": "how pictures are prepared", "picture": "the picture"}
    for field, text in what.items():
        if stored.get(field) != getattr(key, field):
            return f"it was made with another value of {text} ({stored.get(field)}, now {getattr(key, field)})"
    return None if dtype in (None, index["dtype"]) else f"it holds {index['dtype']}, now {dtype}"
