"""A benchmark as files: the table in Markdown, means and intervals as JSON, pairs as CSV, and a page with pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgpis.data import Pair
from pgpis.evaluate.benchmark import TRUTH, BenchmarkSettings, RowScores, row_file, with_runs
from pgpis.evaluate.intervals import bootstrap_interval
from pgpis.evaluate.page import ImageCell, Section, Table, embedded, render_page
from pgpis.files import write_text
from pgpis.metrics.markup import markdown_table
from pgpis.metrics.summary import write_table

HIGHER = {"ssim", "psnr", "pose_recognised", "identity_recognised", "outfit_recognised"}
"""Columns of which more is better."""
AIMS = {"print_sharpness": "→ 1"}
"""Columns of which neither more nor less is better."""
SHOWN = 24
"""Pairs on the page."""


def write_report(
    settings: BenchmarkSettings,
    rows: Mapping[str, RowScores],
    files: Mapping[str, Sequence[Path]],
    pairs: Sequence[Pair],
) -> str:
    """Write ``benchmark.md``, ``benchmark.json``, ``benchmark.html`` and a table of pairs a row.

    Returns:
        The text of ``benchmark.md``.
    """
    shown = with_runs(settings, rows)
    tables = [shown]
    if settings.differences:
        tables.append({f"{ours} - {other}": shown[ours] - shown[other] for ours, other in settings.compared})
    text = "\n".join(map(table, tables))
    write_text(settings.out / "benchmark.md", text)
    for name, row in rows.items():
        cells = [[pair.pair_id for pair in pairs], *([f"{v:.6g}" for v in values] for values in row.values.values())]
        write_table(settings.out / f"{row_file(name)}.csv", ["pair", *row.values], zip(*cells, strict=True))
    write_text(settings.out / "benchmark.json", json.dumps(_means(shown), indent=2, allow_nan=False) + "\n")
    write_text(settings.out / "benchmark.html", _page(tables, files, pairs))
    return text


def _means(rows: Mapping[str, RowScores]) -> dict[str, dict[str, object]]:
    """Return for each row the means of its columns, and under ``intervals`` the ends of 95 % of each."""
    means: dict[str, dict[str, object]] = {}
    for name, row in rows.items():
        means[name] = {column: _mean(values) for column, values in row.values.items()}
        if row.frechet is not None:
            means[name]["frechet_distance"] = row.frechet
        known = {column: values for column, values in row.values.items() if np.isfinite(values).sum() > 1}
        means[name]["intervals"] = {column: bootstrap_interval(values) for column, values in known.items()}
    return means


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean of what is finite, as the table shows it."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def table(rows: Mapping[str, RowScores]) -> str:
    """Return the table in Markdown: means and 95 % intervals over pairs, and over runs where there are several."""
    head, cells = _cells(rows)
    return "\n".join(markdown_table(head, cells)) + "\n"


def _cells(rows: Mapping[str, RowScores]) -> tuple[list[str], list[list[str]]]:
    first = next(iter(rows.values()))
    head = ["", *(_headed(column) for column in first.values)]
    cells = [[name, *(_cell(column, values) for column, values in row.values.items())] for name, row in rows.items()]
    if first.frechet is not None:
        head.append("Fréchet distance ↓")
        cells = [[*line, f"{row.frechet:.3f}"] for line, row in zip(cells, rows.values(), strict=True)]
    return head, cells


def _headed(column: str) -> str:
    aim = AIMS.get(column) or ("↑" if column in HIGHER else "↓")
    return f"{column.replace('_', ' ')} {aim}"


def _cell(column: str, values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    digits = 2 if column == "psnr" or column.endswith("_error") else 3
    low, high = bootstrap_interval(values)
    if np.isnan(low):
        return f"{finite.mean():.{digits}f}"
    return f"{finite.mean():.{digits}f} ({low:.{digits}f}{' to ' if low < 0 else '-'}{high:.{digits}f})"


def _page(tables: Sequence[Mapping[str, RowScores]], files: Mapping[str, Sequence[Path]], pairs: Sequence[Pair]) -> str:
    """Return the page: the tables, and the pictures of some pairs, spread over the list; the truth comes last."""
    names = [*(name for name in files if name != TRUTH), TRUTH]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).round().astype(int))
    lines = [
        [pairs[index].pair_id, *(ImageCell(embedded(files[name][index])) for name in names)]
        for index in chosen.tolist()
    ]
    pictures = Section(f"{len(chosen)} of {len(pairs)} pairs", tables=[Table(["", *names], lines, pictures=True)])
    return render_page("Benchmark", [Section(tables=[Table(*_cells(rows)) for rows in tables]), pictures])
