"""Results as files: JSON for machines, Markdown for people, CSV with one line per pair."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch

from pgpis.errors import PgpisError
from pgpis.files import printable, write_text
from pgpis.metrics.markup import markdown, markdown_table

Result: TypeAlias = float | int | str | torch.Tensor
"""A value, or "not computed: ..." with the reason."""


@dataclass(frozen=True)
class MetricReport:
    """Results of one evaluation, with what is needed to compare them with others."""

    protocol: str
    """Name of the evaluation protocol, such as ``fpdm``."""
    samples: int
    """Number of pairs that were measured."""
    results: Mapping[str, Result]
    """Value, or "not computed: ...", by name."""
    size: tuple[int, int] | None = None
    """(height, width) of the compared pictures in pixels; None for embeddings."""
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    """Anything else to state, such as the checkpoint and the number of steps."""

    def to_json(self) -> str:
        """Return the report as JSON; infinite values are the string "inf"."""
        entries = {
            "protocol": self.protocol,
            "samples": self.samples,
            "size": None if self.size is None else {"height": self.size[0], "width": self.size[1]},
            "details": dict(self.details),
            "results": {name: _plain(name, value) for name, value in self.results.items()},
        }
        return json.dumps(entries, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Return the report as a Markdown table under a line that names protocol, sample count and size."""
        about = [f"protocol `{self.protocol}`", f"{self.samples} samples"]
        if self.size is not None:
            about.append(f"{self.size[0]}x{self.size[1]} pixels (height x width)")
        about += [markdown(f"{name} {value}") for name, value in self.details.items()]
        rows = [(name, _shown(_plain(name, value))) for name, value in self.results.items()]
        lines = [", ".join(about), "", *markdown_table(("metric", "value"), rows)]
        return "\n".join(lines) + "\n"

    def write(self, directory: str | Path, name: str = "metrics") -> tuple[Path, Path]:
        """Write ``NAME.json`` and ``NAME.md`` into a folder, which is created if need be; return both paths.

        Raises:
            PgpisError: A value is NaN; nothing is written.
        """
        texts = {Path(directory) / f"{name}.json": self.to_json(), Path(directory) / f"{name}.md": self.to_markdown()}
        for path, text in texts.items():
            write_text(path, text)
        json_path, markdown_path = texts
        return json_path, markdown_path


def write_pair_values(path: str | Path, pair_ids: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    """Write one CSV line per pair, with one of the ``values`` of each metric.

    Raises:
        PgpisError: A metric has another number of values than there are pairs.
    """
    for name, column in values.items():
        if len(column) != len(pair_ids):
            raise PgpisError(f"{path}: '{name}' has {len(column)} values for {len(pair_ids)} pairs")
    columns = ([f"{float(value):z.6f}" for value in column] for column in values.values())
    write_table(path, ["pair_id", *values], zip(pair_ids, *columns, strict=True))


def write_table(path: str | Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    write_text(path, printable(text.getvalue()))


def _plain(name: str, value: Result) -> float | int | str:
    """Return a value that JSON can hold."""
    plain = value.item() if isinstance(value, torch.Tensor) else value
    if isinstance(plain, float) and math.isnan(plain):
        raise PgpisError(f"metric '{name}' is NaN: state why it is missing instead, as 'not computed: ...'")
    return str(plain) if isinstance(plain, float) and math.isinf(plain) else plain


def _shown(value: float | str) -> str:
    return f"{value:z.4f}" if isinstance(value, float) else str(value)
