"""An evaluation as files: JSON, Markdown, LaTeX, CSV of pairs, and a page with pictures and histograms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pgpis.data.pairs import Pair
from pgpis.evaluate.columns import column, ranking, shown
from pgpis.evaluate.methods import Methods, about, to_latex
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.page import Figure, Section, Table, embedded, histogram, render_page
from pgpis.evaluate.score import Scores
from pgpis.files import write_text
from pgpis.metrics import write_pair_values
from pgpis.metrics.markup import markdown, markdown_table

SHOWN = 6
MEASURED = ("metric", "mean", "95 % interval")
MOST_ITEMS = 50
"""Names in a list of what was left out."""


def write_reports(out: Path, name: str, generated: Path, scores: Scores, matches: Matches) -> Path:
    """Write ``metrics.json``, ``metrics.md``, ``metrics.tex``, ``pairs.csv`` and ``report.html``; return the page."""
    columns = {metric: values.tolist() for metric, values in scores.values.items()}
    write_pair_values(out / "pairs.csv", scores.pair_ids, columns)
    write_text(out / "metrics.json", to_json(scores, matches, generated))
    write_text(out / "metrics.md", to_markdown(scores, name))
    write_text(out / "metrics.tex", to_latex(Methods([(name, scores)])))
    write_text(out / "report.html", to_html(scores, matches, name))
    return out / "report.html"


def to_json(scores: Scores, matches: Matches, generated: Path) -> str:
    """Return everything but the values of pairs."""
    results = {
        name: {
            "value": finite_or_text(value),
            "interval": scores.interval(name),
        }
        for name, value in scores.summary().items()
    }
    failures: dict[str, list[str]] = {}  # a picture may fail as a source and as a target, say
    for failed, reason in scores.failures:
        failures.setdefault(failed, []).append(reason)
    content = {
        "protocol": scores.protocol,
        "size": {"height": scores.size[0], "width": scores.size[1]},
        "samples": len(scores.pair_ids),
        "generated": str(generated),
        "details": dict(scores.details),
        "results": results,
        "unmapped": [str(path) for path in matches.unmapped],
        "doubled": [str(path) for path in matches.doubled],
        "missing": list(matches.missing),
        "failures": {name: "; ".join(reasons) for name, reasons in failures.items()},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def finite_or_text(value: float | str) -> float | str:
    """Return what JSON can hold of a number or the reason why there is none."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def _measured(scores: Scores) -> list[list[str]]:
    """Return metric, mean and interval as a table shows them."""
    return [
        [metric, shown(metric, value), " to ".join(shown(metric, end) for end in scores.interval(metric) or ())]
        for metric, value in scores.summary().items()
    ]


def to_markdown(scores: Scores, name: str) -> str:
    """Return the table of all metrics, and the published rows of the same protocol and size."""
    methods = Methods([(name, scores)])
    lines = [about(scores, markdown), "", *markdown_table(MEASURED, _measured(scores)), ""]
    lines += markdown_table(*methods.table(str, intervals=False))
    return "\n".join([*lines, *(f"\n{markdown(note)}" for note in methods.notes())]) + "\n"


def to_html(scores: Scores, matches: Matches, name: str) -> str:
    """Return a page that needs nothing beside itself."""
    distributions = [
        Figure(metric if (bins := histogram(values)) else f"{metric}: no finite values", bins=bins)
        for metric, values in scores.values.items()
    ]
    methods = Methods([(name, scores)])
    lists = {
        "Pairs without a picture": list(matches.missing),
        "Pictures of no pair": [str(path) for path in matches.unmapped],
        "Further pictures of a pair that has one": [str(path) for path in matches.doubled],
        "Could not be read": [f"{pair}: {reason}" for pair, reason in scores.failures],
    }
    sections = [
        Section(text=about(scores, str), tables=[Table(MEASURED, _measured(scores))]),
        Section("Beside published numbers", " ".join(methods.notes()), [Table(*methods.table(str, intervals=False))]),
        Section("Distribution over pairs", figures=distributions),
        *_ranked(scores, pairs_by_id(matches)),
        *(Section(f"{title}: {len(items)}", items=items[:MOST_ITEMS]) for title, items in lists.items() if items),
    ]
    return render_page(name, sections)


def _ranked(scores: Scores, files: Mapping[str, tuple[Pair, Path]]) -> list[Section]:
    """Return the best, median and worst pairs with their pictures; none without a metric that ranks them."""
    metric = ranking(scores.values)
    if metric is None:
        return []
    values = scores.values[metric]
    order = np.argsort(values if column(metric).lower_is_better else -values)
    order = order[~np.isnan(values[order])]
    middle = max(0, len(order) // 2 - SHOWN // 2)
    parts = {"Best": order[:SHOWN], "Median": order[middle : middle + SHOWN], "Worst": order[::-1][:SHOWN]}

    def figure(index: int) -> Figure:
        pair, path = files[scores.pair_ids[index]]
        pictures = [embedded(file) for file in (pair.source, pair.target or path, path)]
        return Figure(f"{pair.pair_id}: {metric} {values[index]:.4f}", pictures)

    return [
        Section(f"{title} pairs by {metric} (source, truth, generated)", figures=list(map(figure, indices)))
        for title, indices in parts.items()
    ]


def pairs_by_id(matches: Matches) -> dict[str, tuple[Pair, Path]]:
    """Return pairs and their pictures by name."""
    return {pair.pair_id: (pair, path) for pair, path in matches.files}
