"""Two folders of pictures of the same pairs: paired differences, and where they differ most."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgpis.errors import PgpisError
from pgpis.evaluate.columns import METRICS, column, ranking, shown
from pgpis.evaluate.intervals import bootstrap_interval
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.page import Figure, Section, Table, embedded, render_page
from pgpis.evaluate.results import SHOWN, pairs_by_id
from pgpis.evaluate.score import Scores
from pgpis.files import write_text
from pgpis.metrics.markup import latex, markdown_table


@dataclass(frozen=True)
class Difference:
    """The mean of B - A over pairs."""

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    """95 % confidence interval of the difference, by bootstrap over pairs (two-tailed)."""

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
    differences = {}
    for name, values in first.values.items():
        if name in second.values:
            both = np.stack([values[ours], second.values[name][theirs]])
            a, b = both[:, np.isfinite(both).all(axis=0)]
            if len(a):
                mean_a, mean_b, difference = (float(each.mean()) for each in (a, b, b - a))
                differences[name] = Difference(mean_a, mean_b, difference, bootstrap_interval(b - a))
    sets = {name: (value, second.sets[name]) for name, value in first.sets.items()}
    return Comparison(tuple(first.pair_ids[number] for number in ours), differences, sets)


def _rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for name, row in comparison.differences.items():
        low, high = row.interval
        cells = [name, shown(name, row.first), shown(name, row.second), f"{row.difference:+.4f}"]
        rows.append([*cells, "" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}", row.verdict(name)])
    rows += [[name, shown(name, a), shown(name, b), "", "", ""] for name, (a, b) in comparison.sets.items()]
    return rows


HEAD = ["metric", "A", "B", "B - A", "95 % interval", "verdict"]


def to_markdown(comparison: Comparison) -> str:
    """Return the table of differences."""
    lines = [f"{len(comparison.pair_ids)} pairs that both have", "", *markdown_table(HEAD, _rows(comparison))]
    return "\n".join(lines) + "\n"


def to_latex(comparison: Comparison) -> str:
    """Return the table of differences for a paper."""
    lines = [
        f"% {len(comparison.pair_ids)} pairs that both have",
        r"\begin{tabular}{lrrrll}",
        r"\toprule",
        r"Metric & A & B & B $-$ A & 95\,\% interval & Verdict \\",
        r"\midrule",
    ]
    for metric, *cells in _rows(comparison):
        head = METRICS[metric].head if metric in METRICS else latex(metric)
        lines.append(f"{' & '.join([head, *map(latex, cells)])} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def write_comparison(
    out: Path, comparison: Comparison, scores: tuple[Scores, Scores], matches: tuple[Matches, Matches]
) -> Path:
    """Write ``comparison.json``, ``.md``, ``.tex`` and ``.html``; return the page."""
    content = {
        name: {"a": d.first, "b": d.second, "difference": d.difference, "interval": list(d.interval)}
        for name, d in comparison.differences.items()
        if all(map(math.isfinite, d.interval))
    }
    everything = {"pairs": len(comparison.pair_ids), "metrics": content}
    write_text(out / "comparison.json", json.dumps(everything, indent=1) + "\n")
    write_text(out / "comparison.md", to_markdown(comparison))
    write_text(out / "comparison.tex", to_latex(comparison))
    sections = [Section(tables=[Table(HEAD, _rows(comparison))]), *_farthest(comparison, scores, matches)]
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
    order = np.argsort(-gains if column(metric).lower_is_better else gains)
    sections = []
    for title, indices in (("B is ahead", order[::-1][:SHOWN]), ("A is ahead", order[:SHOWN])):
        figures = []
        for name in (comparison.pair_ids[index] for index in indices):
            pair, path = files[name]
            pictures = [embedded(file) for file in (pair.source, pair.target or path, path, others[name][1])]
            figures.append(Figure(f"{name}: A {ours[name]:.4f}, B {theirs[name]:.4f}", pictures))
        sections.append(Section(f"{title} by {metric} (source, truth, A, B)", figures=figures))
    return sections
