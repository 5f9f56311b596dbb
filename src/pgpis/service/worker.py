"""A worker of LitServe: a process with its own copy of the models, that takes waiting jobs in batches.

The module is also imported where requests are answered, which does without torch.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from litserve import LitAPI  # type: ignore[import-untyped]
from litserve.loops.simple_loops import BatchedLoop  # type: ignore[import-untyped]
from litserve.utils import LitAPIStatus, LoopResponseType  # type: ignore[import-untyped]

from pgpis.jobs import leave_interrupts_alone
from pgpis.lazy import collect_rarely
from pgpis.service.jobs import Answer, Job

PATH = "/v1/pictures"
POLL_SECONDS = 0.25
Load = Callable[[str], Any]
"""Builds the task of a pipeline."""

log = logging.getLogger(__name__)


class PatientLoop(BatchedLoop):
    """Waits for the first job; LitServe's own asks a thousand times a second, busy or not."""

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: Queue[Any], transport: Any
    ) -> tuple[list[tuple[int, str, Job]], list[tuple[int, str]]]:
        """Take the first job, and those that arrive shortly after; those too old are told apart.

        Nobody waits for a job without a file any more.
        """

        def taken(entry: tuple[int, str, float]) -> None:
            """Say at once who has a job: what is neither in the queue nor started counts as lost."""
            self.put_response(transport, *entry[:2], (), LitAPIStatus.START, LoopResponseType.REGULAR)

        entries = _gather(request_queue, lit_api.max_batch_size, lit_api.batch_timeout, taken)
        batch, late = [], []
        for consumer, uid, created in entries:
            if time.monotonic() - created > lit_api.request_timeout:
                late.append((consumer, uid))
                continue
            file = lit_api.waiting / uid
            with contextlib.suppress(FileNotFoundError):
                batch.append((consumer, uid, pickle.loads(file.read_bytes())))  # noqa: S301  the service wrote it
                file.unlink()
        return batch, late


def _gather(queue: Queue[Any], most: int, seconds: float, taken: Callable[[Any], None]) -> list[Any]:
    """Wait for an entry, then so many seconds for more; end with the service. Tell of each entry at once."""
    while True:
        try:
            entries = [queue.get(timeout=POLL_SECONDS)]
            break
        except Empty:
            parent = multiprocessing.parent_process()
            if parent is not None and not parent.is_alive():
                raise SystemExit from None
    deadline = time.monotonic() + seconds
    while True:
        taken(entries[-1])
        if len(entries) >= most:
            return entries
        try:
            entries.append(queue.get(timeout=max(0.0, deadline - time.monotonic())))
        except Empty:
            return entries


class PictureAPI(LitAPI):
    """What LitServe calls in each worker.

    Args:
        load: Builds the task of a pipeline.
        pipelines: Pipelines by the names of the models.
        folder: Of the service, for the files of requests.
        workers: How many there are on this machine.
        lazy: Load a model when it is first asked for.
        mark: Whether pictures are marked.
        max_batch: Most jobs that are taken at once.
        batch_timeout: Seconds to wait for more of them.
    """

    def __init__(
        self,
        load: Load,
        pipelines: Mapping[str, str],
        folder: Path,
        workers: int,
        lazy: bool,
        mark: bool,
        max_batch: int,
        batch_timeout: float,
    ) -> None:
        super().__init__(max_batch_size=max_batch, batch_timeout=batch_timeout, api_path=PATH, loop=PatientLoop())
        self.load = load
        self.pipelines = dict(pipelines)
        self.root = folder
        self.waiting = folder / "waiting"
        self.workers = workers
        self.lazy = lazy
        self.mark = mark

    def setup(self, device: str) -> None:
        """Load the models."""
        collect_rarely()
        from pgpis.preprocess.settings import PrepareSettings
        from pgpis.studio.studio import Studio

        leave_interrupts_alone()  # the service ends its workers
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # temporary files are removed
        logging.basicConfig(format="pgpis: %(message)s", level=logging.WARNING)
        logging.getLogger("pgpis").setLevel(logging.ERROR)  # what is doubtful about a picture is its sender's to know
        logging.getLogger("pgpis.service").setLevel(logging.INFO)
        if device == "cpu":
            _share_cores(self.workers)
        number = os.environ.get("LITSERVE_WORKER_ID", "0")
        self.folder = self.root / f"worker-{number}"
        shutil.rmtree(self.folder, ignore_errors=True)  # of a worker that was killed
        self.folder.mkdir(parents=True)
        tools = PrepareSettings(device=device, inpaint="fast")
        self.studio = Studio(self.load, self.pipelines, tools, mark=self.mark)
        start = time.monotonic()
        for model in () if self.lazy else self.pipelines:
            self.studio.task(model)
        log.info("worker %s on %s is ready, %.1f s", number, device, time.monotonic() - start)

    def batch(self, inputs: list[Job]) -> list[Job]:
        """Keep jobs as they are: their settings differ."""
        return inputs

    def predict(self, jobs: Sequence[Job]) -> list[Answer]:
        """Draw jobs that were taken together."""
        from pgpis.service.drawing import draw_jobs

        return draw_jobs(self.studio, jobs, self.folder)


def _share_cores(workers: int) -> None:
    """Give each worker its share: torch takes all, and threads of several workers would wait for each other."""
    import torch

    if workers > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
