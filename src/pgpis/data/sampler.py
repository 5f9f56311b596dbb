"""Order of samples, and where in it training is: the same for a run that was interrupted and one that was not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler

from pgpis.data.transforms import sample_generator
from pgpis.errors import PgpisError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

log = logging.getLogger(__name__)

SampleKey = tuple[int, int]
"""(epoch, index): the epoch travels with the index because worker processes outlive an epoch."""
NOTHING = -1
"""Index that a process gets which has no pairs to evaluate: Lightning would leave out its whole loop, and the others
would wait for it forever."""


class ResumableSampler(DistributedSampler[SampleKey], SequentialSampler):
    """Yields ``(epoch, index)``.

    Lightning keeps a ``DistributedSampler`` as it is and tells it the epoch. For ``overfit_batches`` it would put
    another in the place of what is no ``SequentialSampler``, which knows no epoch to go on in.

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
        repeats: Whether every epoch is the first one, in the given order: for ``overfit_batches``.
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
        repeats: bool = False,
    ) -> None:
        super().__init__(range(len(indices)), num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.indices = indices
        self.start_epoch = start_epoch
        self.start_sample = start_sample
        self.repeats = repeats
        self.set_epoch(start_epoch)

    def order(self, epoch: int) -> Sequence[int]:
        """Return the samples of this process in one epoch."""
        if not self.shuffle:
            return self.indices[self.rank :: self.num_replicas] or [NOTHING]
        start = self.start_sample if epoch == self.start_epoch else 0
        count, generator = len(self.indices), sample_generator(self.seed, epoch)
        permutation = (torch.arange(count) if self.repeats else torch.randperm(count, generator=generator)).tolist()
        total = start + remaining(count, start, self.num_replicas) * self.num_replicas
        repeated = permutation * (total // max(1, len(permutation)) + 1)
        return [self.indices[position] for position in repeated[start + self.rank : total : self.num_replicas]]

    def __iter__(self) -> Iterator[SampleKey]:  # type: ignore[override]
        epoch = self.epoch if self.shuffle and not self.repeats else 0
        return ((epoch, index) for index in self.order(self.epoch))

    def __len__(self) -> int:
        """Return the samples of this process in a whole epoch, also where it starts in the middle of one."""
        return remaining(len(self.indices), 0, self.num_replicas) if self.shuffle else len(self.order(0))


def remaining(samples: int, start: int, world_size: int) -> int:
    """Return how many samples each process has left in an epoch of which all of them have seen ``start``."""
    return max(0, math.ceil((samples - start) / world_size))


@dataclass
class EpochPosition:
    """Counts the samples of an epoch that all processes have seen.

    Lightning counts batches. A run that goes on with batches of another size gets the count that leaves the batches
    which its own size makes of the rest.
    """

    pairs: int
    """Number of training pairs."""
    seed: int
    """Seed of their order."""
    batch_size: Callable[[], int]
    """Returns the pairs per batch and process, which a callback may choose after the position was first asked for."""

    def __post_init__(self) -> None:
        self._loaded = self._start = {"epoch": -1, "samples": 0, "batches": 0}
        self._redone = 0
        self._validated = (-1, 0)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of another run; what is not one is refused."""
        state = {"redone": 0, "validated": 0, **state}  # earlier versions did not write them
        whole = all(type(state.get(name)) is int and state[name] >= 0 for name in self.state_dict(None))
        if not whole or state["redone"] > state["batches"]:
            raise PgpisError("the checkpoint does not say how many pairs of the epoch were seen")
        if (state["pairs"], state["seed"]) != (self.pairs, self.seed):
            log.warning(
                "the checkpoint was written for %d pairs in the order of seed %d; now there are %d in that of seed %d: "
                "the rest of this epoch repeats some pairs and leaves others out",
                *(state["pairs"], state["seed"], self.pairs, self.seed),
            )
        self._redone, self._validated = state["redone"], (state["epoch"], state["validated"])
        before = state["batches"] - self._redone
        self._loaded = self._start = {"epoch": state["epoch"], "samples": state["samples"], "batches": before}

    def state_dict(self, trainer: Trainer | None) -> dict[str, int]:
        """Return epoch, samples of it that were seen, the batches which they were, and the order.

        Gradients that are added up for a step are in no checkpoint: the batches since the last step are to be
        ``redone``, but not the validations among them, which stand after no more than ``validated`` samples.
        """
        epoch, samples, batches, redone, validated = 0, 0, 0, 0, 0
        if trainer is not None:
            epoch, samples = self.of(trainer)
            if samples:
                progress, pairs = trainer.fit_loop.epoch_loop.batch_progress.current, self._pairs_per_batch(trainer)
                batches = progress.processed
                redone = min(batches % trainer.accumulate_grad_batches, batches - self._begun(epoch)["batches"])
                validated = max((epoch, samples - (batches - progress.completed) * pairs), self._validated)[1]
                samples = max(0, samples - redone * pairs)
        state = {"epoch": epoch, "samples": samples, "batches": batches, "redone": redone, "validated": validated}
        return state | {"pairs": self.pairs, "seed": self.seed}

    def of(self, trainer: Trainer) -> tuple[int, int]:
        """Return the epoch in which training goes on, and how many samples of it were seen.

        Lightning restores its counters before it asks for the training batches, but starts their iterator before it
        tells the sampler the epoch; with worker processes the first batches are chosen right then.
        """
        epochs = trainer.fit_loop.epoch_progress.current
        batches = trainer.fit_loop.epoch_loop.batch_progress
        closed, seen = epochs.started <= epochs.processed, batches.current.processed
        if batches.is_last_batch and seen == batches.current.ready:  # whole; perhaps saved before it was closed
            return epochs.processed + (not closed), 0
        if closed and not seen:  # fresh, or between two epochs
            return epochs.processed, 0
        epoch = epochs.processed - _was_cut(trainer)
        start = self._begun(epoch)
        return epoch, start["samples"] + (seen - start["batches"]) * self._pairs_per_batch(trainer)

    def _begun(self, epoch: int) -> dict[str, int]:
        """Return where this run began the epoch."""
        return self._start if self._start["epoch"] == epoch else {"samples": 0, "batches": 0}

    def _pairs_per_batch(self, trainer: Trainer) -> int:
        return self.batch_size() * trainer.world_size

    def go_on(self, trainer: Trainer) -> tuple[int, int]:
        """Return :meth:`of`, and let the trainer count the batches of this run's size."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if progress.total.ready and (self._redone or _was_cut(trainer)):
            self._go_back(trainer)
        epoch, samples = self.of(trainer)
        if not progress.total.ready:  # nothing was done, or Lightning has not restored its counters yet
            self._start = self._loaded
            return epoch, samples
        self._close_epoch(trainer)
        whole = self.batches(0, trainer.world_size)
        batches = whole - self.batches(samples, trainer.world_size)
        limit = trainer.limit_train_batches
        batches = min(batches, limit if isinstance(limit, int) else int(whole * limit))
        difference = batches - progress.current.processed
        for name in ("ready", "started", "processed", "completed"):
            setattr(progress.current, name, getattr(progress.current, name) + difference)
        self._start = {"epoch": epoch, "samples": samples, "batches": batches}
        window = trainer.accumulate_grad_batches
        if difference and batches % window:  # Lightning takes a step after each whole multiple of it
            left = window - batches % window
            log.warning("batches of another size than before: the first step takes %d of them, not %d", left, window)
        return epoch, samples

    def _go_back(self, trainer: Trainer) -> None:
        """Let training go on as from a checkpoint of the batch before those that are to be redone.

        It takes back that an epoch which was cut was closed: Lightning would count the epoch twice, and ``max_epochs``
        would end training before its pairs were seen. No validation is repeated: patience and schedules counted it.
        """
        loop, epochs = trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_progress
        epoch = epochs.current.processed - _was_cut(trainer)
        for counts in (epochs.total, epochs.current):
            counts.load_state_dict({"ready": epoch + 1, "started": epoch + 1, "processed": epoch, "completed": epoch})
        for batches in (loop.batch_progress.total, loop.batch_progress.current):
            seen = batches.processed - self._redone
            batches.load_state_dict({"ready": seen, "started": seen, "processed": seen, "completed": seen - 1})
        if not loop._should_accumulate():  # noqa: SLF001
            loop._batches_that_stepped -= 1  # noqa: SLF001  counted again when it goes on
        trainer.fit_loop.restarting = True  # not what it makes of a closed epoch
        if self._redone:
            is_due, validated = loop._should_check_val_fx, self._validated  # noqa: SLF001  told nowhere else
            loop._should_check_val_fx = lambda fetcher: self.of(trainer) > validated and is_due(fetcher)  # noqa: SLF001
        self._redone = 0

    def _close_epoch(self, trainer: Trainer) -> None:
        """Close an epoch of which a checkpoint was written after its last batch, as a run does that goes on.

        Lightning goes on without counting that the next epoch starts, and a second resume goes astray.
        """
        loop, epochs = trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_progress
        if not loop.batch_progress.is_last_batch:
            return
        if epochs.current.started > epochs.current.processed:
            epochs.increment_processed()
            loop._batches_that_stepped += 1  # noqa: SLF001  what the loop does next
        if epochs.current.completed < epochs.current.processed:
            epochs.increment_completed()
        if loop.batch_progress.current.completed < loop.batch_progress.current.processed:
            loop.batch_progress.increment_completed()
        loop.batch_progress.reset_on_run()
        loop.restarting = False

    def batches(self, start: int, world_size: int) -> int:
        """Return how many batches each process makes of an epoch of which ``start`` samples were seen."""
        return math.ceil(remaining(self.pairs, start, world_size) / self.batch_size())


def _was_cut(trainer: Trainer) -> bool:
    """Return whether training ended in the middle of an epoch, as by ``max_steps``, which Lightning then closes too."""
    epochs, batches = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress
    seen = batches.current.processed
    at_rest = 0 < seen == batches.current.completed == batches.current.ready
    return epochs.started <= epochs.processed and at_rest and not batches.is_last_batch


class Resumable:
    """The methods without which Lightning warns of a loader that cannot go on in the middle of an epoch.

    The DataModule keeps the position.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Accept it."""


class ResumableLoader(Resumable, DataLoader[Any]):
    """A DataLoader that goes on in the middle of an epoch."""
