"""Training pictures that all lie in the memory of the device: read and decoded once, batches are looked up."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.data.pair import Pair
from pgpis.data.pairs import PairDataset
from pgpis.data.sampler import Resumable, ResumableSampler
from pgpis.data.samples import PairSamples
from pgpis.data.transforms import Augmentation, PairTransform, sample_generator
from pgpis.errors import PgpisError
from pgpis.jobs import meter, parts

log = logging.getLogger(__name__)

Rows = dict[str, torch.Tensor]
Arrays = dict[str, NDArray[Any]]
Key = tuple[Path | None, Path | None]
CHUNK = 8
"""Pairs that a process reads at a time."""


@dataclass(eq=False)
class _Versions(Dataset["tuple[int, Arrays | str]"]):
    """What is new in each of some pairs, as bytes, so that little travels between processes."""

    samples: PairSamples
    plan: list[tuple[int, list[str]]]
    """Pairs by their index, and the batch keys that are read of each."""
    _transforms: dict[tuple[str, ...], PairTransform] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> tuple[int, Arrays | str]:
        index, keys = self.plan[number]
        dataset, transform = self.samples.dataset, self._transform(tuple(keys))
        generator = sample_generator(self.samples.seed, 0, index)
        try:
            tensors = transform(dataset.load(index, transform.origins, generator), generator)
        except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, and the others go on
            return number, self.samples.reason(index, error)
        return number, {key: _packed(tensors[key]).numpy() for key in keys}  # tensors would take a file handle each

    def _transform(self, keys: tuple[str, ...]) -> PairTransform:
        """Return the transform that makes these keys alone; those of one file are always asked for together."""
        if keys not in self._transforms:
            transform = self.samples.transform
            self._transforms[keys] = replace(transform, specs={key: transform.specs[key] for key in keys})
        return self._transforms[keys]


@dataclass(eq=False)
class ResidentLoader(Resumable):
    """Batches of pairs whose pictures all lie in memory, as bytes, each once.

    Where decoding is the limit, as for small models on a GPU, this trains many times faster; it takes 3 bytes a pixel
    of each picture that the model reads.

    Deviation: What the augmentation draws for a picture, the noise on key points, is drawn once, not in each epoch.
    """

    dataset: PairDataset
    """The pairs; ``setup`` was called."""
    transform: PairTransform
    """Makes the tensors."""
    sampler: ResumableSampler
    """The order of pairs; Lightning tells it the epoch."""
    batch_size: int
    """Pairs per batch."""
    device: torch.device
    """Where the pictures lie, and the batches."""
    num_workers: int = 0
    """Processes that read and decode."""
    seed: int = 0
    """Seed of the augmentation."""
    _rows: Rows = field(default_factory=dict, init=False)
    _places: Rows = field(default_factory=dict, init=False)
    _instead: list[int] = field(default_factory=list, init=False)

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        order = [index for _, index in self.sampler]
        for indices in parts(order, self.batch_size):
            yield self._batch(indices)

    def _batch(self, indices: Sequence[int]) -> PairBatch:
        indices = [self._instead[each] for each in indices]
        index = torch.tensor(indices, device=self.device)
        batch: dict[str, Any] = {key: _unpacked(rows[self._places[key][index]]) for key, rows in self._rows.items()}
        pairs = [self.dataset.pairs[each] for each in indices]
        batch |= {"index": index, "pair_id": [pair.pair_id for pair in pairs], "failures": []}
        return cast("PairBatch", batch)

    def read(self) -> None:
        """Read each file of each batch key once; before the first batch.

        Raises:
            PgpisError: Nothing can be read.
        """
        specs, pairs = self.transform.specs, self.dataset.pairs
        numbers: dict[str, dict[Key, int]] = {key: {} for key in specs}
        plan: list[tuple[int, list[str]]] = []
        for index, pair in enumerate(pairs):
            new = [key for key, spec in specs.items() if _file(pair, spec.origin) not in numbers[key]]
            for key in new:
                numbers[key][_file(pair, specs[key].origin)] = len(numbers[key])
            if new:
                plan.append((index, new))
        for key, spec in specs.items():
            places = [numbers[key][_file(pair, spec.origin)] for pair in pairs]
            self._places[key] = torch.tensor(places)
        self._rows = _allocated(specs, {key: len(rows) for key, rows in numbers.items()})
        unread = {key: torch.zeros(len(rows), dtype=torch.bool) for key, rows in self._rows.items()}
        failed = self._read(plan, unread)
        # what else a pair shows may be good, and other pairs may show it
        self._read([part for index, keys in failed for part in self._by_file(index, keys)], unread, again=True)
        broken = torch.stack([unread[key][places] for key, places in self._places.items()]).any(dim=0).tolist()
        if all(broken):
            raise PgpisError("no training pair can be read", hint="pgpis data check ROOT")
        good = [index for index, is_broken in enumerate(broken) if not is_broken]
        after = iter([*good, good[0] + len(pairs)])
        current = next(after)
        for index in range(len(pairs)):  # the next one that can be read, as without this loader
            current = next(after) if index > current else current
            self._instead.append(current % len(pairs))
        for held in (self._rows, self._places):
            held |= {key: tensor.to(self.device) for key, tensor in held.items()}

    def _by_file(self, index: int, keys: list[str]) -> list[tuple[int, list[str]]]:
        """Plan the files of a pair one by one; none where there is but one."""
        files: dict[Key, list[str]] = {}
        for key in keys:
            files.setdefault(_file(self.dataset.pairs[index], self.transform.specs[key].origin), []).append(key)
        return [(index, own) for own in files.values()] if len(files) > 1 else []

    def _read(
        self, plan: list[tuple[int, list[str]]], unread: dict[str, torch.Tensor], *, again: bool = False
    ) -> list[tuple[int, list[str]]]:
        """Read batch keys of pairs into their rows; return those that fail, which are marked as unread."""
        versions = _Versions(PairSamples(self.dataset, self.transform, self.seed), plan)
        # neighbours go to one process: they share what takes long, as drawn people do
        workers = 0 if again else self.num_workers
        loader: DataLoader[Any] = DataLoader(versions, CHUNK, num_workers=workers, collate_fn=list)
        failed = []
        with nullcontext(lambda _: None) if again else meter("reading training pictures", len(plan)) as advance:
            for number, arrays in itertools.chain.from_iterable(loader):
                index, keys = plan[number]
                is_bad = isinstance(arrays, str)
                if is_bad:
                    failed.append(plan[number])
                    if not again:
                        log.warning("training goes on with another pair: %s", arrays)
                for key in keys:
                    row = int(self._places[key][index])
                    unread[key][row] = is_bad
                    if not is_bad:
                        self._rows[key][row] = torch.from_numpy(arrays[key])
                advance(1)
        return failed


def refuse_other_versions(augmentation: Augmentation, dataset: PairDataset, cache: str | None) -> None:
    """Refuse what shows a picture in several versions, or not as a picture.

    Raises:
        PgpisError: Names the option.
    """
    options = {
        "data.augmentation.flip_probability": augmentation.flip_probability,
        "data.augmentation.detour_probability": augmentation.detour_probability,
        "data.train.init_args.self_pair_probability": dataset.self_pair_probability,
    }
    for name, value in options.items():
        if value:
            raise PgpisError(f"data.resident keeps one version of a picture, and {name} is {value}", hint=f"--{name} 0")
    if augmentation.reframes:
        message = "data.resident keeps one version of a picture, and reference_zoom or reference_cut makes many"
        raise PgpisError(message, hint="leave them out of data.augmentation")
    dataset.require_one_source("data.resident keeps one source of a pair", "data.train")
    if cache is not None:
        raise PgpisError("data.resident takes the place of data.cache", hint="leave one of them out")


def _file(pair: Pair, origin: str) -> Key:
    """Name what a batch key shows; many poses may lie in one file, and what is drawn in none."""
    file = None if origin == "pose" else pair.file(origin)
    return (file, None) if file is not None else (pair.pose or pair.source, pair.target)


def _allocated(specs: InputSpecs, counts: dict[str, int]) -> Rows:
    rows = {}
    for key, spec in specs.items():
        shape = (3, spec.height, spec.width) if isinstance(spec, ImageSpec) else (spec.size,)
        dtype = torch.uint8 if isinstance(spec, ImageSpec) else torch.float32
        rows[key] = torch.empty(counts[key], *shape, dtype=dtype)
    log.info("training pictures take %.1f GB", sum(row.nbytes for row in rows.values()) / 1e9)
    return rows


def _packed(value: torch.Tensor) -> torch.Tensor:
    """Turn a picture in [-1, 1] into the bytes that it was made of."""
    return value.add(1).div(2).mul(255).round().to(torch.uint8) if value.ndim == 3 else value


def _unpacked(rows: torch.Tensor) -> torch.Tensor:
    return rows.float().div(255).mul(2).sub(1) if rows.dtype == torch.uint8 else rows
