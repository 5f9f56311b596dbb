"""What the tests of both benchmarks share."""

import contextlib
import pickle

import pytest

from pgpis.evaluate import benchmark


class Pool:
    """Works here, on what would come over in another process."""

    def map(self, work, jobs, chunksize):
        return map(pickle.loads(pickle.dumps(work)), pickle.loads(pickle.dumps(jobs)))


@pytest.fixture
def scored_here(monkeypatch):
    """Benchmarks score in this process."""
    monkeypatch.setattr(benchmark, "worker_pool", lambda _: contextlib.nullcontext(Pool()))
