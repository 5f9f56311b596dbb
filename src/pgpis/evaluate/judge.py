"""What is measured picture by picture, by nets that are loaded once: here, or in actors of a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from pgpis.cluster import Crew, Shared
from pgpis.data.pairs import Pair
from pgpis.data.picture_store import read_picture
from pgpis.errors import PgpisError
from pgpis.evaluate.bodies import BodyScores
from pgpis.evaluate.features import SetDistances, as_tensor, features_of
from pgpis.evaluate.modern import ModernDistances
from pgpis.evaluate.people import PeopleScores
from pgpis.evaluate.protocols import PROTOCOLS, EvaluationOptions, pair_metrics
from pgpis.evaluate.published import Size
from pgpis.jobs import broken_pool, leave_interrupts_alone, parts, reason_of

Knuckles = Callable[[Pair], torch.Tensor]
"""Gives x, y of both middle knuckles in pixels of the compared pictures, ``(2, 2)``; NaN where one is not seen."""


class Entry(NamedTuple):
    """A pair whose picture is scored."""

    row: int
    """Its place among all of them."""
    pair: Pair
    path: Path
    """The generated picture."""


class Pictures(NamedTuple):
    """What is read of a pair."""

    generated: torch.Tensor
    """uint8 ``(3, H, W)`` as the protocol compares it; the true one likewise."""
    target: torch.Tensor
    centers: torch.Tensor
    """Of the hands, ``(2, 2)``."""
    size: Size
    """Of the file."""


Reading = tuple[Entry, Pictures | str]
"""A pair with its pictures, or why they cannot be read."""


@dataclass
class Verdict:
    """What a judge says of a few pairs."""

    rows: list[int] = field(default_factory=list)
    """Of the N pairs that could be read."""
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """By metric ``(N,)``."""
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Of the generated pictures, by net ``(N, D)``."""
    sizes: list[Size] = field(default_factory=list)
    """Of the files of the generated pictures."""
    reading_failures: list[tuple[str, str]] = field(default_factory=list)
    """Pairs that could not be read, and why."""
    scoring_failures: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of which a score could not be computed, and why."""

    @property
    def pairs(self) -> int:
        """How many pairs it is about."""
        return len(self.rows) + len(self.reading_failures)


def distances_by(options: EvaluationOptions) -> type[SetDistances | ModernDistances]:
    """Return what compares sets of pictures in the way of the protocol."""
    return ModernDistances if PROTOCOLS[options.protocol].modern else SetDistances


class Judge:
    """All nets and metrics of a protocol, for pictures one by one.

    Args:
        options: How pictures are scored.
        knuckles: Where the hands are, for Hand SSIM; None leaves it out.
    """

    def __init__(self, options: EvaluationOptions, knuckles: Knuckles | None) -> None:
        protocol = PROTOCOLS[options.protocol]
        metrics = pair_metrics(protocol, options.weights)
        self.options = options
        self.knuckles = knuckles
        self.metrics = {name: metric.to(options.device) for name, metric in metrics.items() if not metric.not_computed}
        faces_and_hands = PeopleScores(
            options.weights,
            options.device,
            lambda path: as_tensor(read_picture(path), protocol, options.size),
            hands=knuckles is not None,
        )
        self.bodies = BodyScores(options.weights, options.device) if protocol.modern else None
        self.people: list[PeopleScores | BodyScores] = [faces_and_hands, *([self.bodies] if self.bodies else [])]
        self.nets = distances_by(options).nets_of(options)
        self.not_computed = {name: metric.not_computed for name, metric in metrics.items() if metric.not_computed}
        """Pair metrics without values, and why."""
        for people in self.people:
            self.not_computed |= people.not_computed
        self.names = (*self.metrics, *(name for people in self.people for name in people.names))
        """Of the pair metrics."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it can measure, and by which detector."""
        nets = (name for name, net in self.nets.items() if net.not_computed is None)
        return (*self.names, *nets, *([self.bodies.detector] if self.bodies else []))

    def score(self, readings: Sequence[Reading]) -> Verdict:
        """Score pairs."""
        verdict = Verdict(
            reading_failures=[(entry.pair.pair_id, what) for entry, what in readings if isinstance(what, str)]
        )
        good = [(entry, what) for entry, what in readings if not isinstance(what, str)]
        if not good:
            return verdict
        entries, pictures = zip(*good, strict=True)
        *tensors, sizes = zip(*pictures, strict=True)
        generated, target, centers = map(torch.stack, tensors)
        both = generated.to(self.options.device), target.to(self.options.device)
        values = {name: metric.pair_values(*both).cpu().numpy() for name, metric in self.metrics.items()}
        for people in self.people:
            values |= people([entry.pair for entry in entries], generated, target, centers)
            verdict.scoring_failures += people.failures
            people.failures.clear()
        features = {name: net(generated) for name, net in self.nets.items() if net.not_computed is None}
        rows = [entry.row for entry in entries]
        return replace(verdict, rows=rows, values=values, features=features, sizes=list(sizes))

    def features(self, name: str, files: Sequence[Path]) -> torch.Tensor:
        """Return the features of real pictures by a net; see :data:`pgpis.evaluate.features.ComputeFeatures`."""
        return features_of(files, self.nets[name], self.options)


def read(options: EvaluationOptions, knuckles: Knuckles | None, entries: Sequence[Entry]) -> list[Reading]:
    """Read both pictures of pairs; one that cannot be read gives the reason instead."""
    return [(entry, _read(options, knuckles, entry)) for entry in entries]


def _read(options: EvaluationOptions, knuckles: Knuckles | None, entry: Entry) -> Pictures | str:
    target = entry.pair.target
    if target is None:
        return f"{entry.pair.pair_id} has no true picture"
    protocol = PROTOCOLS[options.protocol]
    try:
        picture = read_picture(entry.path)
        generated, true = (as_tensor(image, protocol, options.size) for image in (picture, read_picture(target)))
        centers = torch.full((2, 2), torch.nan) if knuckles is None else knuckles(entry.pair)
        return Pictures(generated, true, centers, (picture.height, picture.width))
    except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, which cost themselves alone
        return reason_of(error)


class JudgeHere:
    """Lets a judge of this process score pairs, which others may read for it.

    Args:
        judge: Who scores.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def verdicts(self, entries: Sequence[Entry]) -> Iterator[Verdict]:
        """Score pairs in their order."""
        options = self.judge.options
        sequence: Any = entries  # torch asks for its own class, and takes any
        loader: DataLoader[Any] = DataLoader(
            sequence,
            options.batch_size,
            num_workers=options.workers,
            collate_fn=functools.partial(read, options, self.judge.knuckles),
            worker_init_fn=leave_interrupts_alone,
        )
        return map(self.judge.score, loader)

    def features(self, name: str, batches: Sequence[Sequence[Path]]) -> Iterator[torch.Tensor]:
        """Compute features; see :data:`pgpis.evaluate.features.ComputeFeatures`."""
        return map(functools.partial(self.judge.features, name), batches)


@dataclass(frozen=True)
class Bench:
    """What actors make their judges of: nets do not travel, but are read by each from files that all machines see."""

    options: EvaluationOptions
    knuckles: Knuckles | None
    abilities: tuple[str, ...]
    """What the judge can measure where the job was started."""

    @functools.cached_property
    def judge(self) -> Judge:
        """The judge of this process.

        Raises:
            PgpisError: Weights are missing here that are there where the job was started, or the other way round.
        """
        judge = Judge(self.options, self.knuckles)
        if judge.abilities != self.abilities:
            names = ", ".join(sorted({*judge.abilities} ^ {*self.abilities}))
            hint = "all machines of the cluster must see the same weights: --weights FOLDER"
            raise PgpisError(f"only some machines can measure: {names}", hint=hint)
        return judge

    def score(self, entries: Sequence[Entry]) -> Verdict:
        """Read and score pairs."""
        return self.judge.score(read(self.options, self.knuckles, entries))


class JudgesOnRay:
    """Lets judges in actors of a cluster read and score pairs; what comes out is that of :class:`JudgeHere`.

    Args:
        judge: Of this process; it says what can be measured.
        crew: The actors.
    """

    def __init__(self, judge: Judge, crew: Crew) -> None:
        self.crew = crew
        self.batch_size = judge.options.batch_size
        options = replace(judge.options, device=crew.device)
        self.bench = Shared(Bench(options, judge.knuckles, judge.abilities))

    def verdicts(self, entries: Sequence[Entry]) -> Iterator[Verdict]:
        """Score pairs in their order; a batch that ends whoever scores it is listed as not read."""
        batches = parts(entries, self.batch_size)
        for batch, future in self.crew.done(functools.partial(_score_at, self.bench), batches, in_order=True):
            try:
                yield future.result()
            except BrokenExecutor as error:
                yield Verdict(reading_failures=[(entry.pair.pair_id, str(error)) for entry in batch])

    def features(self, name: str, batches: Sequence[Sequence[Path]]) -> Iterator[torch.Tensor]:
        """Compute features; see :data:`pgpis.evaluate.features.ComputeFeatures`.

        Raises:
            PgpisError: A batch ends whoever looks at it.
        """
        for _, future in self.crew.done(functools.partial(_features_at, self.bench, name), batches, in_order=True):
            try:
                yield future.result()
            except BrokenExecutor as error:
                raise broken_pool("looking at real pictures", error) from error


def _score_at(bench: Shared[Bench], entries: Sequence[Entry]) -> Verdict:
    return bench.get().score(entries)


def _features_at(bench: Shared[Bench], name: str, files: Sequence[Path]) -> torch.Tensor:
    return bench.get().judge.features(name, files)
