"""What is left where actors of a cluster stop or die, with threads in their place; real ones are in test_cluster.py."""

import signal
import threading
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.interrupts import Stopped
from pgpis.preprocess import run as jobs
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.settings import Outcome, PrepareSettings

CONDITIONS = ("densepose", "texture")
DIED = "3 workers ended while doing it: killed"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Seven photographs, and stages that write any bytes."""
    (tmp_path / "photos").mkdir()
    for number in range(7):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"photos/{number}.png")
    monkeypatch.setattr(jobs, "connected", lambda: nullcontext({"CPU": 3.0}))
    monkeypatch.setattr("pgpis.preprocess.due.is_valid", lambda condition, file: file.path(condition).is_file())
    monkeypatch.setattr(
        jobs, "build_stage", lambda condition, _: lambda files: [made(file, condition) for file in files]
    )
    return tmp_path / "photos"


def made(file, condition):
    file.path(condition).parent.mkdir(exist_ok=True)
    file.path(condition).write_bytes(b"made")
    return Outcome(file.name, condition)


def prepared(root, device="cpu", workers=1):
    settings = PrepareSettings(pose="blazepose", densepose="lifter", device=device, batch_size=2)
    record = Record(root / NAME)
    return jobs.prepare(find_pictures(root, CONDITIONS), CONDITIONS, settings, record, jobs.run_ray, workers)


def test_no_stop_leaves_a_file_without_its_outcome(root, monkeypatch):
    """Somebody else's picture of the same name would get it."""
    begun, killed = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def __init__(self, actors, **_):
            super().__init__(actors)

        def shutdown(self, *_, **__):  # as an actor pool does, whatever its actors are doing
            killed.set()
            super().shutdown(cancel_futures=True)

    def build(condition, _):
        def stage(files):
            outcomes = [made(file, condition) for file in files]
            if files[0].name != "0.png":
                begun.set()
                assert not killed.wait(0.3)
            return outcomes

        return stage

    def stop(*_):
        assert begun.wait(10)
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(jobs, "ActorPool", Pool)
    monkeypatch.setattr(jobs, "build_stage", build)
    monkeypatch.setattr(Record, "add", stop)
    with pytest.raises(Stopped):
        prepared(root)
    files = {path.stem for path in root.parent.glob("photos_densepose/*.png")}
    assert files == {name[0] for name, _ in Record(root / NAME).outcomes}
    assert 2 < len(files) < 7


def pool_that_dies_of(*names):
    class Pool(ThreadPoolExecutor):
        def __init__(self, actors, **_):
            super().__init__(actors)

        def submit(self, work, settings, stage, unit, record):
            if not {file.name for file in unit}.intersection(names):
                return super().submit(work, settings, stage, unit, record)
            future = Future()
            future.set_exception(BrokenExecutor(DIED))
            return future

    return Pool


def test_one_picture_that_ends_workers_costs_itself(root, monkeypatch):
    monkeypatch.setattr(jobs, "ActorPool", pool_that_dies_of("3.png"))
    result = prepared(root)
    assert result.made == dict.fromkeys(CONDITIONS, 6)
    assert [(each.name, each.condition, each.reason) for each in result.failures] == [
        ("3.png", "densepose", DIED),
        ("3.png", "texture", f"no densepose: {DIED}"),
    ]
    outcomes = Record(root / NAME).outcomes
    assert outcomes["3.png", "densepose"].content
    assert outcomes["3.png", "densepose"].options == outcomes["2.png", "densepose"].options
    assert prepared(root).failures == result.failures
    monkeypatch.setattr(jobs, "ActorPool", pool_that_dies_of())
    assert prepared(root).made == dict.fromkeys(CONDITIONS, 1)


def test_workers_that_die_of_everything_end_the_job(root, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_DEADLY", 5)
    monkeypatch.setattr(jobs, "ActorPool", pool_that_dies_of(*(f"{number}.png" for number in range(7))))
    with pytest.raises(PgpisError, match=f"a worker process ended while making densepose .{DIED}"):
        prepared(root)


@pytest.mark.parametrize(
    ("device", "gpus", "workers", "hired"),
    [
        ("cpu", 2, None, [(3, 0)]),
        ("cpu", 2, 2, [(2, 0)]),
        ("cpu", 0, 32, [(6, 0)]),  # units
        ("cuda", 2, None, [(2, 1), (2, 0)]),
        ("cuda", 2, 1, [(1, 1), (1, 0)]),
        (None, 0, None, [(3, 0)]),
    ],
)
def test_no_stage_keeps_another_from_its_core(root, monkeypatch, device, gpus, workers, hired):
    """It would wait for ever where the cluster has no room for both."""
    started = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, actors, gpus):
            started.append((actors, gpus))
            super().__init__(actors)

    monkeypatch.setattr(jobs, "ActorPool", Pool)
    monkeypatch.setattr(jobs, "connected", lambda: nullcontext({"CPU": 3.0, "GPU": float(gpus)}))
    monkeypatch.setattr("pgpis.preprocess.settings.usual_device", lambda: "cuda")
    assert prepared(root, device, workers).made == dict.fromkeys(CONDITIONS, 7)
    assert started == hired


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_gpus_that_the_cluster_does_not_have_are_not_waited_for(root, device):
    with pytest.raises(PgpisError, match=f"--device {device}: the cluster"):
        prepared(root, device)
