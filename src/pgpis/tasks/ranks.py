"""What processes tell each other, by collectives that all of them take part in."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

RowT = TypeVar("RowT")


def gather_rows(rows: list[RowT]) -> list[RowT]:
    """Return the rows of all processes in rank order; collective."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    parts: list[list[RowT]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, rows)
    return [row for part in parts for row in part]
