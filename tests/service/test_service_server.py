"""A service that runs: batches, settings that do not mix, hostile files, killed workers, the commands of its page."""

import asyncio
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from types import SimpleNamespace

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.service import load, running_service
from documentation import ROOT, blocks
from pgpis.cli import main
from pgpis.interrupts import ended_at_once
from pgpis.service import server
from pgpis.service.desk import Desk
from pgpis.service.jobs import Job
from pgpis.service.settings import Limits, ServiceSettings
from pgpis.service.worker import PATH, PatientLoop, _gather
from pgpis.studio.request import Drawing

SMALL = {"steps": 1, "height": 128, "width": 96}

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]


@pytest.fixture(scope="module")
def service(tmp_path_factory, made_once):
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.delenv("PGPIS_API_KEY", raising=False)
        options = ("--pipeline", "synth-fpdm", "--max-batch", "8", "--max-bytes", "2000000", "--timeout", "120")
        with running_service(folder / "log", *options) as service:
            service.folder, service.log = folder, folder / "log"
            yield service
    assert service.process.returncode == 143
    assert not list(folder.glob("pgpis-*")), "something of a request is left"
    log = service.log.read_text()
    assert "Traceback" not in log
    assert ".jpg" not in log, "it tells of pictures"


@pytest.fixture(scope="module")
def requests(drawn_people):
    return [{"source": source, "driving": drawn_people[3 - number]} for number, source in enumerate(drawn_people)]


def worker(service):
    """Return the process that draws: the one that holds the model."""
    return max(psutil.Process(service.process.pid).children(), key=lambda child: child.memory_info().rss)


def test_waiting_requests_are_drawn_together_and_do_not_mix(service, requests):
    expected = [service.picture(request, **SMALL) for request in requests]
    drawings, drawn = service.batches()
    load(service, requests, expected, 3, **SMALL)
    after = service.batches()
    assert after[1] - drawn == 12
    assert after[0] - drawings <= 8, "no two were drawn together"


def test_settings_of_waiting_requests_do_not_mix(service, requests):
    settings = [SMALL | {"seed": 1}, SMALL | {"seed": 2}, SMALL | {"steps": 2}, SMALL | {"height": 64, "width": 64}]
    alone = [service.picture(requests[0], **fields) for fields in settings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda fields: service.picture(requests[0], **fields), settings))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(alone[0], alone[1])
    assert alone[3].shape == (64, 64, 3)


def test_hostile_files_are_answered_and_the_service_goes_on(service, requests):
    truncated = io.BytesIO()
    Image.effect_noise((200, 300), 80).convert("RGB").save(truncated, "PNG")
    blank = io.BytesIO()
    Image.new("RGB", (176, 256), "grey").save(blank, "JPEG")
    source = requests[0]["source"]
    cases = [
        ({"source": truncated.getvalue()[:5000], "driving": source}, 422),
        ({"source": source, "driving": blank.getvalue()}, 422),
        ({"source": source, "pose": b"[" * 1_000_000}, 422),
        ({"source": source, "pose": b'{"people": [' + b'{"a": ' * 100_000}, 422),
        ({"source": source, "pose": b"1 2\n" * 17}, 422),
        ({"source": source, "pose": b"9e999 1\n" * 18}, 422),
        ({"source": source, "pose": source}, 422),
        ({"source": b"\0" * 3_000_000, "pose": source}, 413),
        ({"source": source, "driving": source, "identity": source}, 422),
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: service.client.post("/v1/pictures", files=case[0], data=SMALL), cases))
    for (_, status), answer in zip(cases, answers, strict=True):
        assert answer.status_code == status, answer.text
        assert str(service.folder) not in answer.text
        assert answer.json()["error"]["message"]
    service.picture(requests[0], **SMALL)
    left = [path for path in service.folder.glob("pgpis-serve-*/**/*") if path.is_file()]
    assert not left, "uploads outlive their request"


def test_killed_worker_comes_back(service, requests):
    expected = service.picture(requests[0], **SMALL)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.client.post, "/v1/pictures", files=requests[0], data={"steps": 100})
        time.sleep(1)
        worker(service).send_signal(signal.SIGKILL)
        answer = slow.result(timeout=60)
    assert answer.status_code == 500
    assert "worker died" in answer.json()["error"]["message"]
    assert np.array_equal(service.picture(requests[0], **SMALL), expected)
    assert service.client.get("/health").json()["workers"] == {"ready": 1, "all": 1}


def test_request_that_an_idle_worker_takes_along_is_not_lost(service, requests):
    service.client.get("/health").raise_for_status()
    worker(service).send_signal(signal.SIGKILL)
    service.picture(requests[0], **SMALL)


def test_commands_of_the_page_work(service, requests, tmp_path):
    page = ROOT / "docs/service.md"
    person, other, _, dancer = (request["source"] for request in requests)
    for name, content in (("me", person), ("me-from-behind", other), ("dancer", dancer)):
        (tmp_path / f"{name}.jpg").write_bytes(content)
    asked = [block for block in blocks(page) if "/v1/pictures" in block.text or "/health" in block.text]
    assert {block.language for block in asked} >= {"bash", "python"}
    for block in asked:
        text = block.text.replace("http://127.0.0.1:8000", service.url).replace("synth-mcld", "synth-fpdm")
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [os.sys.executable, "-c"]
        call = subprocess.run([*program, text], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert call.returncode == 0, f"{block}: {call.stderr}"
    for path in tmp_path.glob("*.png"):
        assert Image.open(path).size == (176, 256), path


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_requests_under_way_are_finished_for_as_long_as_they_may_take(signum, code, monkeypatch):
    """Uvicorn raises the signal again when it has finished."""
    seen = []

    class Server:
        def __init__(self, config):
            seen.append(config.timeout_graceful_shutdown)

        def run(self, _sockets):
            signal.raise_signal(signum)

    monkeypatch.setattr(server, "_Server", Server)
    monkeypatch.setattr(server.uvicorn, "Config", lambda _app, **options: SimpleNamespace(**options))
    workers = SimpleNamespace(verify_worker_status=lambda: None, app=None)
    with socket.create_server(("127.0.0.1", 0)) as listener, ended_at_once():
        settings = ServiceSettings(limits=Limits(timeout=299.5))
        assert server._answer(workers, listener, settings) == code
    assert seen == [300]


def test_taken_address_is_told(service, capsys):
    port = re.search(r":(\d+)$", service.url)[1]
    assert main(["serve", "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_missing_extra_is_told(monkeypatch, capsys):
    monkeypatch.setitem(os.sys.modules, "litserve", None)
    assert main(shlex.split("serve --port 0")) == 2
    assert 'pip install "pgpis[serve]"' in capsys.readouterr().err


def test_a_job_is_known_to_be_taken_before_its_batch_is_full():
    """What is neither in the queue nor taken counts as lost, and is put there again."""
    taken, arriving = [], ["a", "b"]

    class Arriving:
        def get(self, timeout):
            if not arriving:
                assert taken == ["a", "b"]
                raise Empty
            assert len(taken) == 2 - len(arriving)
            return arriving.pop(0)

    assert _gather(Arriving(), 4, 0.0, taken.append) == ["a", "b"]
    assert taken == ["a", "b"]


def test_what_nobody_waits_for_is_not_drawn(tmp_path):
    queue = Queue()
    desk = Desk(SimpleNamespace(litapi_request_queues={PATH: queue}), tmp_path, 60)
    jobs = [Job(model=name, drawing=Drawing(), files={}) for name in ("left", "there")]

    async def ask_and_leave():
        left, _there = asking = [asyncio.ensure_future(desk.ask(job)) for job in jobs]
        while queue.qsize() < 2:
            await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.wait([left])
        api = SimpleNamespace(max_batch_size=2, batch_timeout=1.0, request_timeout=60, waiting=tmp_path)
        transport = SimpleNamespace(send=lambda *_: None)
        taken = PatientLoop().get_batch_requests(api, queue, transport)
        for task in asking:
            task.cancel()
        return taken

    with ThreadPoolExecutor(1) as thread:
        batch, late = thread.submit(asyncio.run, ask_and_leave()).result()
    assert [job for *_, job in batch] == jobs[1:]
    assert not late
    assert not list(tmp_path.iterdir())


def test_clients_that_left_give_their_places_back(service, requests):
    for seed in range(3):
        with pytest.raises(httpx.TimeoutException):
            service.client.post("/v1/pictures", files=requests[0], data={"steps": 30, "seed": seed}, timeout=0.5)
    deadline = time.monotonic() + 30
    while 'requests_total{status="499"} 3.0' not in (told := service.client.get("/metrics").text):
        assert time.monotonic() < deadline
    assert "under_way 0.0" in told
    service.picture(requests[0], **SMALL)
