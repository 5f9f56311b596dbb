"""Fréchet distances to sets of real pictures, whose features are computed once and kept.

They lie in shards: an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.evaluate.protocols import PROTOCOLS, Protocol
from pgpis.evaluate.published import Size
from pgpis.files import replacing
from pgpis.metrics import FeatureStatistics, InceptionFeatures, frechet_distance
from pgpis.metrics.inception import FEATURES
from pgpis.metrics.weights import NetFile

if TYPE_CHECKING:
    from pgpis.evaluate.score import EvaluationOptions

SHARD = 1024
UNREADABLE = "this real picture cannot be read; 'pgpis data check' says why"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class RealSets:
    """Real pictures that generated ones are compared with as sets."""

    train: tuple[Path, ...]
    targets: tuple[Path, ...]


def default_cache() -> Path:
    """Return the folder where features are kept."""
    return Path.home() / ".cache" / "pgpis" / "features"


def as_tensor(picture: Image.Image, protocol: Protocol, size: Size) -> torch.Tensor:
    """Return a picture as uint8 ``(3, H, W)`` in the protocol's way."""
    return torch.from_numpy(np.array(protocol.fit(picture, size))).permute(2, 0, 1)


class FeatureNet(typing.Protocol):
    """A net whose features of a picture are kept."""

    @property
    def kind(self) -> str:
        """Short name."""

    @property
    def file(self) -> NetFile:
        """Its weights."""

    @property
    def not_computed(self) -> str | None:
        """Why there are no features, or None."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return features ``(B, D)`` of uint8 pictures ``(B, 3, H, W)``, float32 on the CPU."""


class KeptFeatures:
    """Features of real pictures, in shards on disk.

    Args:
        net: Whose features.
        width: How many a picture has.
        options: Size of the pictures, and where shards are kept.
    """

    def __init__(self, net: FeatureNet, width: int, options: EvaluationOptions) -> None:
        self.net = net
        self.width = width
        self.options = options
        self.protocol = PROTOCOLS[options.protocol]
        self.failures: list[tuple[str, str]] = []
        """Pictures that could not be read, and why."""

    def __call__(self, files: Sequence[Path], advance: Advance) -> Iterator[torch.Tensor]:
        """Yield the features of the pictures that can be read, shard by shard."""
        folder = self.options.cache / self._key(files)
        for number, start in enumerate(range(0, len(files), SHARD)):
            shard = files[start : start + SHARD]
            values = self._shard(folder / f"{number:05d}.safetensors", shard, advance)
            good = values.isfinite().all(dim=1)
            self.failures += [(str(file), UNREADABLE) for file, whole in zip(shard, good, strict=True) if not whole]
            yield values[good]

    def _key(self, files: Sequence[Path]) -> str:
        """Return a name that changes with the pictures, how they are prepared, and the net's weights."""
        weights = self.net.file.path.stat()
        parts: list[object] = [self.net.kind, weights.st_size, weights.st_mtime_ns, self.protocol.opencv]
        parts += [self.options.size, *((str(path), picture_stamp(path)) for path in files)]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]

    def _shard(self, path: Path, files: Sequence[Path], advance: Advance) -> torch.Tensor:
        """Return the features of some pictures, which are computed where they are not kept."""
        try:
            values = load_file(path)["features"]
            if values.shape == (len(files), self.width):
                advance(len(files))
                return values
        except (OSError, KeyError, SafetensorError):
            pass  # missing, or damaged
        batches, step = [], self.options.batch_size
        for chunk in (files[start : start + step] for start in range(0, len(files), step)):
            batches.append(self._features(chunk))
            advance(len(chunk))
        values = torch.cat(batches)
        with replacing(path) as temporary:
            save_file({"features": values}, temporary)
        return values

    def _features(self, files: Sequence[Path]) -> torch.Tensor:
        """Return features; those of pictures that cannot be read are not a number, and are kept like that."""
        pictures = torch.zeros(len(files), 3, *self.options.size, dtype=torch.uint8)
        unreadable = []
        for row, file in enumerate(files):
            try:
                pictures[row] = as_tensor(read_picture(file), self.protocol, self.options.size)
            except Exception:  # noqa: BLE001  libraries raise anything on odd files, which are listed as UNREADABLE
                unreadable.append(row)
        features = self.net(pictures).clone()
        features[unreadable] = torch.nan
        return features


class SetDistances:
    """FIDs of generated pictures against sets of real ones."""

    intervals: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """Of the distances, by name: none."""

    def __init__(self, options: EvaluationOptions) -> None:
        self.protocol = PROTOCOLS[options.protocol]
        self.net = InceptionFeatures(self.protocol.features, options.weights, options.device)
        self.statistics = FeatureStatistics(FEATURES)
        self.kept = KeptFeatures(self.net, FEATURES, options)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Real pictures that could not be read, and why."""
        return self.kept.failures

    @staticmethod
    def count(reals: RealSets) -> int:
        """Return how many real pictures :meth:`distances` goes through."""
        return len(reals.train) + len(reals.targets)

    def add(self, generated: torch.Tensor) -> None:
        """Add generated pictures, uint8 ``(B, 3, H, W)``."""
        if self.net.not_computed is None:
            self.statistics.update(self.net(generated))

    def distances(self, reals: RealSets, advance: Advance) -> dict[str, float | str]:
        """Return the FID against both real sets, or why there is none; the protocol's own is also called ``fid``."""
        distances: dict[str, float | str] = {}
        count = int(self.statistics.count)
        for name, files in (("fid_gt", reals.targets), ("fid_train", reals.train)):
            if self.net.not_computed is None and min(len(files), count) >= 2:
                real = FeatureStatistics(FEATURES)
                for features in self.kept(files, advance):
                    real.update(features)
                distances[name] = frechet_distance(*self.statistics.compute(), *real.compute())
            else:
                distances[name] = self.net.not_computed or too_few(len(files), count)
                advance(len(files))
        main = distances["fid_train" if self.protocol.real_set == "train" else "fid_gt"]
        return {"fid": main, **distances}


def too_few(real: int, generated: int) -> str:
    """Say that there are not enough pictures for a distance."""
    return f"not computed: {real} real and {generated} generated pictures, 2 are needed"
