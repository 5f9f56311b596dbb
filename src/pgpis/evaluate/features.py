"""Fréchet distances to sets of real pictures, whose features are computed once and kept.

They lie in shards: an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from pgpis.caches import below_home
from pgpis.data.cache import is_whole, whole_name, write_shard
from pgpis.data.picture_store import picture_stamp, read_picture
from pgpis.evaluate.naming import identities
from pgpis.evaluate.protocols import PROTOCOLS, EvaluationOptions, Protocol
from pgpis.evaluate.published import Size
from pgpis.jobs import parts
from pgpis.metrics import FeatureStatistics, InceptionFeatures, frechet_distance
from pgpis.metrics.inception import FEATURES
from pgpis.metrics.weights import NetFile

SHARD = 1024
NEEDED = "2 are needed"
"""How the reason ends why there is no distance of so few pictures."""
UNREADABLE = "this real picture cannot be read; 'pgpis data check' says why"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class RealSets:
    """Real pictures that generated ones are compared with as sets."""

    train: tuple[Path, ...]
    targets: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.train) + len(self.targets)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of both sets by name, which pictures they hold."""
        return {"train": set_digest(self.train), "targets": set_digest(self.targets)}

    def without(self, names: AbstractSet[str]) -> RealSets:
        """Leave out the pictures whose paths are these."""
        train, targets = (
            tuple(file for file in files if str(file) not in names) for files in (self.train, self.targets)
        )
        return RealSets(train, targets)


def set_digest(files: Iterable[Path]) -> str:
    """Return a digest of which pictures a set holds, whatever their order and place.

    Pictures of DeepFashion are told by name in any spelling, others by name and folder.
    """
    known = ((file, identities(file.as_posix())) for file in files)
    names = ["/".join(mentioned[-1] if mentioned else (file.parent.name, file.stem)) for file, mentioned in known]
    return hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()[:16]


def default_cache() -> Path:
    """Return the folder where features are kept."""
    return below_home("~/.cache/pgpis/features", "--cache")


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


ComputeFeatures = Callable[[str, Sequence[Sequence[Path]]], Iterator[torch.Tensor]]
"""Gives the features ``(B, D)`` of real pictures, batch by batch in their order, by the net of that name; those of a
picture that cannot be read are not a number."""


def _unread_rows(path: Path, count: int) -> list[int]:
    """Return the rows of a shard that are to be computed: all, or those of pictures that could not be read."""
    if not is_whole(path, count):
        return list(range(count))
    unread: list[int] = load_file(path)["features"].isnan().any(dim=1).nonzero().flatten().tolist()
    return unread


class KeptFeatures:
    """Features of real pictures, in shards on disk.

    Args:
        name: What the net is called.
        net: Whose features.
        options: Size of the pictures, and where shards are kept.
        compute: Computes those that are not there.
    """

    def __init__(self, name: str, net: FeatureNet, options: EvaluationOptions, compute: ComputeFeatures) -> None:
        self.name = name
        self.net = net
        self.options = options
        self.compute = compute
        self.failures: list[tuple[str, str]] = []
        """Pictures that could not be read, and why."""

    def __call__(self, files: Sequence[Path], advance: Advance) -> Iterator[torch.Tensor]:
        """Yield the features of the pictures that can be read, shard by shard."""
        folder = self.options.cache / self._key(files)
        shards = {folder / f"{number:05d}.safetensors": shard for number, shard in enumerate(parts(files, SHARD))}
        rows = {path: _unread_rows(path, len(shard)) for path, shard in shards.items()}
        wanted = {path: [shards[path][row] for row in numbers] for path, numbers in rows.items()}
        batches = [batch for unread in wanted.values() for batch in parts(unread, self.options.batch_size)]
        computed = self.compute(self.name, batches)
        for path, shard in shards.items():
            numbers = rows[path]
            advance(len(shard) - len(numbers))
            if not numbers:
                values = load_file(path)["features"]
            elif len(numbers) == len(shard):
                values = self._computed(shard, computed, advance)
                write_shard(path, values)
            else:
                values = load_file(path)["features"]
                values[numbers] = self._computed(wanted[path], computed, advance)
                write_shard(path, values)
            good = values.isfinite().all(dim=1)
            self.failures += [(str(file), UNREADABLE) for file, whole in zip(shard, good, strict=True) if not whole]
            yield values[good]

    def _computed(self, files: Sequence[Path], computed: Iterator[torch.Tensor], advance: Advance) -> torch.Tensor:
        batches: list[torch.Tensor] = []
        while sum(map(len, batches)) < len(files):
            batches.append(next(computed))
            advance(len(batches[-1]))
        return torch.cat(batches)

    def _key(self, files: Sequence[Path]) -> str:
        """Return a name that changes with the pictures, how they are prepared, and the net's weights."""
        weights = self.net.file.path.stat()
        parts: list[object] = [self.net.kind, weights.st_size, weights.st_mtime_ns]
        parts += [PROTOCOLS[self.options.protocol].opencv, self.options.size]
        parts += [*((str(whole_name(path)), picture_stamp(path)) for path in files)]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]


def features_of(files: Sequence[Path], net: FeatureNet, options: EvaluationOptions) -> torch.Tensor:
    """Return the features of real pictures ``(B, D)``; those of pictures that cannot be read are not a number."""
    pictures = torch.zeros(len(files), 3, *options.size, dtype=torch.uint8)
    unreadable = []
    for row, file in enumerate(files):
        try:
            pictures[row] = as_tensor(read_picture(file), PROTOCOLS[options.protocol], options.size)
        except Exception:  # noqa: BLE001  libraries raise anything on odd files, which are listed as UNREADABLE
            unreadable.append(row)
    features = net(pictures).clone()
    features[unreadable] = torch.nan
    return features


class SetDistances:
    """FIDs of generated pictures against sets of real ones."""

    intervals: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """Of the distances, by name: none."""

    def __init__(self, options: EvaluationOptions, nets: Mapping[str, FeatureNet]) -> None:
        self.options = options
        self.net = nets["fid"]
        self.statistics = FeatureStatistics(FEATURES)
        self.failures: list[tuple[str, str]] = []
        """Real pictures that could not be read, and why."""

    @staticmethod
    def nets_of(options: EvaluationOptions) -> dict[str, FeatureNet]:
        """Return the nets whose features are compared, by name."""
        return {"fid": InceptionFeatures(PROTOCOLS[options.protocol].features, options.weights, options.device)}

    @staticmethod
    def count(reals: RealSets) -> int:
        """Return how many real pictures :meth:`distances` goes through."""
        return len(reals.train) + len(reals.targets)

    def add(self, features: Mapping[str, torch.Tensor]) -> None:
        """Add generated pictures: of each net that computes any, features ``(B, D)``."""
        if "fid" in features:
            self.statistics.update(features["fid"])

    def distances(self, reals: RealSets, compute: ComputeFeatures, advance: Advance) -> dict[str, float | str]:
        """Return the FID against both real sets, or why there is none; the protocol's own is also called ``fid``."""
        distances: dict[str, float | str] = {}
        kept = KeptFeatures("fid", self.net, self.options, compute)
        count = int(self.statistics.count)
        for name, files in (("fid_gt", reals.targets), ("fid_train", reals.train)):
            if self.net.not_computed is None and min(len(files), count) >= 2:
                real = FeatureStatistics(FEATURES)
                for features in kept(files, advance):
                    real.update(features)
                can_read = int(real.count)
                distances[name] = (
                    frechet_distance(*self.statistics.compute(), *real.compute())
                    if can_read >= 2
                    else too_few(can_read, count)
                )
            else:
                distances[name] = self.net.not_computed or too_few(len(files), count)
                advance(len(files))
        self.failures += kept.failures
        main = distances["fid_train" if PROTOCOLS[self.options.protocol].real_set == "train" else "fid_gt"]
        return {"fid": main, **distances}


def too_few(real: int, generated: int) -> str:
    """Say that there are not enough pictures for a distance."""
    return f"not computed: {real} real and {generated} generated pictures, {NEEDED}"
