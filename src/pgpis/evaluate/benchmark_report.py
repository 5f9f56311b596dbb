"""A benchmark as files: the table in Markdown, means and intervals as JSON, pairs as CSV, and a page with pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgpis.data import Pair
from pgpis.evaluate.benchmark import TRUTH, BenchmarkSettings, RowScores, row_file, with_runs
from pgpis.evaluate.intervals import People, bootstrap_interval
from pgpis.evaluate.page import ImageCell, Section, Table, embedded, render_page
from pgpis.files import write_text
from pgpis.metrics.markup import markdown, markdown_table
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
    people: People = None,
) -> str:
    """Write ``benchmark.md``, ``benchmark.json``, ``benchmark.html`` and a table of pairs a row.

    Args:
        settings: Of the benchmark.
        rows: The scores of each row, runs apart.
        files: The pictures of each row, in the order of the pairs.
        pairs: All pairs.
        people: Whom each pair shows, where intervals are over people; None: they are over pairs.

    Returns:
        The text of ``benchmark.md``.
    """
    shown = with_runs(settings, rows)
    tables = [shown]
    if settings.differences:
        tables.append({f"{ours} - {other}": shown[ours] - shown[other] for ours, other in settings.compared})
    texts = [table(rows_of_table, people) for rows_of_table in tables]
    if people is not None:
        texts.append(f"Intervals are over {len(set(people))} people.\n")
    text = "\n".join(texts)
    write_text(settings.out / "benchmark.md", text)
    for name, row in rows.items():
        cells = [[pair.pair_id for pair in pairs], *([f"{v:.6g}" for v in values] for values in row.values.values())]
        write_table(settings.out / f"{row_file(name)}.csv", ["pair", *row.values], zip(*cells, strict=True))
    write_text(settings.out / "benchmark.json", json.dumps(_means(shown, people), indent=2, allow_nan=False) + "\n")
    write_text(settings.out / "benchmark.html", _page(tables, files, pairs, people))
    return text


def _means(rows: Mapping[str, RowScores], people: People = None) -> dict[str, dict[str, object]]:
    """Return for each row the means of its columns, and under ``intervals`` the ends of 95 % of each.

    Under ``left_out``, if there are any: how many pictures have infinite values, which both leave out.
    """
    means: dict[str, dict[str, object]] = {}
    for name, row in rows.items():
        means[name] = {column: _mean(values) for column, values in row.values.items()}
        if row.frechet is not None:
            means[name]["frechet_distance"] = row.frechet
        ends = {column: bootstrap_interval(values, people) for column, values in row.values.items()}
        means[name]["intervals"] = {column: pair for column, pair in ends.items() if np.isfinite(pair).all()}
        if left_out := _left_out(row):
            means[name]["left_out"] = left_out
    return means


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean of what is finite, as the table shows it."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def table(rows: Mapping[str, RowScores], people: People = None) -> str:
    """Return the table in Markdown: means and 95 % intervals over pairs or people, and over runs of a method.

    Lines below it say which of them leave out infinite values.
    """
    notes = [f"\n{markdown(note)}" for note in _notes(rows)]
    return "\n".join([*markdown_table(*_cells(rows, people)), *notes]) + "\n"


def _left_out(row: RowScores) -> dict[str, int]:
    """Count the infinite values that a mean leaves out, by column; none where all are, and there is no mean."""
    counts = {column: int(np.isinf(values).sum()) for column, values in row.values.items()}
    return {column: count for column, count in counts.items() if count and np.isfinite(row.values[column]).any()}


def _notes(rows: Mapping[str, RowScores]) -> list[str]:
    notes = []
    for name, row in rows.items():
        for column, count in _left_out(row).items():
            pictures = f"{count} of {row.values[column].size} pictures"
            notes.append(f"{name}: {column} is infinite for {pictures}, which mean and interval leave out.")
    return notes


def _cells(rows: Mapping[str, RowScores], people: People) -> tuple[list[str], list[list[str]]]:
    first = next(iter(rows.values()))
    head = ["", *(_headed(column) for column in first.values)]
    cells = [
        [name, *(_cell(column, values, people) for column, values in row.values.items())] for name, row in rows.items()
    ]
    if first.frechet is not None:
        head.append("Fréchet distance ↓")
        cells = [[*line, f"{row.frechet:z.3f}"] for line, row in zip(cells, rows.values(), strict=True)]
    return head, cells


def _headed(column: str) -> str:
    aim = AIMS.get(column) or ("↑" if column in HIGHER else "↓")
    return f"{column.replace('_', ' ')} {aim}"


def _cell(column: str, values: NDArray[np.float64], people: People) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    digits = 2 if column == "psnr" or column.endswith("_error") else 3
    low, high = bootstrap_interval(values, people)
    if np.isnan(low):
        return f"{finite.mean():z.{digits}f}"
    return f"{finite.mean():z.{digits}f} ({low:z.{digits}f}{' to ' if low < 0 else '-'}{high:z.{digits}f})"


def _page(
    tables: Sequence[Mapping[str, RowScores]],
    files: Mapping[str, Sequence[Path]],
    pairs: Sequence[Pair],
    people: People,
) -> str:
    """Return the page: the tables, and the pictures of some pairs, spread over the list; the truth comes last."""
    names = [*(name for name in files if name != TRUTH), TRUTH]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(SHOWN, len(pairs))).round().astype(int))
    lines = [
        [pairs[index].pair_id, *(ImageCell(embedded(files[name][index])) for name in names)]
        for index in chosen.tolist()
    ]
    pictures = Section(f"{len(chosen)} of {len(pairs)} pairs", tables=[Table(["", *names], lines, pictures=True)])
    scores = [Section(tables=[Table(*_cells(rows, people))], items=_notes(rows)) for rows in tables]
    return render_page("Benchmark", [*scores, pictures])
