"""Many processes: killed at any moment and resumed, the same files come out."""

import time

import psutil
import pytest
import torch
from PIL import ImageOps

from forked import command, kill
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.stages import is_valid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

CONDITIONS = ("pose", "densepose", "texture", "face")
PATIENCE = 300.0
"""Seconds for whatever is waited for."""
PICTURES = 8
KILLS = (1, 4)
"""Maps that are there when the job is killed."""


def photographs(root, pictures):
    """Different pictures of 48 x 64."""
    root.mkdir(parents=True)
    (root / "sub").mkdir()
    for number in range(PICTURES):
        picture = pictures[number % 4]
        for turn, change in enumerate((ImageOps.mirror, ImageOps.flip, ImageOps.invert)):
            if number // 4 >> turn & 1:
                picture = change(picture)
        picture.save(root / ("sub" if number % 5 == 0 else "") / f"{number:02d}.png")
    return root


def results(root, *conditions):
    """All results by name; what a killed process has left half written is hidden."""
    folders = [root.parent / f"{root.name}_{condition}" for condition in conditions or CONDITIONS]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(root.parent).as_posix(): path for path in files if not path.name.startswith(".")}


def contents(root):
    return {name: path.read_bytes() for name, path in results(root).items()}


@pytest.fixture(scope="module")
def reference(pictures, settings, tmp_path_factory):
    """The files of an uninterrupted run in this process, and its record."""
    torch.set_num_threads(1)
    root = photographs(tmp_path_factory.mktemp("reference") / "photos", pictures)
    files = find_pictures(root, CONDITIONS)
    prepare(files, CONDITIONS, settings, Record(root / NAME), run_here)
    made = contents(root)
    assert len(made) == PICTURES * 4
    assert len({content for name, content in made.items() if "_pose/" in name}) == PICTURES
    return made, (root / NAME).read_text()


@pytest.fixture(scope="module")
def start(weights, tmp_path_factory):
    """Start ``pgpis prepare`` as a process group of its own; at the end nothing of it is left."""
    log = tmp_path_factory.mktemp("log") / "log.txt"
    started = []

    def start(root, *words):
        started.append(command("prepare", root, "--weights", weights, *words, log=log))
        return started[-1]

    start.log = log.read_text
    yield start
    for job in started:
        if job.is_alive():
            kill_all(job)


def kill_all(job):
    """Kill all processes of a job at once, as when a machine loses power."""
    members = psutil.Process(job.pid).children(recursive=True)
    kill(job)
    job.join()
    for member in members:
        if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
            member.kill()
    psutil.wait_procs(members, timeout=PATIENCE)


def wait_for(condition, job, log):
    """Poll until something is true; the job must not end before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert job.is_alive(), f"the job ended early:\n{log()}"
        assert time.monotonic() < end, f"nothing happened:\n{log()}"
        time.sleep(0.002)


def ended(job):
    job.join(PATIENCE)
    return job.exitcode


def test_kills_change_no_file_and_lose_no_outcome(pictures, reference, start, tmp_path):
    """A folder is prepared in spite of kills; what is half done is checked after each."""
    root = photographs(tmp_path / "photos", pictures)
    all_files = find_pictures(root, CONDITIONS)
    before = {}
    for maps in KILLS:
        job = start(root, "--workers", 2)
        wait_for(lambda maps=maps: len(results(root, "densepose")) >= maps, job, start.log)
        kill_all(job)
        there = results(root)
        assert maps <= len(results(root, "densepose")) < PICTURES, "it was killed too late to prove anything"
        valid = {
            path.relative_to(tmp_path).as_posix()
            for files in all_files
            for condition, path in files.outputs
            if is_valid(condition, files)
        }
        assert valid == there.keys()  # nothing half written carries the name of a result
        times = {name: path.stat().st_mtime_ns for name, path in there.items()}
        assert before.items() <= times.items()  # what was there has not been made again
        before = times
        assert all(outcome.reason is None for outcome in Record(root / NAME).outcomes.values())
    # what a kill may leave at any moment
    for condition, suffix in (("densepose", ".png"), ("face", ".npy"), ("pose", ".json")):
        (tmp_path / f"photos_{condition}").mkdir(exist_ok=True)
        (tmp_path / f"photos_{condition}/.03-x1y2z3{suffix}").write_bytes(b"half")
    (root / ".prepare-x1y2z3.jsonl").write_text('{"name": "03.p')
    with (root / NAME).open("a") as file:
        file.write('{"name": "03.png", "condi')
    job = start(root, "--workers", 2)
    assert ended(job) == 0, start.log()
    assert before.items() <= {name: path.stat().st_mtime_ns for name, path in results(root).items()}.items()
    assert find_pictures(root, CONDITIONS) == all_files

    assert contents(root) == reference[0]
    # but for an outcome that falls between a file and its line, which is there already when the job goes on
    lines, expected = ((text or "").splitlines() for text in ((root / NAME).read_text(), reference[1]))
    assert lines == [line for line in expected if line in set(lines)]
    assert len(lines) >= len(expected) - len(KILLS)


def test_a_worker_that_is_killed_is_told(pictures, reference, start, tmp_path):
    """Not the whole group: one process of the pool, as the kernel does when memory runs out."""
    root = photographs(tmp_path / "photos", pictures)
    job = start(root, "--workers", 2, "--conditions", "densepose")
    wait_for(lambda: len(results(root, "densepose")) >= 3, job, start.log)
    (worker,) = psutil.Process(job.pid).children()
    worker.kill()
    assert ended(job) == 2
    assert "a worker process ended while making densepose" in start.log()
    assert "it goes on where it was" in start.log()
    made = {name: path.read_bytes() for name, path in results(root).items()}
    assert made.items() <= reference[0].items()
