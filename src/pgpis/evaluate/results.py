"""An evaluation as files: JSON, Markdown, LaTeX, CSV of pairs, and a page with pictures and histograms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pgpis.data.pairs import Pair
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.page import Figure, Section, Table, embedded, histogram, render_page
from pgpis.evaluate.published import COLUMNS, PUBLISHED
from pgpis.evaluate.score import Scores
from pgpis.files import write_text
from pgpis.metrics import write_pair_values
from pgpis.metrics.markup import latex, markdown, markdown_table

DIGITS = {"fid": 3, "fid_gt": 3, "fid_train": 3, "psnr": 3}
ENOUGH_FOR_FID = 2048
"""Below the width of the features their covariance is singular."""
SHOWN = 6
MEASURED = ("metric", "mean", "95 % interval")
MOST_ITEMS = 50
"""Names in a list of what was left out."""


def shown(name: str, value: float | str) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, str):
        return value
    return "inf" if math.isinf(value) else f"{value:.{DIGITS.get(name, 4)}f}"


def write_reports(out: Path, scores: Scores, matches: Matches, generated: Path, name: str) -> Path:
    """Write ``metrics.json``, ``metrics.md``, ``metrics.tex``, ``pairs.csv`` and ``report.html``; return the page."""
    columns = {metric: values.tolist() for metric, values in scores.values.items()}
    write_pair_values(out / "pairs.csv", scores.pair_ids, columns)
    write_text(out / "metrics.json", to_json(scores, matches, generated))
    write_text(out / "metrics.md", to_markdown(scores, name))
    write_text(out / "metrics.tex", to_latex(scores, name))
    write_text(out / "report.html", to_html(scores, matches, name))
    return out / "report.html"


def to_json(scores: Scores, matches: Matches, generated: Path) -> str:
    """Return everything but the values of pairs."""
    results = {
        name: {
            "value": value if isinstance(value, str) or math.isfinite(value) else str(value),
            "interval": scores.interval(name),
        }
        for name, value in scores.summary().items()
    }
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
        "failures": dict(scores.failures),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _measured(scores: Scores) -> list[list[str]]:
    """Return metric, mean and interval as a table shows them."""
    return [
        [metric, shown(metric, value), " to ".join(shown(metric, end) for end in scores.interval(metric) or ())]
        for metric, value in scores.summary().items()
    ]


def _about(scores: Scores, escape: Callable[[str], str]) -> str:
    height, width = scores.size
    real = escape(", ".join(f"{name} {value}" for name, value in scores.details.items()))
    return f"protocol `{scores.protocol}`, {len(scores.pair_ids)} pairs, {height}x{width} (height x width), {real}"


def to_markdown(scores: Scores, name: str) -> str:
    """Return the table of all metrics, and the published rows of the same protocol and size."""
    lines = [_about(scores, markdown), "", *markdown_table(MEASURED, _measured(scores)), ""]
    lines += markdown_table(("", *COLUMNS), _rows(scores, name))
    notes = [_note(scores)]
    if len(scores.pair_ids) < ENOUGH_FOR_FID:
        notes.insert(0, f"FID of {len(scores.pair_ids)} pictures is too high: it compares with FID of as many only.")
    return "\n".join([*lines, *(f"\n{note}" for note in notes if note)]) + "\n"


def _published(scores: Scores) -> Mapping[str, Mapping[str, float]]:
    return {} if scores.not_comparable else PUBLISHED.get(scores.protocol, {}).get(scores.size, {})


def _note(scores: Scores) -> str:
    """Say why there are no published rows; empty where there are some."""
    if scores.not_comparable:
        return f"Without published rows: {scores.not_comparable}."
    return "" if _published(scores) else "No published numbers of this protocol and size are known."


def _rows(scores: Scores, name: str) -> list[list[str]]:
    """Return the rows of the table with ours last."""
    ours = {column: value for column, value in scores.summary().items() if isinstance(value, float)}
    rows = {**_published(scores), f"{name} (measured here)": ours}
    return [[row, *(shown(column, cells.get(column, "-")) for column in COLUMNS)] for row, cells in rows.items()]


def to_latex(scores: Scores, name: str) -> str:
    """Return the same table for a paper."""
    heads = {"fid": r"FID$\downarrow$", "fid_gt": r"FID$_{gt}\downarrow$", "lpips": r"LPIPS$\downarrow$",
             "ssim": r"SSIM$\uparrow$", "psnr": r"PSNR$\uparrow$"}  # fmt: skip
    comments = [_about(scores, latex), *filter(None, [_note(scores)])]
    lines = [
        *(f"% {comment}" for comment in comments),
        rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
        r"\toprule",
        f"Method & {' & '.join(heads[column] for column in COLUMNS)} \\\\",
        r"\midrule",
    ]
    for row, *cells in _rows(scores, name):
        lines.append(f"{latex(row)} & {' & '.join('--' if cell == '-' else cell for cell in cells)} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_html(scores: Scores, matches: Matches, name: str) -> str:
    """Return a page that needs nothing beside itself."""
    distributions = [
        Figure(metric if (bins := histogram(values)) else f"{metric}: no finite values", bins=bins)
        for metric, values in scores.values.items()
    ]
    ranked = "lpips" if "lpips" in scores.values else "ssim"
    order = np.argsort(scores.values[ranked])
    if ranked == "ssim":
        order = order[::-1]
    middle = max(0, len(order) // 2 - SHOWN // 2)
    parts = {"Best": order[:SHOWN], "Median": order[middle : middle + SHOWN], "Worst": order[::-1][:SHOWN]}
    files = pairs_by_id(matches)

    def figure(index: int) -> Figure:
        pair, path = files[scores.pair_ids[index]]
        pictures = [embedded(file) for file in (pair.source, pair.target or path, path)]
        return Figure(f"{pair.pair_id}: {ranked} {scores.values[ranked][index]:.4f}", pictures)

    lists = {
        "Pairs without a picture": list(matches.missing),
        "Pictures of no pair": [str(path) for path in matches.unmapped],
        "Could not be read": [f"{pair}: {reason}" for pair, reason in scores.failures],
    }
    sections = [
        Section(text=_about(scores, str), tables=[Table(MEASURED, _measured(scores))]),
        Section("Beside published numbers", _note(scores), [Table(("", *COLUMNS), _rows(scores, name))]),
        Section("Distribution over pairs", figures=distributions),
        *(
            Section(f"{title} pairs by {ranked} (source, truth, generated)", figures=list(map(figure, indices)))
            for title, indices in parts.items()
        ),
        *(Section(f"{title}: {len(items)}", items=items[:MOST_ITEMS]) for title, items in lists.items() if items),
    ]
    return render_page(name, sections)


def pairs_by_id(matches: Matches) -> dict[str, tuple[Pair, Path]]:
    """Return pairs and their pictures by name."""
    return {pair.pair_id: (pair, path) for pair, path in matches.files}
