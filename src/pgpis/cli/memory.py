"""``pgpis bench memory``: what a training step takes, without a GPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from pgpis.cli.models import build
from pgpis.cli.speed import BenchSettings, numbers


@dataclass(frozen=True, kw_only=True)
class MemorySettings(BenchSettings):
    """Whose memory is counted."""

    batch_sizes: str | None = None
    """Pairs in a batch, numbers between commas [the recipe's]."""


def memory(settings: MemorySettings, *words: str) -> None:
    """Count the memory of a training step, without a GPU or a download.

    All other options are keys of the recipe. What the libraries of a GPU take for themselves comes on top, half a
    gigabyte and more.

    Args:
        settings: Whose memory.
        words: Keys of the recipe.
    """
    sizes = None if settings.batch_sizes is None else numbers("--batch-sizes", settings.batch_sizes, 1)
    from pgpis.files import write_text
    from pgpis.speed.memory import MemoryReport, built_in, step_memory, without_content

    empty = without_content()
    cli = build(settings.config, settings.pipeline, words, sizes_only=built_in(empty))
    precision = str(cli.trainer.precision)
    accumulates = cli.trainer.accumulate_grad_batches > 1
    rows = step_memory(empty, cli.model, sizes or [cli.datamodule.batch_size], precision, accumulates=accumulates)
    subject = {"recipe": settings.recipe, "precision": precision}
    report = MemoryReport(subject, rows)
    if settings.out is not None:
        write_text(settings.out, report.to_json())
    report.print(sys.stdout)
