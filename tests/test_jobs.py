"""Work of many processes: what ends a job, and what a killed one leaves behind."""

import errno
import gc
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pgpis import cli, cluster
from pgpis.errors import PgpisError
from pgpis.files import write_bytes
from pgpis.interrupts import SIGNALS, StopRequest, ended_at_once
from pgpis.jobs import as_done, run_units, worker_pool
from pgpis.preprocess import run
from pgpis.preprocess.settings import PictureFiles, PrepareSettings
from pgpis.refusals import UnwritableError


@dataclass(frozen=True)
class Unit:
    path: Path
    pictures: int = 1


def write(unit):
    """Fail as a full disk does for one of the units."""
    if unit.path.name == "full":
        raise UnwritableError(f"cannot write {unit.path}: {os.strerror(errno.ENOSPC)}", hint="free some space")
    if unit.path.name == "odd":
        raise RecursionError("too deep")
    write_bytes(unit.path, b"whole")


def test_an_error_of_one_unit_is_listed(tmp_path):
    (failure,) = run_units([Unit(tmp_path / "odd"), Unit(tmp_path / "other")], write, 1)
    assert failure.reason == "RecursionError: too deep"
    assert (tmp_path / "other").is_file()


def test_a_full_disk_ends_the_job_at_once(tmp_path):
    units = [Unit(tmp_path / name) for name in ("full", *map(str, range(50)))]
    with pytest.raises(PgpisError, match=r"cannot write .*full: No space left") as error:
        run_units(units, write, 1)
    assert error.value.hint == "free some space"
    assert len(list(tmp_path.iterdir())) < 50


@pytest.mark.parametrize("in_order", [True, False])
def test_units_come_back_in_their_order_where_it_counts(in_order):
    """The first one ends last; meanwhile no more than three are begun, or all, as these are done."""
    begun, last_is_begun = [], threading.Event()

    def work(unit):
        begun.append(unit)
        if unit == (2 if in_order else 5):
            last_is_begun.set()
        if unit == 0:
            assert last_is_begun.wait(10)
            return max(begun)
        return unit

    with ThreadPoolExecutor(3) as pool:
        units = [
            (unit, future.result())
            for unit, future in as_done(pool, work, range(6), 3, StopRequest(), in_order=in_order)
        ]
    if in_order:
        assert units == [(0, 2), *((unit, unit) for unit in range(1, 6))]
    else:
        assert units[0][0] != 0
        assert sorted(unit for unit, _ in units) == [*range(6)]


def test_a_cluster_without_gpus_is_refused_where_one_is_asked_for(monkeypatch):
    monkeypatch.setattr(cluster, "connected", lambda: nullcontext({"CPU": 2.0}))
    monkeypatch.setattr(cluster, "ActorPool", lambda actors, gpus: nullcontext((actors, gpus)))
    with pytest.raises(PgpisError, match="--device cuda: the cluster has no GPU"), cluster.crew(None, 9, "cuda"):
        pass
    for actors, units, hired in ((None, 9, 2), (5, 9, 5), (5, 3, 3)):
        with cluster.crew(actors, units, "auto") as crew:
            assert (crew.pool, crew.device) == ((hired, 0), "cpu")
    monkeypatch.setattr(cluster, "connected", lambda: nullcontext({"CPU": 8.0, "GPU": 4.0}))
    with pytest.raises(PgpisError, match="--device cuda:3: the cluster chooses"), cluster.crew(None, 9, "cuda:3"):
        pass
    for device, hired in (("cuda", ((4, 1), "cuda")), ("auto", ((4, 1), "cuda")), ("cpu", ((8, 0), "cpu"))):
        with cluster.crew(None, 9, device) as crew:
            assert (crew.pool, crew.device) == hired


class RayError(Exception):
    """Ray's own."""


def ray_whose_actors(ready):
    """The parts of Ray that a pool needs; ``ready()`` is asked of each actor that is started."""
    actor = SimpleNamespace(
        __ray_ready__=SimpleNamespace(remote=lambda: ready), work=SimpleNamespace(remote=lambda call: call)
    )
    return SimpleNamespace(
        exceptions=SimpleNamespace(RayError=RayError, RayTaskError=type("RayTaskError", (RayError,), {})),
        remote=lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda _: actor)),
        wait=lambda references, **_: (references, []),
        get=lambda reference: reference(),
        kill=lambda _: None,
    )


def test_a_cluster_without_pgpis_is_told_at_once(monkeypatch):
    def fail():
        raise RayError("The actor died in its creation task\n  ^^^^\nModuleNotFoundError: No module named 'pgpis'\n")

    monkeypatch.setattr(cluster, "_ray", lambda: ray_whose_actors(fail))
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_STARTS", 0.001)
    with cluster.ActorPool(2) as pool:
        for future in [pool.submit(os.getpid) for _ in range(5)]:
            with pytest.raises(PgpisError, match=r"no worker can be started .*: No module named 'pgpis'") as error:
                future.result(10)
            assert "install pgpis on every machine" in error.value.hint


def test_machines_on_which_nothing_starts_do_not_stop_the_others(monkeypatch):
    """The first start succeeds, thirty fail, and then the other actor comes, too."""
    starts = itertools.count()
    all_tried = threading.Event()

    def ready():
        if 0 < (start := next(starts)) <= 30:
            raise RayError("its machine has no pgpis")
        if start:
            all_tried.set()

    monkeypatch.setattr(cluster, "_ray", lambda: ray_whose_actors(ready))
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_STARTS", 0.001)
    with cluster.ActorPool(2) as pool:
        assert [pool.submit(os.getpid).result(10) for _ in range(5)] == [os.getpid()] * 5
        assert all_tried.wait(10)
        assert pool.submit(os.getpid).result(10) == os.getpid()


def test_ray_does_not_answer_the_signals(monkeypatch):
    def init(*_, **__):
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_DFL)

    ray = {"is_initialized": lambda: False, "init": init, "cluster_resources": dict, "shutdown": lambda: None}
    monkeypatch.setattr(cluster, "_ray", lambda: SimpleNamespace(**ray))
    with ended_at_once():
        ours = [signal.getsignal(signum) for signum in SIGNALS]
        with cluster.connected():
            assert [signal.getsignal(signum) for signum in SIGNALS] == ours


def test_workers_look_for_garbage_as_rarely_as_the_command(monkeypatch):
    """From before they import what their units need."""
    usual = gc.get_threshold()
    monkeypatch.setattr(cli, "main", lambda: 0)
    try:
        with pytest.raises(SystemExit):
            cli.console()
        of_command = gc.get_threshold()
    finally:
        gc.set_threshold(*usual)
    assert of_command[0] > usual[0]
    with worker_pool(1) as pool:
        assert pool.submit(gc.get_threshold).result(60) == of_command


def wait_for_the_second(_settings, _stage, unit, _record):
    time.sleep(0 if unit[0].name == "0" else 60)
    return []


def test_workers_that_are_ended_with_the_job_leave_no_traceback(monkeypatch, tmp_path):
    """A signal to the whole group: the job drops what waits, and its pool breaks meanwhile."""
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(run, "work", wait_for_the_second)
    files = [PictureFiles(str(number), tmp_path, ()) for number in range(8)]
    others = {*multiprocessing.active_children()}
    with worker_pool(1) as pool:
        steps = run._run_pools({"pose": files}, PrepareSettings(batch_size=1), {"pose": pool}, tmp_path)
        next(steps)
        (worker,) = {*multiprocessing.active_children()} - others
        threading.Timer(1, worker.terminate).start()
        steps.close()
    assert not told


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 7), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_worker_outlives_its_parent(signum, code, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_jobs as t\n"
        "from pgpis.interrupts import Stopped, ended_at_once\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with ended_at_once(): t.run_units([t.Unit(Path(sys.argv[2]))], t.sleep_shortly, 1)\n"
        "    except Stopped: sys.exit(7)\n"
    )
    note = tmp_path / "pid"
    job = subprocess.Popen([sys.executable, script, str(Path(__file__).parent), note])
    end = time.monotonic() + 120
    while not note.is_file() and time.monotonic() < end:
        time.sleep(0.05)
    worker = psutil.Process(int(note.read_text()))
    job.send_signal(signum)
    assert job.wait(60) == code
    worker.wait(30)


def sleep_shortly(unit):
    """Longer than a killed parent needs to be noticed, shorter than anybody waits for the unit in hand."""
    write_bytes(unit.path, str(os.getpid()).encode())
    time.sleep(3)


def test_what_waits_for_room_on_a_cluster_says_so(monkeypatch):
    ray, has_room = ray_whose_actors(os.getpid), threading.Event()
    ray.wait = lambda references, **_: (references if has_room.wait(0.001) else [], [])
    monkeypatch.setattr(cluster, "_ray", lambda: ray)
    monkeypatch.setattr(cluster, "SECONDS_UNTIL_TOLD", 0.01)
    monkeypatch.setattr(cluster.log, "warning", lambda message: "has room for one" in message and has_room.set())
    with cluster.ActorPool(1) as pool:
        assert pool.submit(os.getpid).result(10) == os.getpid()
