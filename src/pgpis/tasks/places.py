"""Where in a batch a pair is: the last bits of its pictures depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pgpis.batch import PairBatch

Place = tuple[int, int]
"""Row, and number of rows."""
Sampled = tuple[torch.Tensor, dict[int, str]]
"""Pictures ``(n * B, 3, H, W)``, ordered ``b0, b1, .., b0, b1, ..``, and why some of them are not finite."""


def sample_in_place(sample: Callable[[PairBatch], Sampled], batch: PairBatch, place: Place | None) -> Sampled:
    """Generate the pictures of a batch; those of a single pair as they once were in a larger one, to the last bit.

    Args:
        sample: Generates pictures of a batch.
        batch: B pairs.
        place: Where a single pair is among copies of itself; None: as it comes.
    """
    if place is None or len(batch["pair_id"]) > 1:
        return sample(batch)
    row, rows = place
    copies: Any = {
        key: value.repeat(rows, *[1] * (value.ndim - 1)) if isinstance(value, torch.Tensor) else value * rows
        for key, value in dict[str, Any](batch).items()
    }
    images, unfit = sample(copies)
    return images[row::rows], {result // rows: reason for result, reason in unfit.items() if result % rows == row}


def place_of(row: int, batch: PairBatch, place: Place | None, most_pairs: int | None) -> Place:
    """Return where a pair was when its pictures were generated.

    Args:
        row: Of the pair, in the batch.
        batch: B pairs.
        place: See :func:`sample_in_place`.
        most_pairs: Pairs of the parts that the batch was cut into, where memory was not enough.
    """
    rows = len(batch["pair_id"])
    row, rows = place if place is not None and rows == 1 else (row, rows)
    part = min(rows, most_pairs or rows)
    return row % part, min(part, rows - row // part * part)
