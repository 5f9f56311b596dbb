"""Settings side by side: a row for each, and the run goes on where one does not fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from pgpis.errors import first_line
from pgpis.speed.device import Device
from pgpis.speed.report import DONE, OUT_OF_MEMORY, Report, Row
from pgpis.speed.settings import Setting
from pgpis.tasks.memory import is_out_of_memory

log = logging.getLogger(__name__)


class Bench(Protocol):
    """What can be timed in settings."""

    device: Device

    def flops(self, setting: Setting) -> float:
        """Count the FLOPs of a step of one pair; more pairs take as many times more."""

    def measure(self, setting: Setting, batch_size: int, row: Row) -> torch.Tensor:
        """Fill a row, but for what follows from other rows and FLOPs; return what was computed."""


def compare(
    bench: Bench,
    settings: Sequence[Setting],
    batch_sizes: Sequence[int],
    precision: str,
    report: Report,
    out: Path | None,
) -> int:
    """Measure all settings at all batch sizes.

    Args:
        bench: What is timed.
        settings: The first one is what the others are compared with.
        batch_sizes: Pairs.
        precision: The recipe's ``trainer.precision``.
        report: Takes the rows.
        out: JSON file that is written after each row; None: none.

    Returns:
        How many rows failed otherwise than for lack of memory.
    """
    failed = 0
    flops: dict[Setting, float] = {}
    for setting in dict.fromkeys(setting.counted for setting in settings):
        with noted(bench.device, Row("counting FLOPs", 1, "")):
            flops[setting] = bench.flops(setting)
    for batch_size in batch_sizes:
        reference = None  # stays so where the first setting fails
        for setting in settings:
            row = Row(setting.name, batch_size, setting.dtype(precision, is_gpu=bench.device.is_gpu))
            with noted(bench.device, row):
                result = bench.measure(setting, batch_size, row)
                if setting is settings[0]:
                    reference = result
                if reference is not None:
                    row.difference = (result - reference).abs().max().item()
                row.count(flops.get(setting.counted), bench.device.peak(row.dtype)[0])
                log.info("%s, batch of %d: %.4g ms a step", row.setting, row.batch_size, row.ms_per_step)
            failed += row.status not in (DONE, OUT_OF_MEMORY)
            report.add(row, out)
    return failed


@contextmanager
def noted(device: Device, row: Row) -> Iterator[None]:
    """Note in a row why it could not be measured, and clear up."""
    try:
        yield
    except Exception as error:
        row.status = OUT_OF_MEMORY if is_out_of_memory(error) else f"{type(error).__name__}: {first_line(error)}"
        log.warning("%s, batch of %d: %s", row.setting, row.batch_size, row.status)
        log.debug("%s", row.setting, exc_info=error)
    device.begin()
