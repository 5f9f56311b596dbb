"""Scores of a folder of generated pictures: every metric of a protocol in one pass."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pgpis.data.pairs import Pair
from pgpis.data.picture_store import read_picture
from pgpis.errors import PgpisError
from pgpis.evaluate.features import Advance, RealSets, SetDistances, as_tensor
from pgpis.evaluate.people import PeopleScores
from pgpis.evaluate.protocols import PROTOCOLS, Protocol, pair_metrics
from pgpis.evaluate.published import ProtocolName, Size
from pgpis.jobs import leave_interrupts_alone, reason_of

log = logging.getLogger(__name__)

NO_VALUES = "not computed: no pair has it"
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class EvaluationOptions:
    """How pictures are scored."""

    protocol: ProtocolName = "fpdm"
    size: Size = (256, 176)
    weights: Path | None = None
    """Folder of AlexNet's and Inception's weights; None: torch hub's cache."""
    cache: Path = field(default_factory=Path)
    """Folder that the features of real pictures are kept in."""
    device: str = "cpu"
    batch_size: int = 16
    workers: int = 0


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation."""

    protocol: ProtocolName
    size: Size
    pair_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    """Per metric one value for each pair."""
    sets: Mapping[str, float | str]
    """FIDs, or why they are not computed."""
    not_computed: Mapping[str, str]
    """Pair metrics without values, and why."""
    failures: tuple[tuple[str, str], ...]
    """Pairs and real pictures that could not be read, and why."""
    details: Mapping[str, str | int]
    not_comparable: str = ""
    """Why these numbers do not stand beside published ones; empty: they do."""

    def summary(self) -> dict[str, float | str]:
        """Return the mean of each metric, or why there is none."""
        means: dict[str, float | str] = {}
        for name, values in self.values.items():
            measured = values[~np.isnan(values)]
            means[name] = float(measured.mean()) if len(measured) else NO_VALUES
        return {**self.sets, **means, **self.not_computed}

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the 95 % confidence interval of a metric's mean by bootstrap over pairs; None where there is none."""
        ends = bootstrap_interval(self.values.get(name, np.empty(0)))
        return ends if np.isfinite(ends).all() else None

    @property
    def complete(self) -> bool:
        """Whether every metric was computed whose weights a user can get."""
        return all(not isinstance(value, str) or value == NO_VALUES for value in self.summary().values())


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Return the percentile interval of the mean; the same for the same values."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    means = np.array([finite[rng.integers(0, len(finite), len(finite))].mean() for _ in range(RESAMPLES)])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


Knuckles = Callable[[Pair], torch.Tensor]
"""Gives x, y of both middle knuckles in pixels of the compared pictures, ``(2, 2)``; NaN where one is not seen."""


@dataclass(frozen=True)
class _Pairs(Dataset[tuple[int, Any]]):
    """Reads both pictures of a pair; one that cannot be read gives the reason instead."""

    files: Sequence[tuple[Pair, Path]]
    protocol: Protocol
    size: Size
    knuckles: Knuckles

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        pair, path = self.files[index]
        try:
            if pair.target is None:
                return index, f"{pair.pair_id} has no true picture"
            picture = read_picture(path)
            both = (as_tensor(image, self.protocol, self.size) for image in (picture, read_picture(pair.target)))
            return index, (*both, self.knuckles(pair), (picture.height, picture.width))
        except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, which cost themselves alone
            return index, reason_of(error)


class _PairTable:
    """The values of all metrics of pairs, one row a pair."""

    def __init__(self, files: Sequence[tuple[Pair, Path]], options: EvaluationOptions, *, hands: bool) -> None:
        protocol = PROTOCOLS[options.protocol]
        metrics = pair_metrics(protocol, options.weights)
        self.files = files
        self.device = options.device
        self.metrics = {name: metric.to(options.device) for name, metric in metrics.items() if not metric.not_computed}
        self.people = PeopleScores(
            options.weights,
            options.device,
            lambda path: as_tensor(read_picture(path), protocol, options.size),
            hands=hands,
        )
        missing = {name: metric.not_computed for name, metric in metrics.items() if metric.not_computed}
        self.not_computed = missing | self.people.not_computed
        # filled in place: small tensors that are kept between large ones that are not would tear the heap to pieces
        self.values = {name: np.full(len(files), np.nan) for name in (*self.metrics, *self.people.names)}

    def fill(self, rows: list[int], generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor) -> None:
        """Measure pairs of uint8 pictures ``(B, 3, H, W)`` with the places of their hands, ``(B, 2, 2)``."""
        both = generated.to(self.device), target.to(self.device)
        for name, metric in self.metrics.items():
            self.values[name][rows] = metric.pair_values(*both).cpu().numpy()
        for name, column in self.people([self.files[row][0] for row in rows], generated, target, centers).items():
            self.values[name][rows] = column


def evaluate(
    files: Sequence[tuple[Pair, Path]],
    reals: RealSets,
    options: EvaluationOptions,
    advance: Advance = lambda _: None,
    knuckles: Knuckles | None = None,
) -> Scores:
    """Score generated pictures against their targets and against the real sets.

    Args:
        files: Pairs and their generated pictures.
        reals: The real sets.
        options: Protocol, size and so on.
        advance: Called with the number of further pictures; in all, the pairs and both real sets.
        knuckles: Where the hands are, for Hand SSIM; None leaves it out.

    Raises:
        PgpisError: No pair can be read.
    """
    protocol = PROTOCOLS[options.protocol]
    table, real = _PairTable(files, options, hands=knuckles is not None), SetDistances(options)
    done: list[int] = []
    sizes: Counter[Size] = Counter()
    failures: list[tuple[str, str]] = []
    loader: DataLoader[Any] = DataLoader(
        _Pairs(files, protocol, options.size, knuckles or _no_hands),
        options.batch_size,
        num_workers=options.workers,
        collate_fn=list,
        worker_init_fn=leave_interrupts_alone,
    )
    for items in loader:
        failures += [(files[index][0].pair_id, reason) for index, reason in items if isinstance(reason, str)]
        good = {index: content for index, content in items if not isinstance(content, str)}
        if good:
            *columns, shapes = zip(*good.values(), strict=True)
            generated, target, centers = map(torch.stack, columns)
            table.fill(list(good), generated, target, centers)
            real.add(generated)
            sizes.update(shapes)
            done += good
        advance(len(items))
    if not done:
        raise PgpisError(f"none of {len(files)} pictures can be scored: {failures[0][1] if failures else 'no pairs'}")
    _warn_of_other_sizes(sizes, options.size)
    distances = real.distances(reals, advance)
    values = {name: column[done] for name, column in table.values.items()}
    return Scores(
        options.protocol,
        options.size,
        tuple(files[index][0].pair_id for index in done),
        values,
        distances,
        table.not_computed,
        (*failures, *table.people.failures, *real.failures),
        {
            **_without_face(values),
            "real_train": len(reals.train),
            "real_targets": len(reals.targets),
            "features": protocol.features,
        },
    )


def _warn_of_other_sizes(sizes: Counter[Size], size: Size) -> None:
    """Say that pictures of another size were resized, and how they are compared as they are."""
    (height, width), count = sizes.most_common(1)[0]
    others = sizes.total() - sizes[size]
    if others:
        text = f"{others} of {sizes.total()} pictures are not {size[0]}x{size[1]} and were resized to it"
        log.warning("%s%s", text, f"; --size {height}x{width} compares {count} as they are" if count >= others else "")


def _without_face(values: Mapping[str, NDArray[np.float64]]) -> dict[str, str | int]:
    """Count the pairs in which a face was not found."""
    return {
        f"without_face_{name}": int(np.isnan(values[f"face_cosine_{name}"]).sum())
        for name in ("source", "target")
        if f"face_cosine_{name}" in values
    }


def _no_hands(_pair: Pair) -> torch.Tensor:
    return torch.full((2, 2), torch.nan)
