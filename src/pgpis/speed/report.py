"""What was measured: rows by setting and batch size, as table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from pgpis.files import write_text

DONE = "done"
OUT_OF_MEMORY = "out of memory"


@dataclass
class Row:
    """One setting at one batch size; None where something was not measured."""

    setting: str
    """Words of ``--compare``."""
    batch_size: int
    """Pairs."""
    dtype: str
    """What products are computed in: bf16, fp16, tf32, fp32."""
    status: str = DONE
    """``done``, ``out of memory``, or what else went wrong."""
    first_run_s: float | None = None
    """Seconds of the first run, with everything that is made only once: compilation, plans, memory."""
    ms_per_step: float | None = None
    """Milliseconds of a step: in ``model`` the mean over all steps, in ``train`` the median."""
    steps_are_whole: bool = True
    """Whether all steps compute as much as the one that is counted; otherwise no share of the peak is given."""
    per_second: float | None = None
    """Pictures in ``model``, whole ones with conditions and decoding; pairs in ``train``."""
    peak_memory_gib: float | None = None
    """Largest amount of memory."""
    tflop_per_step: float | None = None
    """Counted products of one step, a multiplication and an addition being two."""
    peak_tflops: float | None = None
    """What the device can do at most in this type."""
    share_of_peak: float | None = None
    """Counted FLOP/s over the device's peak."""
    difference: float | None = None
    """Largest difference from the first setting at this batch size: of pictures in [-1, 1], or of losses; None where
    that one failed."""
    parts_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds of what runs once per picture, by name."""

    def count(self, flops: float | None, peak: float) -> None:
        """Set what follows from the FLOPs of one pair's step and the device's peak in FLOP/s."""
        self.peak_tflops = peak / 1e12
        if flops is not None and self.ms_per_step and self.steps_are_whole:
            self.tflop_per_step = flops * self.batch_size / 1e12
            self.share_of_peak = flops * self.batch_size / (self.ms_per_step / 1e3) / peak


COLUMNS = {
    "setting": "{}",
    "batch_size": "{}",
    "dtype": "{}",
    "ms_per_step": "{:.4g}",
    "per_second": "{:.3g}",
    "peak_memory_gib": "{:.2f}",
    "share_of_peak": "{:.1%}",
    "first_run_s": "{:.1f}",
    "difference": "{:.1e}",
}


@dataclass
class Report:
    """All rows of one run, and what a reader must know about them."""

    kind: str
    """``model`` or ``train``."""
    device: dict[str, str | int]
    """See ``Device.describe``."""
    subject: dict[str, Any]
    """What was timed: recipe, sizes, weights."""
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row, out: Path | None) -> None:
        """Take a row, and write all of them: a run that is cut off loses nothing."""
        self.rows.append(row)
        if out is not None:
            write_text(out, self.to_json())

    def to_json(self) -> str:
        """Return everything; what is not a finite number is null."""
        return json.dumps(_finite(asdict(self)), indent=2) + "\n"

    def print(self, stream: TextIO) -> None:
        """Write tables that are Markdown as well."""
        console = headed(stream, self.device, self.subject)
        unit = "pictures/s" if self.kind == "model" else "pairs/s"
        titles = ("setting", "batch", "dtype", "ms/step", unit, "memory, GiB", "of peak", "first run, s", "difference")
        table = Table(*titles, box=box.MARKDOWN)
        for row in self.rows:
            values = asdict(row)
            cells = ["-" if values[name] is None else form.format(values[name]) for name, form in COLUMNS.items()]
            if row.status != DONE:
                cells[3:4] = [row.status[:60]]
            table.add_row(*cells)
        console.print(table)
        names = list(dict.fromkeys(name for row in self.rows for name in row.parts_ms))
        if names:
            parts = Table("setting", "batch", *(f"{name}, ms" for name in names), box=box.MARKDOWN)
            for row in self.rows:
                if row.parts_ms:
                    cells = [f"{row.parts_ms[name]:.4g}" if name in row.parts_ms else "-" for name in names]
                    parts.add_row(row.setting, str(row.batch_size), *cells)
            console.print(parts)


def headed(stream: TextIO, *heads: Mapping[str, Any]) -> Console:
    """Write lines of names and values, and return what writes tables below them that are Markdown as well."""
    console = Console(file=stream, width=200, highlight=False, markup=False)
    for head in heads:
        console.print(", ".join(f"{name} {value}" for name, value in head.items()))
    return console


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
