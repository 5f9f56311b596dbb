"""Where a job is handed to the workers, and its answer awaited."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
import uuid
from pathlib import Path
from typing import Any

from litserve import LitServer  # type: ignore[import-untyped]
from litserve.utils import (  # type: ignore[import-untyped]
    LitAPIStatus,
    ResponseBufferItem,
    WorkerSetupStatus,
)

from pgpis.service.jobs import Answer, Job, RefusedError
from pgpis.service.worker import PATH

LOOK_SECONDS = 1.0


class Waiting(dict[str, Any]):
    """Requests by their id, which LitServe's watch of the workers goes through in another thread."""

    def items(self) -> Any:
        """Return those of this moment: a dictionary that changes meanwhile would end the watch."""
        return self.copy().items()


class Desk:
    """Hands jobs to the workers of a LitServe server.

    Args:
        server: Its workers need not run yet.
        waiting: Folder for the jobs that somebody waits for.
        timeout: Seconds after which a job is given up.
    """

    def __init__(self, server: LitServer, waiting: Path, timeout: float) -> None:
        self.server = server
        self.waiting = waiting
        self.timeout = timeout
        server.response_buffer = Waiting()

    def ready(self) -> int:
        """Return how many workers can draw."""
        states = dict(self.server.workers_setup_status)
        names = (f"{PATH.rpartition('/')[2]}_{number}" for number in range(len(self.server.inference_workers)))
        pairs = zip(self.server.inference_workers, names, strict=True)
        return sum(process.is_alive() and states.get(name) == WorkerSetupStatus.READY for process, name in pairs)

    async def ask(self, job: Job) -> Answer:
        """Return the answer of a worker.

        Raises:
            RefusedError: There is none in time, or the worker died.
        """
        uid = str(uuid.uuid4())
        entry = ResponseBufferItem(asyncio.Event())
        self.server.response_buffer[uid] = entry
        file = self.waiting / uid  # gone with the client: what still waits in the queue is then passed over
        try:
            file.write_bytes(pickle.dumps(job))
            async with asyncio.timeout(self.timeout):
                await self._await(uid, entry)
        except TimeoutError:
            raise RefusedError(
                504, f"no picture after {self.timeout:.0f} seconds", hint="ask for fewer steps, or later"
            ) from None
        finally:
            del self.server.response_buffer[uid]
            file.unlink(missing_ok=True)
        answer, status = entry.response
        if status == LitAPIStatus.OK and isinstance(answer, Answer):
            return answer
        raise RefusedError(
            500, "the worker died that drew this picture", hint="send it again; another worker takes its place"
        )

    async def _await(self, uid: str, entry: Any) -> None:
        """Put a job into the queue, again if it gets lost there, and wait for its end.

        A worker that is killed while it waits for a job takes the next one out of the queue with its last breath.
        """
        queue = self.server.litapi_request_queues[PATH]
        lost = 2
        while not entry.event.is_set():
            if lost >= 2:
                lost = 0
                await asyncio.to_thread(queue.put, (0, uid, time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry.event.wait(), LOOK_SECONDS)
            is_nowhere = entry.response is None and entry.worker_id is None and await asyncio.to_thread(queue.empty)
            lost = lost + 1 if is_nowhere else 0
