"""Order of samples: the same for a run that was interrupted and one that was not, shared evenly by all processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler

from pgpis.data.transforms import sample_generator

SampleKey = tuple[int, int]
"""(epoch, index): the epoch travels with the index because worker processes outlive an epoch."""
NOTHING = -1
"""Index that a process gets which has no pairs to evaluate: Lightning would leave out its whole loop, and the others
would wait for it forever."""


class ResumableSampler(DistributedSampler[SampleKey]):
    """Yields ``(epoch, index)``; Lightning keeps a ``DistributedSampler`` as it is and tells it the epoch.

    Args:
        indices: Positions in the data set that take part.
        shuffle: True in training: a new order each epoch, depending only on seed and epoch; every process gets the
            same number (the first samples of the order fill up). False: the given order, process r takes ``r::world``
            (or ``NOTHING`` where that is empty), nothing is repeated, and the epoch is always 0.
        seed: Seed of the order.
        rank: Number of this process.
        world_size: Number of processes.
        start_epoch: Epoch in which an interrupted run goes on.
        start_sample: Samples of that epoch's one order that all its processes, of whatever number, had seen.
    """

    def __init__(
        self,
        indices: Sequence[int],
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start_epoch: int = 0,
        start_sample: int = 0,
    ) -> None:
        super().__init__(range(len(indices)), num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.indices = tuple(indices)
        self.start_epoch = start_epoch
        self.start_sample = start_sample
        self.set_epoch(start_epoch)

    def order(self, epoch: int) -> list[int]:
        """Return the samples of this process in one epoch."""
        if not self.shuffle:
            return list(self.indices[self.rank :: self.num_replicas]) or [NOTHING]
        start = self.start_sample if epoch == self.start_epoch else 0
        permutation = torch.randperm(len(self.indices), generator=sample_generator(self.seed, epoch)).tolist()
        total = start + remaining(len(self.indices), start, self.num_replicas) * self.num_replicas
        repeated = permutation * (total // max(1, len(permutation)) + 1)
        return [self.indices[position] for position in repeated[start + self.rank : total : self.num_replicas]]

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch if self.shuffle else 0
        return iter([(epoch, index) for index in self.order(epoch)])

    def __len__(self) -> int:
        """Return the samples of this process in a whole epoch, also where it starts in the middle of one."""
        return remaining(len(self.indices), 0, self.num_replicas) if self.shuffle else len(self.order(0))


def remaining(samples: int, start: int, world_size: int) -> int:
    """Return how many samples each process has left in an epoch of which all of them have seen ``start``."""
    return max(0, math.ceil((samples - start) / world_size))


class ResumableLoader(DataLoader[Any]):
    """A DataLoader with the methods without which Lightning warns about resuming in the middle of an epoch.

    The DataModule keeps the position.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Accept it."""
