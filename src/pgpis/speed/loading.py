"""Timing how training pairs are loaded: stage by stage in one process, and by number of workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from rich import box
from rich.table import Table

from pgpis.data import PoseTransferDataModule
from pgpis.data.samples import PairSamples, Sample
from pgpis.data.transforms import sample_generator
from pgpis.speed.device import median
from pgpis.speed.report import headed

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


@dataclass
class LoadingReport:
    """How fast training pairs are loaded, and where the time goes."""

    device: dict[str, str | int]
    """See ``Device.describe``."""
    subject: dict[str, Any]
    """What was loaded."""
    cores: int
    """Of the machine for which a rate is computed from one core's."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds per pair in one process, by stage."""
    pairs_per_second: dict[int, float] = field(default_factory=dict)
    """By number of workers."""
    kind: str = "data"

    @property
    def computed(self) -> float:
        """Pairs a second on that many cores, if each did what one does here and nothing else was the limit."""
        return 1e3 * self.cores / sum(self.stages_ms.values())

    def to_json(self) -> str:
        """Return everything."""
        return json.dumps({**asdict(self), "computed_pairs_per_second": self.computed}, indent=2) + "\n"

    def print(self, stream: TextIO) -> None:
        """Write tables that are Markdown as well."""
        console = headed(stream, self.device, self.subject)
        computed = f"pairs/s computed for {self.cores} cores"
        per_pair = Table(*(f"{name}, ms" for name in self.stages_ms), "a pair, ms", computed, box=box.MARKDOWN)
        stages = [f"{value:.3g}" for value in (*self.stages_ms.values(), sum(self.stages_ms.values()))]
        per_pair.add_row(*stages, f"{self.computed:.0f}")
        by_workers = Table("workers", "pairs/s", box=box.MARKDOWN)
        for workers, rate in self.pairs_per_second.items():
            by_workers.add_row(str(workers), f"{rate:.3g}")
        console.print(per_pair)
        console.print(by_workers)
