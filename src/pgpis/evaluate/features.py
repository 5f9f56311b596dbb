"""Features of real pictures, computed once and kept: an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pgpis.data.pictures import DATABASE, read_picture
from pgpis.evaluate.protocols import Protocol, Size
from pgpis.images import replacing
from pgpis.metrics import FeatureStatistics, InceptionFeatures

SHARD = 1024
Advance = Callable[[int], None]


def default_cache() -> Path:
    """Return the folder where features are kept."""
    return Path.home() / ".cache" / "pgpis" / "features"


def features_key(files: Sequence[Path], protocol: Protocol, size: Size, features: InceptionFeatures) -> str:
    """Return a name that changes with the pictures, how they are prepared, and the net's weights."""
    weights = features.path.stat()
    parts: list[object] = [features.kind, weights.st_size, weights.st_mtime_ns, protocol.opencv, size]
    for path in files:
        entry = None if DATABASE in path.parts else path.stat()
        parts.append((str(path), entry and (entry.st_size, entry.st_mtime_ns)))
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def picture_tensor(path: Path, protocol: Protocol, size: Size) -> torch.Tensor:
    """Read a picture as uint8 ``(3, H, W)`` in the protocol's way."""
    array = np.array(protocol.fit(read_picture(path), size))
    return torch.from_numpy(array).permute(2, 0, 1)


def real_statistics(
    files: Sequence[Path],
    protocol: Protocol,
    size: Size,
    features: InceptionFeatures,
    cache: Path,
    batch_size: int,
    advance: Advance,
) -> FeatureStatistics:
    """Return mean and covariance of the features of real pictures.

    Args:
        files: The pictures.
        protocol: How they are prepared.
        size: (height, width).
        features: The net.
        cache: Folder that features are kept in, in shards.
        batch_size: Pictures at a time.
        advance: Told how many pictures are done.
    """
    statistics = FeatureStatistics(2048)
    folder = cache / features_key(files, protocol, size, features)
    for start in range(0, len(files), SHARD):
        path = folder / f"{start // SHARD:05d}.safetensors"
        count = min(SHARD, len(files) - start)
        found = _read(path, count)
        if found is None:
            batches = []
            for first in range(start, start + count, batch_size):
                chunk = files[first : min(first + batch_size, start + count)]
                batches.append(features(torch.stack([picture_tensor(file, protocol, size) for file in chunk])))
                advance(len(chunk))
            found = torch.cat(batches)
            with replacing(path) as temporary:
                save_file({"features": found}, temporary)
        else:
            advance(count)
        statistics.update(found)
    return statistics


def _read(path: Path, count: int) -> torch.Tensor | None:
    try:
        found = load_file(path)["features"]
    except (OSError, KeyError, SafetensorError):
        return None
    return found if tuple(found.shape) == (count, 2048) else None
