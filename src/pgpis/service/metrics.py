"""What ``/metrics`` tells, in Prometheus' format. All answers pass through one process, so all workers are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pgpis.service.jobs import Answer, RefusedError

RETRY_SECONDS = 5
_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)


class Metrics:
    """Counters of one service.

    Args:
        ready: Returns how many workers can draw.
    """

    def __init__(self, ready: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("pgpis_requests", "Requests by status", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "pgpis_request_seconds", "Seconds from a request to its answer", buckets=_SECONDS, registry=self.registry
        )
        self.drawing_seconds = Histogram(
            "pgpis_drawing_seconds", "Seconds of a drawing", ["model"], buckets=_SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "pgpis_batch_size",
            "Requests that were drawn together",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.open = 0
        """Requests that are under way."""
        gauge = Gauge("pgpis_requests_under_way", "Requests without an answer yet", registry=self.registry)
        gauge.set_function(lambda: self.open)
        workers = Gauge("pgpis_workers_ready", "Workers that can draw", registry=self.registry)
        workers.set_function(ready)

    @contextmanager
    def under_way(self, most: int) -> Iterator[None]:
        """Count a request while the block runs.

        Raises:
            RefusedError: So many are under way already.
        """
        if self.open >= most:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            raise RefusedError(503, f"{most} requests are under way", hint="send it again later", headers=headers)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def count(self, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(str(status)).inc()
        self.seconds.observe(seconds)

    def count_drawing(self, answer: Answer) -> None:
        """Count a drawing, if the answer tells of one."""
        if answer.drawn_together:
            self.batch_size.labels(answer.model).observe(answer.drawn_together)
            self.drawing_seconds.labels(answer.model).observe(answer.seconds)

    def text(self) -> bytes:
        """Return all of it as text."""
        return generate_latest(self.registry)
