"""Fixtures shared by all tests. The network is blocked by pytest-socket (see pyproject.toml)."""

import gc
import logging
import os
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from ranks import Ranks

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# tiny models run no faster on two threads, and much slower where two test runs share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

# other libraries' log handlers hold the captured stderr of an earlier test
logging.raiseExceptions = False

# a shell in the background ignores Ctrl-C, and so would all jobs that tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup does
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# what tests write need not outlive a power cut; each wait for the disk takes milliseconds
os.fsync = lambda _: None

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    """Deal the files, those with most slow tests first, to the two halves that two processes begin with.

    Each then works on slow ones first; at the end, quick ones are left to share out, and none works alone.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    files = sorted(dict.fromkeys(item.path for item in items), key=lambda path: -slow[path])
    place = {path: (number % 2, number) for number, path in enumerate(files)}
    items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the garbage collector pass over what test files import, then and later: it took a twentieth of the run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder once for all processes of a test run: ``made_once("toy", make)``, where ``make`` fills it.

    Nobody writes to it: a test that changes files copies them.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name, make):
        folder, whole = base / "once" / name, base / "once" / f"{name}.whole"
        whole.parent.mkdir(exist_ok=True)
        with FileLock(whole.with_suffix(".lock")):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                whole.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """Calls a function in two processes of one group: ``two_processes(work, folder)`` returns what each returns."""
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    yield ranks
    ranks.close()


def in_this_process(units, work, workers, doing="drawing"):
    """Do what ``pgpis.jobs.run_units`` does without the second that a new process needs to start."""
    return [failure for unit in units for failure in work(unit) or []]


@pytest.fixture
def drawing_here(monkeypatch):
    """``pgpis synth`` draws in this process."""
    from pgpis.synth.files import resuming

    monkeypatch.setattr(resuming, "run_units", in_this_process)


@pytest.fixture
def small_densepose(monkeypatch):
    """In this process DensePose sees pictures at a fifth of the official size."""
    from pgpis.preprocess.densepose import model

    resize, small = model.resize_input, {"min_size": 160, "max_size": 266}
    monkeypatch.setattr(model, "resize_input", lambda picture, config: resize(picture, replace(config, **small)))


@pytest.fixture
def fast_inpainting(monkeypatch):
    """Holes of textures are filled the fast way: the published one takes half a second for each texture."""
    from pgpis.pictures import uv_texture

    inpaint = uv_texture.inpaint
    monkeypatch.setattr(uv_texture, "inpaint", lambda chart, mask, _method: inpaint(chart, mask, "fast"))


@pytest.fixture
def packing_here(monkeypatch):
    """``pgpis data pack`` writes in this process."""
    from pgpis.data.packs import write

    monkeypatch.setattr(write, "run_units", in_this_process)


@pytest.fixture(scope="session")
def draw_people():
    """Draws a data set: ``draw_people(root, people=3, views=3)``; ``share`` of the people is in the test list.

    ``options`` are further ones of ``DatasetOptions``.
    """
    from pgpis.synth.files import resuming
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions

    def draw(root, people, views, seed=0, size=(256, 176), textures="none", share=1 / 3, **options):
        options = DatasetOptions(people, views, size, seed=seed, test_share=share, textures=textures, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resuming, "run_units", in_this_process)
            assert not make_dataset(root, options).failures

    return draw


@pytest.fixture(scope="session")
def toy_root(draw_people, made_once):
    """Three people in three views: 12 training pairs of two people, 6 test pairs of one."""
    return made_once("toy", lambda root: draw_people(root, people=3, views=3))


@pytest.fixture(scope="session")
def textured_root(draw_people, made_once):
    """As ``toy_root``, small and with MCLD's textures."""
    return made_once("textured", lambda root: draw_people(root, people=3, views=3, size=(128, 88), textures="exact"))


def words_of(recipe, overlay, root, folder):
    """Make the words for ``main`` that run a smoke recipe at the smallest size, writing below ``folder``."""

    def words(verb, *more, out="run"):
        return [
            verb,
            f"--config=smoke/{recipe}.yaml",
            f"--config={REPOSITORY / 'tests/configs' / overlay}",
            *(f"--data.{split}.init_args.root={root}" for split in ("train", "val", "test")),
            f"--trainer.default_root_dir={folder / out}",
            *map(str, more),
        ]

    return words


def fit_one_step(words):
    """Train for a step, and leave checkpoint and exported pipeline."""
    from pgpis.cli import main

    assert main(words("fit", "--trainer.max_steps=1", "--data.val=null", out=".")) == 0


@pytest.fixture(scope="session")
def trained_fpdm(toy_root, made_once):
    """A run of ``tiny`` of one step: ``checkpoints/last.ckpt`` and ``pipeline``."""
    return made_once("fpdm", lambda folder: fit_one_step(words_of("fpdm", "tiny.yaml", toy_root, folder)))


@pytest.fixture(scope="session")
def trained_mcld(textured_root, made_once):
    """A run of ``tiny_mcld_words`` likewise."""
    return made_once("mcld", lambda folder: fit_one_step(words_of("mcld", "tiny_mcld.yaml", textured_root, folder)))


@pytest.fixture
def tiny_mcld_words(textured_root, tmp_path):
    """MCLD on the generated data: ``tiny_mcld_words("fit", "--trainer.max_steps=1", out="run")``."""
    return words_of("mcld", "tiny_mcld.yaml", textured_root, tmp_path)


@pytest.fixture
def tiny(toy_root, tmp_path):
    """FPDM on the generated data, likewise."""
    return words_of("fpdm", "tiny.yaml", toy_root, tmp_path)
