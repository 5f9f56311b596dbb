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
from pgpis.evaluate.bodies import BodyScores
from pgpis.evaluate.features import Advance, RealSets, SetDistances, as_tensor
from pgpis.evaluate.intervals import Interval, bootstrap_interval
from pgpis.evaluate.modern import ModernDistances
from pgpis.evaluate.people import PeopleScores
from pgpis.evaluate.protocols import PROTOCOLS, Protocol, pair_metrics
from pgpis.evaluate.published import ProtocolName, Size
from pgpis.jobs import leave_interrupts_alone, reason_of

log = logging.getLogger(__name__)

NO_VALUES = "not computed: no pair has it"


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
    """Distances of sets, such as FIDs, or why they are not computed."""
    not_computed: Mapping[str, str]
    """Pair metrics without values, and why."""
    failures: tuple[tuple[str, str], ...]
    """Pairs and real pictures that could not be read, and why."""
    details: Mapping[str, str | int]
    not_comparable: str = ""
    """Why these numbers do not stand beside published ones; empty: they do."""
    set_intervals: Mapping[str, Interval] = field(default_factory=dict)
    """Of distances of sets that have any."""

    def summary(self) -> dict[str, float | str]:
        """Return the mean of each metric, or why there is none."""
        means: dict[str, float | str] = {}
        for name, values in self.values.items():
            measured = values[~np.isnan(values)]
            means[name] = float(measured.mean()) if len(measured) else NO_VALUES
        return {**self.sets, **means, **self.not_computed}

    def interval(self, name: str) -> Interval | None:
        """Return a metric's 95 % confidence interval by bootstrap over generated pictures; None where there is none."""
        if name in self.set_intervals:
            return self.set_intervals[name]
        ends = bootstrap_interval(self.values.get(name, np.empty(0)))
        return ends if np.isfinite(ends).all() else None

    @property
    def complete(self) -> bool:
        """Whether every metric was computed whose weights a user can get."""
        return all(not isinstance(value, str) or value == NO_VALUES for value in self.summary().values())


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
        faces_and_hands = PeopleScores(
            options.weights,
            options.device,
            lambda path: as_tensor(read_picture(path), protocol, options.size),
            hands=hands,
        )
        self.bodies = BodyScores(options.weights, options.device) if protocol.modern else None
        self.people: list[PeopleScores | BodyScores] = [faces_and_hands, *([self.bodies] if self.bodies else [])]
        self.not_computed = {name: metric.not_computed for name, metric in metrics.items() if metric.not_computed}
        for people in self.people:
            self.not_computed |= people.not_computed
        names = [*self.metrics, *(name for people in self.people for name in people.names)]
        # filled in place: small tensors that are kept between large ones that are not would tear the heap to pieces
        self.values = {name: np.full(len(files), np.nan) for name in names}

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Pairs of which a score could not be computed, and why."""
        return [failure for people in self.people for failure in people.failures]

    def fill(self, rows: list[int], generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor) -> None:
        """Measure pairs of uint8 pictures ``(B, 3, H, W)`` with the places of their hands, ``(B, 2, 2)``."""
        both = generated.to(self.device), target.to(self.device)
        for name, metric in self.metrics.items():
            self.values[name][rows] = metric.pair_values(*both).cpu().numpy()
        pairs = [self.files[row][0] for row in rows]
        for people in self.people:
            for name, column in people(pairs, generated, target, centers).items():
                self.values[name][rows] = column


def set_distances(options: EvaluationOptions) -> SetDistances | ModernDistances:
    """Return what compares sets of pictures in the way of the protocol."""
    return ModernDistances(options) if PROTOCOLS[options.protocol].modern else SetDistances(options)


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
        advance: Called with the number of further pictures; in all, the pairs and :func:`real_pictures`.
        knuckles: Where the hands are, for Hand SSIM; None leaves it out.

    Raises:
        PgpisError: No pair can be read.
    """
    table, real = _PairTable(files, options, hands=knuckles is not None), set_distances(options)
    done, failures = _measure(table, real, options, advance, knuckles or _no_hands)
    distances = real.distances(reals, advance)
    values = {name: column[done] for name, column in table.values.items()}
    return Scores(
        options.protocol,
        options.size,
        tuple(files[index][0].pair_id for index in done),
        values,
        distances,
        table.not_computed,
        (*failures, *table.failures, *real.failures),
        _details(values, reals, PROTOCOLS[options.protocol], table.bodies),
        set_intervals=real.intervals,
    )


def real_pictures(options: EvaluationOptions, reals: RealSets) -> int:
    """Return how many real pictures :func:`evaluate` goes through."""
    return (ModernDistances if PROTOCOLS[options.protocol].modern else SetDistances).count(reals)


def _measure(
    table: _PairTable,
    real: SetDistances | ModernDistances,
    options: EvaluationOptions,
    advance: Advance,
    knuckles: Knuckles,
) -> tuple[list[int], list[tuple[str, str]]]:
    """Go through all pairs; return which could be read, and why the others could not."""
    files = table.files
    done: list[int] = []
    sizes: Counter[Size] = Counter()
    failures: list[tuple[str, str]] = []
    loader: DataLoader[Any] = DataLoader(
        _Pairs(files, PROTOCOLS[options.protocol], options.size, knuckles),
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
    return done, failures


def _details(
    values: Mapping[str, NDArray[np.float64]], reals: RealSets, protocol: Protocol, bodies: BodyScores | None
) -> dict[str, str | int]:
    """Say what is needed to compare the numbers with others."""
    details = _without_face(values)
    if protocol.modern:
        if bodies is not None and bodies.names:
            details |= {"detector": bodies.detector, "without_person_target": int(np.isnan(values["nobody"]).sum())}
        return details | {"real_targets": len(reals.targets)}
    sets = {"real_train": len(reals.train), "real_targets": len(reals.targets)}
    return details | sets | {"features": protocol.features}


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
