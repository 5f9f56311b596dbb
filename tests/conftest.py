"""Fixtures shared by all tests. The network is blocked by pytest-socket (see pyproject.toml)."""

import logging
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# tiny models run no faster on two threads, and much slower where two test runs share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

# other libraries' log handlers hold the captured stderr of an earlier test
logging.raiseExceptions = False

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "scripts"))


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    """A small generated data set in FPDM's layout."""
    from make_toy_data import make_toy_data

    root = tmp_path_factory.mktemp("toy")
    make_toy_data(root, people=3, views=3, seed=0)
    return root


@pytest.fixture
def tiny(toy_root, tmp_path):
    """Words for ``main`` that run FPDM at the smallest size on the generated data, writing below ``tmp_path``."""

    def words(verb, *more, out="run"):
        return [
            verb,
            "--config=smoke/fpdm.yaml",
            f"--config={REPOSITORY / 'tests/configs/tiny.yaml'}",
            *(f"--data.{split}.init_args.root={toy_root}" for split in ("train", "val", "test")),
            f"--trainer.default_root_dir={tmp_path / out}",
            *map(str, more),
        ]

    return words
