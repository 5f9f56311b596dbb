"""Pictures of a benchmark's rows stay as long as they are of the same folder and model."""

from pathlib import Path

import pytest
from PIL import Image

from pgpis.data import Pair
from pgpis.evaluate.benchmark import MADE_OF, TRUTH, BenchmarkSettings, make_pictures


class TwoPairs:
    pairs = (Pair("a_2_b", Path("a"), None), Pair("b_2_a", Path("b"), None))

    def __len__(self):
        return len(self.pairs)


@pytest.fixture
def make(tmp_path):
    """Makes the rows' pictures, and returns which row was made anew."""

    def run(root="people", identity="first"):
        made = set()

        def picture(name):
            made.add(name)
            return Image.new("RGB", (4, 4))

        def sample(pipeline, dataset):
            return ((pair.pair_id, picture(pipeline)) for pair in dataset.pairs)

        out = tmp_path / "out"
        settings = BenchmarkSettings(
            root=tmp_path / root, out=out, models={"a model": "folder"}, identities={"a model": identity}
        )
        baselines = {name: lambda _pair, name=name: picture(name) for name in settings.baselines}
        rows = make_pictures(settings, TwoPairs(), baselines, sample)
        assert all(path.is_file() for files in rows.values() for path in files)
        return made

    return run


def test_what_is_there_is_not_made_again(make):
    assert make() == {*BenchmarkSettings.baselines, "folder"}
    assert make() == set()


def test_another_model_of_the_same_name_is_drawn_again(make):
    make()
    assert make(identity="second") == {"folder"}
    assert make(identity="second") == set()


def test_another_folder_is_drawn_again(make):
    make()
    assert make(root="others") == {*BenchmarkSettings.baselines, "folder"}


@pytest.mark.parametrize("content", [None, b"\xff", b"[1]", b'{"truth": 3}'])
def test_what_nobody_knows_of_is_drawn_again(make, tmp_path, content):
    make()
    record = tmp_path / "out" / MADE_OF
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    assert TRUTH in make()
    assert make() == set()
