"""What other libraries say that is of no use to who trains or predicts."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers

KNOWN_WARNINGS = (
    ".*LightningCLI's args parameter is intended.*",  # needed: --config names are replaced by paths
    ".*does not have many workers.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",  # training works without
    ".*LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*GPU available but not used.*",
    ".*in eval mode at the start of training.*",  # frozen parts are meant to be
    ".*Total length of .(DataLoader|list). across ranks is zero.*",  # nothing left to predict, or not here
)
MOVED = ".*The dirpath has changed from.*"
"""What is kept of a checkpoint's folder is of no use to who goes on with its weights alone."""


@contextmanager
def quiet_libraries(*more: str) -> Iterator[None]:
    """Drop known warnings and ``more`` of them, bars of loading files, and what vendors say about their services."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_news)
    with warnings.catch_warnings():
        for message in (*KNOWN_WARNINGS, *more):
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def only_warnings(*names: str) -> Iterator[None]:
    """Leave out what loggers would say that is not a warning."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_news(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()
