"""Two folders of pictures of the same pairs: paired differences, and where they differ most."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pgpis.errors import PgpisError
from pgpis.evaluate.columns import METRICS, column, ranking, shown
from pgpis.evaluate.intervals import bootstrap_interval
from pgpis.evaluate.methods import ABSENT, about, noted
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.page import Figure, Section, Table, embedded, render_page
from pgpis.evaluate.results import SHOWN, finite_or_text, pairs_by_id
from pgpis.evaluate.score import Scores
from pgpis.files import write_text
from pgpis.metrics.markup import latex, latex_table, markdown, markdown_table


@dataclass(frozen=True)
class Difference:
    """The mean of B - A over pairs."""

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    """95 % confidence interval of the difference, by bootstrap over pairs or people (two-tailed)."""
    pairs: int
    """How many pairs all of these are of: those for which both folders have a finite value."""

    def verdict(self, metric: str) -> str:
        """Say which folder is better, if the interval leaves zero out."""
        low, high = self.interval
        if not (low > 0 or high < 0):  # also where they are not numbers
            return "no difference that these pairs can show"
        return "B is better" if (self.difference > 0) != column(metric).lower_is_better else "A is better"


@dataclass(frozen=True)
class Comparison:
    """Both scores on the pairs that both folders have."""

    pair_ids: tuple[str, ...]
    differences: Mapping[str, Difference]
    sets: Mapping[str, tuple[float | str, float | str]]
    not_computed: Mapping[str, tuple[float | str, float | str]] = field(default_factory=dict)
    """Of pair metrics one of them lacks, the means, or why there is none."""


def compare(first: Scores, second: Scores) -> Comparison:
    """Compare two evaluations pair by pair.

    Raises:
        PgpisError: They have no pair in common.
    """
    place = {pair_id: number for number, pair_id in enumerate(second.pair_ids)}
    ours = [number for number, pair_id in enumerate(first.pair_ids) if pair_id in place]
    theirs = [place[first.pair_ids[number]] for number in ours]
    if not ours:
        raise PgpisError("the two folders have no pair in common")
    first, second = _only(first, ours), _only(second, theirs)
    differences = {}
    for name, values in first.values.items():
        if name in second.values:
            both = np.stack([values, second.values[name]])
            finite = np.flatnonzero(np.isfinite(both).all(axis=0))
            a, b = both[:, finite]
            if len(a):
                people = None if first.people is None else [first.people[number] for number in finite.tolist()]
                mean_a, mean_b, difference = (float(each.mean()) for each in (a, b, b - a))
                interval = bootstrap_interval(b - a, people)
                differences[name] = Difference(mean_a, mean_b, difference, interval, len(a))
    sets = {name: (value, second.sets[name]) for name, value in first.sets.items()}
    means = [scores.summary() for scores in (first, second)]
    others = [name for name in {**means[0], **means[1]} if name not in differences and name not in sets]
    rest = {name: (means[0].get(name, ABSENT), means[1].get(name, ABSENT)) for name in others}
    return Comparison(first.pair_ids, differences, sets, rest)


def _only(scores: Scores, numbers: Sequence[int]) -> Scores:
    """Return the scores of some pairs; distances of sets stay those of all."""
    people = None if scores.people is None else [scores.people[number] for number in numbers]
    values = {name: of_pairs[numbers] for name, of_pairs in scores.values.items()}
    pair_ids = tuple(scores.pair_ids[number] for number in numbers)
    return replace(scores, pair_ids=pair_ids, values=values, people=people)


def _rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for name, row in comparison.differences.items():
        low, high = row.interval
        cells = [name, shown(name, row.first), shown(name, row.second), f"{row.difference:+z.4f}"]
        rows.append([*cells, "" if math.isnan(low) else f"{low:+z.4f} to {high:+z.4f}", row.verdict(name)])
    unpaired = {**comparison.sets, **comparison.not_computed}
    rows += [[name, shown(name, a), shown(name, b), "", "", ""] for name, (a, b) in unpaired.items()]
    return rows


Side = tuple[Path, Scores]
"""A folder and its scores."""


def _notes(comparison: Comparison, sides: tuple[Side, Side], escape: Callable[[str], str]) -> list[str]:
    """Say what is compared, and of which pictures the distances of sets are."""
    notes = [
        f"{letter}: {escape(str(folder))}: {about(scores, escape)}"
        for letter, (folder, scores) in zip("AB", sides, strict=True)
    ]
    count = len(comparison.pair_ids)
    notes.append(f"{count} pairs that both have")
    for name, row in comparison.differences.items():
        if row.pairs < count:
            why = "in the others A or B has no value, or an infinite one"
            notes.append(escape(f"{name}: A, B and their difference are of {row.pairs} of {count} pairs; {why}."))
    (_, ours), (_, theirs) = sides
    by_note: dict[str, list[str]] = {}
    for letter, scores in (("A", ours), ("B", theirs)):
        for note in noted(scores):
            by_note.setdefault(note, []).append(letter)
    notes += [escape(f"{' and '.join(letters)}: {note}") for note, letters in by_note.items()]
    if set(ours.pair_ids) != set(theirs.pair_ids):
        notes.append(
            "Distances of sets do not compare: A and B are of different pairs, as not all pictures can be read."
        )
    return notes


HEAD = ["metric", "A", "B", "B - A", "95 % interval", "verdict"]


def to_markdown(comparison: Comparison, sides: tuple[Side, Side]) -> str:
    """Return the table of differences."""
    notes = [f"- {note}" for note in _notes(comparison, sides, markdown)]
    return "\n".join([*notes, "", *markdown_table(HEAD, _rows(comparison))]) + "\n"


def to_latex(comparison: Comparison, sides: tuple[Side, Side]) -> str:
    """Return the table of differences for a paper."""
    rows = [
        [METRICS[metric].head if metric in METRICS else latex(metric), *map(latex, cells)]
        for metric, *cells in _rows(comparison)
    ]
    head = ["Metric", "A", "B", "B $-$ A", r"95\,\% interval", "Verdict"]
    return latex_table(_notes(comparison, sides, latex), "lrrrll", head, rows)


def to_json(comparison: Comparison, sides: tuple[Side, Side]) -> str:
    """Return the comparison, and what it is of."""
    first = sides[0][1]
    content = {
        "protocol": first.protocol,
        "size": {"height": first.size[0], "width": first.size[1]},
        **{
            letter: {"generated": str(folder), "samples": len(scores.pair_ids), "details": dict(scores.details)}
            for letter, (folder, scores) in zip("ab", sides, strict=True)
        },
        "pairs": len(comparison.pair_ids),
        "metrics": {
            name: {
                "a": d.first,
                "b": d.second,
                "difference": d.difference,
                "interval": list(d.interval) if all(map(math.isfinite, d.interval)) else None,
                "pairs": d.pairs,
            }
            for name, d in comparison.differences.items()
        },
        "sets": _by_side(comparison.sets),
        "not_computed": _by_side(comparison.not_computed),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _by_side(both: Mapping[str, tuple[float | str, float | str]]) -> dict[str, dict[str, float | str]]:
    return {name: {"a": finite_or_text(a), "b": finite_or_text(b)} for name, (a, b) in both.items()}


def write_comparison(
    out: Path, comparison: Comparison, sides: tuple[Side, Side], matches: tuple[Matches, Matches]
) -> Path:
    """Write ``comparison.json``, ``.md``, ``.tex`` and ``.html``; return the page."""
    write_text(out / "comparison.json", to_json(comparison, sides))
    write_text(out / "comparison.md", to_markdown(comparison, sides))
    write_text(out / "comparison.tex", to_latex(comparison, sides))
    scores = (sides[0][1], sides[1][1])
    sections = [
        Section(tables=[Table(HEAD, _rows(comparison))], items=_notes(comparison, sides, str)),
        *_farthest(comparison, scores, matches),
    ]
    write_text(out / "comparison.html", render_page("A against B", sections))
    return out / "comparison.html"


def _farthest(comparison: Comparison, scores: tuple[Scores, Scores], matches: tuple[Matches, Matches]) -> list[Section]:
    """Return the pairs in which either folder is farthest ahead; none without a metric that ranks them."""
    metric = ranking(comparison.differences)
    if metric is None:
        return []
    ours, theirs = (dict(zip(score.pair_ids, score.values[metric], strict=True)) for score in scores)
    files, others = map(pairs_by_id, matches)
    gains = np.array([theirs[name] - ours[name] for name in comparison.pair_ids])
    gains = -gains if column(metric).lower_is_better else gains
    sections = []
    for title, ahead in (("B is ahead", gains), ("A is ahead", -gains)):
        indices = [index for index in np.argsort(-ahead)[:SHOWN] if ahead[index] > 0]
        figures = []
        for name in (comparison.pair_ids[index] for index in indices):
            pair, path = files[name]
            pictures = [embedded(file) for file in (pair.source, pair.target or path, path, others[name][1])]
            figures.append(Figure(f"{name}: A {ours[name]:.4f}, B {theirs[name]:.4f}", pictures))
        if figures:
            sections.append(Section(f"{title} by {metric} (source, truth, A, B)", figures=figures))
    return sections
