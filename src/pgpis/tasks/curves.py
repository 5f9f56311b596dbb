"""Curves of a run that goes on: added to those of the run that it goes on with, up to its checkpoint's step."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def go_on_logging(trainer: Trainer, step: int) -> None:
    """Let a resumed run add to the curves of the run that it goes on with, from its checkpoint's step."""
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger | CSVLogger):
            continue
        if logger._version is None:  # noqa: SLF001  version asks the disk
            versions = [path.name.removeprefix("version_") for path in Path(logger.root_dir).glob("version_*")]
            numbers = [int(version) for version in versions if version.isdigit()]
            logger._version = max(numbers, default=None)  # noqa: SLF001  loggers are made before it is known
        if isinstance(logger, TensorBoardLogger):
            logger._kwargs.setdefault("purge_step", step + 1)  # noqa: SLF001
        elif trainer.is_global_zero:
            _keep_rows(logger, step)


def log_apart(trainer: Trainer, verb: str | None) -> None:
    """Let ``validate`` and ``test`` log to versions of their own names: a run that goes on adds to ``fit``'s newest."""
    for logger in trainer.loggers if verb in ("validate", "test") else ():
        if isinstance(logger, TensorBoardLogger | CSVLogger) and logger._version is None:  # noqa: SLF001
            logger._version = f"{verb}_{len([*Path(logger.root_dir).glob(f'{verb}_*')])}"  # noqa: SLF001


def _keep_rows(logger: CSVLogger, step: int) -> None:
    """Put the rows up to a step back into a file that the logger begins anew; a row that a kill has cut is left out."""
    file = Path(logger.log_dir) / "metrics.csv"
    if not file.is_file():
        return
    with file.open(newline="") as lines:
        rows = [{name: text for name, text in row.items() if name and text} for row in csv.DictReader(lines)]
    with warnings.catch_warnings(action="ignore"):  # that it deletes what is there
        writer = logger.experiment
    writer.metrics = [row for row in rows if row.get("step", "").isdigit() and int(row["step"]) <= step]
    writer.save()
