"""Features of real pictures, computed once and kept: an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.evaluate.protocols import Protocol
from pgpis.evaluate.published import Size
from pgpis.files import replacing
from pgpis.metrics import FeatureStatistics, InceptionFeatures
from pgpis.metrics.inception import FEATURES

SHARD = 1024
UNREADABLE = "this real picture cannot be read; 'pgpis data check' says why"
Advance = Callable[[int], None]


def default_cache() -> Path:
    """Return the folder where features are kept."""
    return Path.home() / ".cache" / "pgpis" / "features"


def features_key(files: Sequence[Path], protocol: Protocol, size: Size, features: InceptionFeatures) -> str:
    """Return a name that changes with the pictures, how they are prepared, and the net's weights."""
    weights = features.path.stat()
    parts: list[object] = [features.kind, weights.st_size, weights.st_mtime_ns, protocol.opencv, size]
    parts += [(str(path), picture_stamp(path)) for path in files]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def picture_tensor(path: Path, protocol: Protocol, size: Size) -> torch.Tensor:
    """Read a picture as uint8 ``(3, H, W)`` in the protocol's way."""
    return as_tensor(read_picture(path), protocol, size)


def as_tensor(picture: Image.Image, protocol: Protocol, size: Size) -> torch.Tensor:
    """Return a picture as uint8 ``(3, H, W)`` in the protocol's way."""
    return torch.from_numpy(np.array(protocol.fit(picture, size))).permute(2, 0, 1)


def real_statistics(
    files: Sequence[Path],
    protocol: Protocol,
    size: Size,
    features: InceptionFeatures,
    cache: Path,
    batch_size: int,
    advance: Advance,
) -> tuple[FeatureStatistics, list[tuple[str, str]]]:
    """Compute mean and covariance of the features of real pictures.

    Args:
        files: The pictures.
        protocol: How they are prepared.
        size: (height, width).
        features: The net.
        cache: Folder that features are kept in, in shards.
        batch_size: Pictures at a time.
        advance: Called with the number of further pictures that are done.

    Returns:
        The statistics, and the pictures that could not be read with the reason.
    """
    failures: list[tuple[str, str]] = []
    statistics = FeatureStatistics(FEATURES)
    folder = cache / features_key(files, protocol, size, features)
    for start in range(0, len(files), SHARD):
        path = folder / f"{start // SHARD:05d}.safetensors"
        count = min(SHARD, len(files) - start)
        values = _read(path, count)
        if values is None:
            batches = []
            for first in range(start, start + count, batch_size):
                chunk = files[first : min(first + batch_size, start + count)]
                batches.append(_features(features, [_readable(file, protocol, size) for file in chunk], size))
                advance(len(chunk))
            values = torch.cat(batches)
            with replacing(path) as temporary:
                save_file({"features": values}, temporary)
        else:
            advance(count)
        good = values.isfinite().all(dim=1)
        failures += [(str(files[start + row]), UNREADABLE) for row in (~good).nonzero().flatten().tolist()]
        statistics.update(values[good])
    return statistics, failures


def _readable(path: Path, protocol: Protocol, size: Size) -> torch.Tensor | None:
    try:
        return picture_tensor(path, protocol, size)
    except Exception:  # noqa: BLE001  libraries raise anything on odd files, which are listed as UNREADABLE
        return None


def _features(net: InceptionFeatures, pictures: Sequence[torch.Tensor | None], size: Size) -> torch.Tensor:
    """Return features; those of pictures that could not be read are not a number, and are kept like that."""
    black = torch.zeros(3, *size, dtype=torch.uint8)
    features = net(torch.stack([black if picture is None else picture for picture in pictures])).clone()
    features[torch.tensor([picture is None for picture in pictures])] = torch.nan
    return features


def _read(path: Path, count: int) -> torch.Tensor | None:
    try:
        values = load_file(path)["features"]
    except (OSError, KeyError, SafetensorError):
        return None
    return values if tuple(values.shape) == (count, FEATURES) else None
