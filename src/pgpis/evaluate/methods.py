"""The table of methods: what was measured, by one protocol or several, below the published rows of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgpis.data.tables import csv_text
from pgpis.evaluate.columns import column, columns_of, shown
from pgpis.evaluate.intervals import Interval
from pgpis.evaluate.page import Section, Table, render_page
from pgpis.evaluate.protocols import PROTOCOLS
from pgpis.evaluate.published import PAPERS, PUBLISHED, ProtocolName
from pgpis.evaluate.score import Scores
from pgpis.files import printable, write_text
from pgpis.metrics.markup import latex, latex_table, markdown, markdown_table

ABSENT = "-"
Measure = tuple[ProtocolName, str]
"""Protocol and metric: a column."""
Cell = tuple[float, Interval | None]
"""Value and interval."""
ENOUGH = {"fid": 2048, "fid_gt": 2048, "fid_train": 2048, "fd_dinov2": 1024}
"""Pictures, generated or real, below which a Fréchet distance is too high: fewer than features give a singular
covariance."""
SETS = {"fid_gt": "targets", "fid_train": "train"}
"""Real pictures of a distance that is not against the protocol's own."""


@dataclass(frozen=True)
class Row:
    """A method."""

    name: str
    paper: str
    """Where it was published; empty: measured here."""
    cells: Mapping[Measure, Cell]


@dataclass(frozen=True)
class Methods:
    """Evaluations by the name of their method, each by one protocol."""

    scores: Sequence[tuple[str, Scores]]

    @property
    def protocols(self) -> list[ProtocolName]:
        """Return the protocols, in the order in which they were first used."""
        return list(dict.fromkeys(scores.protocol for _, scores in self.scores))

    @property
    def columns(self) -> list[Measure]:
        """Return the columns."""
        return [(protocol, metric) for protocol in self.protocols for metric in columns_of(protocol)]

    def rows(self) -> list[Row]:
        """Return the rows, with ours last; a protocol has published rows if all of its scores stand beside them."""
        published: dict[tuple[str, str], dict[Measure, Cell]] = {}
        measured: dict[str, dict[Measure, Cell]] = {}
        for protocol in self.protocols:
            for name, values in self._published(protocol).items():
                cells = published.setdefault((name, PAPERS[protocol][name]), {})
                cells |= {(protocol, metric): (value, None) for metric, value in values.items()}
        for name, scores in self.scores:
            cells = measured.setdefault(name, {})
            for metric, value in scores.summary().items():
                if isinstance(value, float):
                    cells[scores.protocol, metric] = value, scores.interval(metric)
        ours = [Row(f"{name} (measured here)", "", cells) for name, cells in measured.items()]
        return [*(Row(*names, cells) for names, cells in published.items()), *ours]

    def _published(self, protocol: ProtocolName) -> Mapping[str, Mapping[str, float]]:
        scores = [scores for _, scores in self.scores if scores.protocol == protocol]
        known = PUBLISHED.get(protocol, {}).get(scores[0].size, {})
        return {} if any(each.not_comparable for each in scores) else known

    def notes(self) -> list[str]:
        """Say what numbers do not compare with, why there are no published rows, and what was not computed.

        Of one evaluation its own table says what was not computed.
        """
        notes = dict.fromkeys(note for _, scores in self.scores for note in noted(scores))
        for _, scores in self.scores:
            if scores.not_comparable:
                notes[f"Without published rows: {scores.not_comparable}."] = None
            elif not self._published(scores.protocol):
                these = (
                    "this protocol and size" if len(self.scores) == 1 else f"protocol '{scores.protocol}' and this size"
                )
                notes[f"No published numbers of {these} are known."] = None
            if len(self.scores) > 1:
                lacking = {metric: why for metric, why in scores.summary().items() if isinstance(why, str)}
                notes |= {f"{metric} ({scores.protocol}): {why}": None for metric, why in lacking.items()}
        return list(notes)

    def about(self, escape: Callable[[str], str]) -> list[str]:
        """Say of each method how and of what its scores are."""
        return [f"{escape(name)}: {about(scores, escape)}" for name, scores in self.scores]

    def table(
        self, head: Callable[[str], str], *, intervals: bool, absent: str = ABSENT
    ) -> tuple[list[str], list[list[str]]]:
        """Return head and rows as text.

        Args:
            head: What a metric is called.
            intervals: Whether to show them.
            absent: What stands where there is no value.
        """
        several = len(self.protocols) > 1
        heads = [f"{head(metric)} ({protocol})" if several else head(metric) for protocol, metric in self.columns]
        rows = []
        for row in self.rows():
            cells = [_cell(column, row.cells.get(column), absent, intervals=intervals) for column in self.columns]
            rows.append([row.name, *cells, row.paper])
        return ["", *heads, "paper"], rows


def _cell(measure: Measure, cell: Cell | None, absent: str, *, intervals: bool) -> str:
    if cell is None:
        return absent
    value, interval = cell
    _, metric = measure
    ends = f" [{shown(metric, interval[0])}, {shown(metric, interval[1])}]" if intervals and interval else ""
    return f"{shown(metric, value)}{ends}"


def about(scores: Scores, escape: Callable[[str], str]) -> str:
    """Say how and of what scores are."""
    height, width = scores.size
    real = escape(", ".join(f"{name} {value}" for name, value in scores.details.items()))
    return f"protocol `{scores.protocol}`, {len(scores.pair_ids)} pairs, {height}x{width} (height x width), {real}"


def noted(scores: Scores) -> list[str]:
    """Say which Fréchet distances are of too few pictures, and which means leave out pairs."""
    notes: dict[str, None] = {}
    count, main = len(scores.pair_ids), PROTOCOLS[scores.protocol].real_set
    for metric in [metric for metric in ENOUGH if isinstance(scores.sets.get(metric), float)]:
        real = int(scores.details[f"real_{SETS.get(metric, main)}"])
        if min(count, real) < ENOUGH[metric]:
            label = column(metric).label.partition("$")[0]
            sets = f"{label} of {count} pictures against {real}"
            notes[f"{sets} is too high: it compares with {label} of as many only."] = None
    for name, infinite in scores.left_out.items():
        notes[f"{name} is infinite for {infinite} of {count} pairs, which its mean leaves out."] = None
    return list(notes)


def to_latex(methods: Methods, *, intervals: bool = False) -> str:
    """Return the table for a paper."""
    _, rows = methods.table(str, intervals=intervals, absent="--")
    several = len(methods.protocols) > 1
    heads = [column(metric).head + (f" ({latex(protocol)})" if several else "") for protocol, metric in methods.columns]
    comments = [*methods.about(latex), *map(latex, methods.notes())]
    cells = [list(map(latex, row)) for row in rows]
    return latex_table(comments, f"l{'r' * len(heads)}l", ["Method", *heads, "Paper"], cells)


def to_markdown(methods: Methods) -> str:
    """Return the table with intervals, and how each row was measured."""
    head, rows = methods.table(str, intervals=True)
    lines = [f"- {line}" for line in methods.about(markdown)]
    notes = [f"\n{markdown(note)}" for note in methods.notes()]
    return "\n".join([*lines, "", *markdown_table(head, rows), *notes]) + "\n"


def to_csv(methods: Methods) -> str:
    """Return one line for each number, with the ends of its interval, unrounded."""
    cells = [
        [row.name, row.paper, protocol, metric, value, *(interval or ("", ""))]
        for row in methods.rows()
        for (protocol, metric), (value, interval) in row.cells.items()
    ]
    return printable(csv_text([["method", "paper", "protocol", "metric", "value", "low", "high"], *cells]))


def write_table(out: Path, methods: Methods, pages: Sequence[Path]) -> Path:
    """Write ``table.md``, ``table.tex``, ``table.csv`` and ``table.html``, which names the pages; return the last."""
    head, rows = methods.table(str, intervals=True)
    sections = [
        Section(tables=[Table(head, rows)], items=[*methods.about(str), *methods.notes()]),
        Section("Pages of the evaluations", items=[str(page.relative_to(out)) for page in pages]),
    ]
    write_text(out / "table.md", to_markdown(methods))
    write_text(out / "table.tex", to_latex(methods, intervals=True))
    write_text(out / "table.csv", to_csv(methods))
    write_text(out / "table.html", render_page("Methods", sections))
    return out / "table.html"
