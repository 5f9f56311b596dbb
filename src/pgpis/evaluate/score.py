"""Scores of a folder of generated pictures: every metric of a protocol in one pass."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pgpis.cluster import Crew
from pgpis.data.pairs import Pair
from pgpis.errors import PgpisError
from pgpis.evaluate.bodies import BodyScores
from pgpis.evaluate.features import NEEDED, Advance, RealSets
from pgpis.evaluate.intervals import Interval, People, bootstrap_interval
from pgpis.evaluate.judge import Entry, Judge, JudgeHere, JudgesOnRay, Knuckles, distances_by
from pgpis.evaluate.naming import persons_of
from pgpis.evaluate.protocols import PROTOCOLS, EvaluationOptions, Protocol
from pgpis.evaluate.published import ProtocolName, Size

log = logging.getLogger(__name__)

NO_VALUES = "not computed: no pair has it"


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
    people: People = None
    """Whom each pair shows, if intervals are over people; None: they are over pairs."""

    def over_people(self) -> Scores:
        """Take intervals over people in place of pairs; distances of sets have none then.

        Raises:
            PgpisError: The names of pairs do not tell whom they show.
        """
        people = tuple(persons_of(self.pair_ids))
        details = {**self.details, "intervals_over_people": len(set(people))}
        return replace(self, people=people, set_intervals={}, details=details)

    def summary(self) -> dict[str, float | str]:
        """Return the mean of each metric over pairs with finite values, or why there is none.

        The PSNR of equal pictures is infinite, and so is the mean where all are equal.
        """
        means: dict[str, float | str] = {}
        for name, values in self.values.items():
            measured = values[np.isfinite(values)] if np.isfinite(values).any() else values[~np.isnan(values)]
            means[name] = float(measured.mean()) if len(measured) else NO_VALUES
        return {**self.sets, **means, **self.not_computed}

    @property
    def left_out(self) -> dict[str, int]:
        """How many pairs a mean leaves out as their values are infinite, by metric."""
        counts = {name: int(np.isinf(values).sum()) for name, values in self.values.items()}
        return {name: count for name, count in counts.items() if 0 < count < len(self.pair_ids)}

    def interval(self, name: str) -> Interval | None:
        """Return a metric's 95 % confidence interval over generated pictures, or people; None where there is none."""
        if name not in self.values:
            return self.set_intervals.get(name)
        ends = bootstrap_interval(self.values[name], self.people)
        return ends if np.isfinite(ends).all() else None

    @property
    def complete(self) -> bool:
        """Whether every metric was computed that lacked nothing but weights, which a user can get."""
        reasons = [value for value in self.summary().values() if isinstance(value, str)]
        return all(reason == NO_VALUES or reason.endswith(NEEDED) for reason in reasons)


def evaluate(
    files: Sequence[tuple[Pair, Path]],
    reals: RealSets,
    options: EvaluationOptions,
    advance: Advance = lambda _: None,
    knuckles: Knuckles | None = None,
    crew: Crew | None = None,
) -> Scores:
    """Score generated pictures against their targets and against the real sets.

    Args:
        files: Pairs and their generated pictures.
        reals: The real sets.
        options: Protocol, size and so on.
        advance: Called with the number of further pictures; in all, the pairs and :func:`real_pictures`.
        knuckles: Where the hands are, for Hand SSIM; None leaves it out.
        crew: Actors that do what is done picture by picture; None: this process does.

    Raises:
        PgpisError: No pair can be read.
    """
    judge = Judge(options if crew is None else replace(options, device="cpu"), knuckles)
    judges = JudgeHere(judge) if crew is None else JudgesOnRay(judge, crew)
    real = distances_by(options)(options, judge.nets)
    # filled in place: small tensors that are kept between large ones that are not would tear the heap to pieces
    values = {name: np.full(len(files), np.nan) for name in judge.names}
    done: list[int] = []
    sizes: Counter[Size] = Counter()
    reading_failures: list[tuple[str, str]] = []
    scoring_failures: list[tuple[str, str]] = []
    for verdict in judges.verdicts([Entry(row, *both) for row, both in enumerate(files)]):
        for name, column in verdict.values.items():
            values[name][verdict.rows] = column
        real.add(verdict.features)
        sizes.update(verdict.sizes)
        done += verdict.rows
        reading_failures += verdict.reading_failures
        scoring_failures += verdict.scoring_failures
        advance(verdict.pairs)
    if not done:
        raise PgpisError(
            f"none of {len(files)} pictures can be scored: {reading_failures[0][1] if reading_failures else 'no pairs'}"
        )
    _warn_of_other_sizes(sizes, options.size)
    distances = real.distances(reals, judges.features, advance)
    values = {name: column[done] for name, column in values.items()}
    used = reals.without({name for name, _ in real.failures})
    return Scores(
        options.protocol,
        options.size,
        tuple(files[index][0].pair_id for index in done),
        values,
        distances,
        judge.not_computed,
        (*reading_failures, *scoring_failures, *real.failures),
        _details(values, used, PROTOCOLS[options.protocol], judge.bodies),
        set_intervals=real.intervals,
    )


def real_pictures(options: EvaluationOptions, reals: RealSets) -> int:
    """Return how many real pictures :func:`evaluate` goes through."""
    return distances_by(options).count(reals)


def _details(
    values: Mapping[str, NDArray[np.float64]], reals: RealSets, protocol: Protocol, bodies: BodyScores | None
) -> dict[str, str | int]:
    """Say what is needed to compare the numbers with others."""
    details = _without_face(values)
    if protocol.modern:
        if bodies is not None and bodies.names:
            details |= {"detector": bodies.detector, "without_person_target": int(np.isnan(values["nobody"]).sum())}
        return details | _set("targets", reals)
    return details | _set("train", reals) | _set("targets", reals) | {"features": protocol.features}


def _set(name: Literal["train", "targets"], reals: RealSets) -> dict[str, str | int]:
    """Say how many and which pictures of a real set could be read."""
    return {f"real_{name}": len(getattr(reals, name)), f"real_{name}_hash": reals.digests[name]}


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
