"""Timing how training pairs are loaded: stage by stage in one process, and by number of workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.table import Table

from pgpis.data import PoseTransferDataModule
from pgpis.data.samples import PairSamples, Sample
from pgpis.data.transforms import sample_generator
from pgpis.speed.device import median

STAGES = ("reading and decoding", "drawing and augmenting", "collating")


def time_stages(data: PoseTransferDataModule, pairs: int) -> dict[str, float]:
    """Return milliseconds per pair of each stage, in this process.

    Args:
        data: Its training pairs were read by ``setup("fit")``.
        pairs: How many to load; the median is taken.
    """
    loader: Any = data.train_dataloader()
    samples: PairSamples = loader.dataset
    dataset, transform = samples.dataset, samples.transform
    times: list[list[float]] = [[], []]
    ready: list[Sample] = []
    for number in range(pairs + 1):
        epoch, index = divmod(number, len(dataset))
        generator = sample_generator(samples.seed, epoch, index)
        start = time.perf_counter()
        loaded = dataset.load(index, transform.origins, generator)
        read = time.perf_counter()
        images = transform(loaded, generator)
        made = time.perf_counter()
        if number:  # the first one loads libraries and tables
            times[0].append(1e3 * (read - start))
            times[1].append(1e3 * (made - read))
            ready.append(Sample(index, loaded.pair, images))
        if len(ready) == data.batch_size or number == pairs:
            start = time.perf_counter()
            loader.collate_fn(ready)
            per_pair = 1e3 * (time.perf_counter() - start) / len(ready)
            times.append([per_pair] * len(ready))
            ready = []
    collating = [value for batch in times[2:] for value in batch]
    return dict(zip(STAGES, map(median, (times[0], times[1], collating)), strict=True))


def pairs_per_second(data: PoseTransferDataModule, workers: int, pairs: int) -> float:
    """Return the training pairs a second that reach a process which does nothing else.

    The batches that workers hold ready at the start are not counted.

    Args:
        data: Its training pairs were read by ``setup("fit")``.
        workers: Processes that load; 0: the process itself.
        pairs: How many to load at least.
    """
    data.num_workers = workers
    batches = _epochs(data)
    for _ in range(1 + 2 * workers):
        next(batches)
    start = time.perf_counter()
    loaded = 0
    while loaded < pairs:
        loaded += len(next(batches)["index"])
    return loaded / (time.perf_counter() - start)


def _epochs(data: PoseTransferDataModule) -> Iterator[Any]:
    loader = data.train_dataloader()
    while True:
        yield from loader


def tables(stages: dict[str, float], rates: dict[int, float], cores: int) -> Sequence[Table]:
    """Lay both out; ``cores`` is the machine for which a rate is computed from one core's."""
    total = sum(stages.values())
    per_pair = Table(
        *(f"{name}, ms" for name in stages), "a pair, ms", f"computed for {cores} cores, pairs/s", box=box.MARKDOWN
    )
    per_pair.add_row(*(f"{value:.3g}" for value in stages.values()), f"{total:.3g}", f"{1e3 * cores / total:.0f}")
    by_workers = Table("workers", "pairs/s", box=box.MARKDOWN)
    for workers, rate in rates.items():
        by_workers.add_row(str(workers), f"{rate:.3g}")
    return per_pair, by_workers
