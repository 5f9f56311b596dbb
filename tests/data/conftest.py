import os
import shutil
from pathlib import Path

import pytest
from packed_features import pack, write_cache

from pgpis.batch import ImageSpec
from pgpis.cli import main
from pgpis.data.packs import write

SPECS = {
    "source_image": ImageSpec("source", 32, 24),
    "target_image": ImageSpec("target", 32, 24),
    "pose_image": ImageSpec("pose", 32, 24),
}


@pytest.fixture(scope="session")
def toy_root(draw_people, made_once):
    """Six people in three views: 24 training pairs of four people, 12 test pairs of two."""
    return made_once("six", lambda root: draw_people(root, people=6, views=3, seed=0, size=(64, 44)))


@pytest.fixture(scope="session")
def two_people(draw_people, made_once):
    """2 training pairs, 2 test pairs."""
    return made_once("two", lambda root: draw_people(root, people=2, views=2, seed=1, size=(64, 44)))


@pytest.fixture
def own_toy_root(two_people, tmp_path):
    """A copy of ``two_people`` that a test may damage."""
    copies = {}

    def copy(source, target):
        """Copy a file; names of one file stay names of one file."""
        first = copies.setdefault(Path(source).stat().st_ino, target)
        return shutil.copy2(source, target) if first is target else os.link(first, target)

    return shutil.copytree(two_people, tmp_path / "toy", copy_function=copy)


@pytest.fixture
def specs():
    return dict(SPECS)


def write_here(shards, work, *_):
    """Write shards in this process."""
    return [each for each in map(work, shards) if each]


@pytest.fixture(scope="session")
def toy_pack(toy_root, made_once):
    """``toy_root`` in several shards."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "run_units", write_here)
            assert main(["data", "pack", str(toy_root), "--out", str(folder), "--shard-size=0.02"]) == 0

    return made_once("toy-pack", make)


@pytest.fixture(scope="session")
def cached(toy_root, made_once):
    """Features of the training pictures of ``toy_root``."""
    return made_once("rows", lambda folder: write_cache(folder, toy_root))


@pytest.fixture(scope="session")
def feature_pack(toy_root, cached, made_once):
    """``toy_root`` with its features, which are packed later than the pictures."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "run_units", write_here)
            assert pack(toy_root, folder) == 0
            shards = {path: path.stat().st_mtime_ns for path in folder.rglob("*.bin")}
            assert pack(toy_root, folder, "--cache", cached) == 0
            assert shards == {path: path.stat().st_mtime_ns for path in shards}
            assert len([*folder.rglob("*.bin")]) > len(shards)

    return made_once("feature-pack", make)
