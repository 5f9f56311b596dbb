"""Fixtures shared by all tests. The network is blocked by pytest-socket (see pyproject.toml)."""

import logging
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# tiny models run no faster on two threads, and much slower where two test runs share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

# other libraries' log handlers hold the captured stderr of an earlier test
logging.raiseExceptions = False

# a shell in the background ignores Ctrl-C, and so would all jobs that tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def draw_people():
    """Draws a data set: ``draw_people(root, people=3, views=3)``; ``share`` of the people is in the test list."""
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions

    def draw(root, people, views, seed=0, size=(256, 176), textures="none", share=1 / 3):
        options = DatasetOptions(people, views, size, seed=seed, test_share=share, textures=textures)
        assert not make_dataset(root, options).failures

    return draw


@pytest.fixture(scope="session")
def toy_root(draw_people, tmp_path_factory):
    """Three people in three views: 12 training pairs of two people, 6 test pairs of one."""
    root = tmp_path_factory.mktemp("toy")
    draw_people(root, people=3, views=3)
    return root


@pytest.fixture(scope="session")
def textured_root(draw_people, tmp_path_factory):
    """As ``toy_root``, small and with MCLD's textures."""
    root = tmp_path_factory.mktemp("textured")
    draw_people(root, people=3, views=3, size=(128, 88), textures="exact")
    return root


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


@pytest.fixture
def tiny_mcld_words(textured_root, tmp_path):
    """MCLD on the generated data: ``tiny_mcld_words("fit", "--trainer.max_steps=1", out="run")``."""
    return words_of("mcld", "tiny_mcld.yaml", textured_root, tmp_path)


@pytest.fixture
def tiny(toy_root, tmp_path):
    """FPDM on the generated data, likewise."""
    return words_of("fpdm", "tiny.yaml", toy_root, tmp_path)
