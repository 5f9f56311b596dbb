"""Pictures of a benchmark stay as long as they are of the same folder and model; runs of a method are one row."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgpis.cli.bench import _rows
from pgpis.data import Aim, Pair, Person
from pgpis.errors import PgpisError
from pgpis.evaluate.benchmark import MADE_OF, TRUTH, BenchmarkSettings, RowScores, make_pictures, with_runs
from pgpis.evaluate.intervals import bootstrap_interval


class TwoPairs:
    pairs = tuple(Pair(name, Person(Path(name[0])), Aim()) for name in ("a_2_b", "b_2_a"))

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


def test_models_of_one_name_are_runs_of_it(tmp_path):
    rows = _rows(["A=a0", "B=b0", "A=a1", "B=b1", "C=c"], [], ["A-B", "A-C"])
    assert rows["models"] == {"A run 1": "a0", "A run 2": "a1", "B run 1": "b0", "B run 2": "b1", "C": "c"}
    settings = BenchmarkSettings(root=tmp_path, out=tmp_path, **rows)
    scores = {
        name: RowScores({"psnr": np.array([1.0, np.nan]) * number}, float(number))
        for number, name in enumerate(("truth", *rows["models"]))
    }

    shown = with_runs(settings, scores)
    assert list(shown) == ["truth", "A", "B", "C"]
    assert shown["A"].frechet == 1.5
    np.testing.assert_equal(shown["B"].values["psnr"], [[3, np.nan], [4, np.nan]])
    np.testing.assert_equal((shown["B"] - shown["A"]).values["psnr"], [[2, np.nan], [2, np.nan]])
    np.testing.assert_equal((shown["A"] - shown["C"]).values["psnr"], [[-4, np.nan], [-3, np.nan]])


@pytest.mark.parametrize(("words", "message"), [(["A=a", "A=b", "B=c", "B=d", "B=e"], "different numbers of runs"),
                                                (["A=a", "C=b"], "no row 'B'; one of A, C, copy")])  # fmt: skip
def test_what_cannot_be_compared_is_named(tmp_path, words, message):
    with pytest.raises(PgpisError, match=message):
        BenchmarkSettings(root=tmp_path, out=tmp_path, **_rows(words, [], ["A-B"]))


def test_the_interval_counts_runs_as_well_as_pairs():
    rng = np.random.default_rng(0)
    pairs, runs = rng.normal(size=(1, 400)), rng.normal(size=(8, 1))
    both = pairs + runs
    lengths = [np.diff(bootstrap_interval(values))[0] for values in (pairs[0], runs[:, 0], both)]
    assert lengths[2] == pytest.approx(np.hypot(lengths[0], lengths[1]), rel=0.15)
    assert bootstrap_interval(both[:1]) == bootstrap_interval(both[0])
    with_gaps = np.concatenate([both, np.full((8, 3), np.nan)], axis=1)
    assert bootstrap_interval(with_gaps) == pytest.approx(bootstrap_interval(both), abs=0.1)
    assert np.isnan(bootstrap_interval(np.full((3, 4), np.nan))).all()
