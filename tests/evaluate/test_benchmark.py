"""Pictures of a benchmark stay as long as they are of the same folder and model; runs of a method are one row."""

import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image

from pgpis.cli.bench import _rows, _with_sampling
from pgpis.cli.models import load_task
from pgpis.data import Aim, Pair, Person
from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError
from pgpis.evaluate.benchmark import TRUTH, BenchmarkSettings, RowScores, make_pictures, score_rows, with_runs
from pgpis.evaluate.benchmark_report import write_report
from pgpis.evaluate.intervals import bootstrap_interval
from pgpis.evaluate.made_of import MADE_OF
from pgpis.evaluate.photo_benchmark import PhotoSettings
from pgpis.pictures.images import save_image
from pgpis.pipelines.shipped import SHIPPED


class WithFrechet(BenchmarkSettings):
    with_frechet = True


def encode(pictures):
    return torch.rand(len(pictures), 3, 4, generator=torch.Generator().manual_seed(0))


class TwoPairs:
    def __init__(self, folder, pairs=("ab", "ba"), long_name="", pose="key points"):
        self.pose = pose
        pictures = {name: folder / name for name in "ab"}
        for path in pictures.values():
            if not path.exists():
                path.write_text("first")
        self.pairs = tuple(
            Pair(f"{a}_2_{b}{long_name}", Person(pictures[a]), Aim(target=pictures[b])) for a, b in pairs
        )

    def __len__(self):
        return len(self.pairs)

    def made_of(self, picture, role):
        return {}

    def file_content(self, path):
        return content_hash(path)

    def pose_content(self, pair):
        return self.pose


@pytest.fixture
def make(tmp_path):
    """Makes the rows' pictures, and returns which row was made anew."""

    def run(root="people", identity="first", row="a model", drawn=None, **which):
        made = set()

        def picture(name):
            made.add(name)
            return Image.new("RGB", (4, 4))

        def sample(pipeline, dataset):
            return ((pair.pair_id, picture(pipeline)) for pair in dataset.pairs[:drawn])

        out = tmp_path / "out"
        settings = BenchmarkSettings(root=tmp_path / root, out=out, models={row: "folder"}, identities={row: identity})
        baselines = {name: lambda _pair, name=name: picture(name) for name in settings.baselines}
        rows = make_pictures(settings, TwoPairs(tmp_path, **which), baselines, sample)
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


def test_a_part_that_another_model_drew_does_not_vouch_for_the_rest(make):
    make(identity="first")
    assert make(identity="second", pairs=["ab"]) == {"folder"}
    assert make(identity="second") == {"folder"}
    assert make(identity="second") == set()


def test_a_row_is_known_by_its_folder(make):
    make(row="a model", identity="first")
    assert make(row="a_model", identity="second") == {"folder"}
    assert make(row="a model", identity="first") == {"folder"}


def test_pairs_of_long_names_have_pictures(make):
    assert make(long_name="x" * 300) == {*BenchmarkSettings.baselines, "folder"}
    assert make(long_name="x" * 300) == set()


def test_another_folder_is_drawn_again(make):
    make()
    assert make(root="others") == {*BenchmarkSettings.baselines, "folder"}


def test_a_picture_of_other_files_is_drawn_again(make, tmp_path):
    make()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "a").write_text("second")
    assert make() == {*BenchmarkSettings.baselines, "folder"}
    assert len(files) == 8
    assert make() == set()


def test_another_pose_of_the_same_files_is_drawn_again(make):
    make()
    assert make(pose="of another tool") == {*BenchmarkSettings.baselines, "folder"}


def test_a_model_makes_all_pictures(make):
    with pytest.raises(PgpisError, match="a model made no picture of 1 of 2 pairs"):
        make(drawn=1)


def test_another_size_of_the_comparison_is_drawn_again(tmp_path):
    wide, usual = (PhotoSettings(root=tmp_path, out=tmp_path, size=size) for size in ((256, 256), (256, 176)))
    assert all(wide.made_of(row) != usual.made_of(row) for row in PhotoSettings.baselines)
    assert wide.made_of("a model") == usual.made_of("a model")


@pytest.mark.parametrize(
    ("models", "generated", "message"),
    [
        (["FPDM=a"], ["FPDM=b"], "two rows are called 'FPDM'"),
        (["truth=a"], [], "two rows are called 'truth'"),
        (["A=a", "a=b"], [], "two rows are called 'A' and 'a'"),
        (["a b=a", "a_b=b"], [], "two rows are called 'a b' and 'a_b'"),
        (["A=a", "A=b", "A run 1=c"], [], "two rows are called 'A run 1'"),
        ([], ["A=a", "A=b"], "--generated: 2 folders are called 'A'"),
        (["../A=a"], [], "'../A', which cannot be"),
        (["..=a"], [], "'..', which cannot be"),
        (["a\x00=a"], [], "cannot be"),
        ([f"{'a' * 252}=a"], [], "cannot be"),
    ],
)
def test_rows_have_names_and_folders_of_their_own(models, generated, message, tmp_path):
    with pytest.raises(PgpisError, match=re.escape(message)):
        BenchmarkSettings(root=tmp_path, out=tmp_path, **_rows(models, generated, []))


@pytest.mark.parametrize("content", [None, b"\xff", b"[1]", b'{"truth": 3}', b'{"rows": {"truth": "x"}, "pairs": {}}'])
def test_what_nobody_knows_of_is_drawn_again(make, tmp_path, content, caplog):
    caplog.set_level("INFO", "pgpis")
    make()
    assert "something else" not in caplog.text
    record = tmp_path / "out" / MADE_OF
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    assert TRUTH in make()
    assert sum("8 pictures were made of something else" in line for line in caplog.messages) == 1
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
                                                (["A=a", "C=b"], "expected A-B, two of the rows A, C,")])  # fmt: skip
def test_what_cannot_be_compared_is_named(tmp_path, words, message):
    with pytest.raises(PgpisError, match=message):
        BenchmarkSettings(root=tmp_path, out=tmp_path, **_rows(words, [], ["A-B"]))


def test_a_row_may_sample_otherwise_than_its_pipeline(tmp_path):
    word = f"{SHIPPED['synth-fpdm'].path},refine=false,guidance_band=[0.2, 0.8]"
    rows = _rows(["usual=synth-fpdm", f"plain={word}"], [], [])
    assert rows["identities"]["usual"] != rows["identities"]["plain"]
    assert _with_sampling(word)[1] == {"refine": False, "guidance_band": [0.2, 0.8]}
    assert _with_sampling("folder,with,commas") == ("folder,with,commas", {})
    sampling = load_task("synth-fpdm", {"refine": False, "num_inference_steps": 3}).sampling
    assert (sampling.refine, sampling.num_inference_steps) == (False, 3)
    with pytest.raises(PgpisError, match=r"guidance_band=\[0\.2: expected a value"):
        _with_sampling("synth-fpdm,guidance_band=[0.2")
    with pytest.raises(PgpisError, match=r"no option 'sampling\.refined'; did you mean 'sampling\.refine'"):
        load_task("synth-fpdm", {"refined": False})


def test_rows_may_have_hyphens_in_their_names(tmp_path):
    words = ["synth-fpdm=a", "synth-mcld=b"]
    settings = BenchmarkSettings(root=tmp_path, out=tmp_path, **_rows(words, [], ["synth-fpdm-synth-mcld"]))
    assert settings.compared == [("synth-fpdm", "synth-mcld")]
    with pytest.raises(PgpisError, match="A-B-C: that is 'A' less 'B-C' and 'A-B' less 'C'"):
        BenchmarkSettings(root=tmp_path, out=tmp_path, **_rows(["A=a", "B-C=b", "A-B=c", "C=d"], [], ["A-B-C"]))


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


def test_an_interval_over_people_takes_each_with_all_pairs():
    rng = np.random.default_rng(0)
    of_person, people = rng.normal(size=40), np.repeat(np.arange(40), 9).tolist()
    values = np.repeat(of_person, 9)
    lengths = [np.diff(bootstrap_interval(*of))[0] for of in ((values, people), (of_person,), (values,))]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
    assert lengths[0] == pytest.approx(3 * lengths[2], rel=0.1)
    every = list(range(360))
    assert bootstrap_interval(values, every) == pytest.approx(bootstrap_interval(values), abs=0.02)
    runs = np.stack([values, values + 1])
    assert bootstrap_interval(runs, every) == bootstrap_interval(runs)
    assert np.isnan(bootstrap_interval(np.where(values == values[0], values, np.nan), people)).all(), "of one person"


@pytest.fixture
def brought(tmp_path):
    """Settings of a benchmark of pictures that were made elsewhere, and its baselines."""
    for name, size in {"a_2_b.png": (16, 20), "b_2_a.png": (16, 16)}.items():
        save_image(Image.new("RGB", size), tmp_path / "mine" / name)
    settings = BenchmarkSettings(root=tmp_path, out=tmp_path / "out", generated={"mine": tmp_path / "mine"})
    return settings, dict.fromkeys(settings.baselines, lambda _: Image.new("RGB", (16, 16)))


def test_what_is_odd_about_a_folder_of_pictures_is_told(brought, scored_here, tmp_path, caplog):
    """Second pictures of a pair, those of no pair, and those of another size."""
    dataset = TwoPairs(tmp_path)
    for name in ("ab.png", "a_2_b.webp"):
        Image.new("RGB", (16, 16)).save(tmp_path / "mine" / name)
    rows = make_pictures(brought[0], dataset, brought[1], None)
    score_rows(brought[0], rows, dataset.pairs, no_further_scores, encode)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{tmp_path / 'mine'}: 1 pictures belong to no pair: ab.png",
        f"{tmp_path / 'mine'}: 1 pictures are second ones of a pair: a_2_b.webp",
        "mine: 1 of 2 pictures are not of the truth's size and were resized to it",
    ]


def test_a_folder_of_pictures_lacks_no_pair(brought, tmp_path):
    (tmp_path / "mine/b_2_a.png").unlink()
    with pytest.raises(PgpisError, match=re.escape("lacks 1 of 2 pairs, e.g. b_2_a")):
        make_pictures(brought[0], TwoPairs(tmp_path), brought[1], None)


def no_further_scores(target, pictures):
    return [{} for _ in pictures]


@pytest.mark.parametrize("pairs", [["ab"], ["ab", "ba"]])
def test_one_pair_has_scores_and_no_distance_of_sets(pairs, scored_here, tmp_path):
    dataset = TwoPairs(tmp_path, pairs)
    settings = WithFrechet(root=tmp_path, out=tmp_path / "out")
    picture = Image.new("RGB", (16, 16), "red")
    rows = make_pictures(settings, dataset, dict.fromkeys(settings.baselines, lambda _: picture), None)
    scored = score_rows(settings, rows, dataset.pairs, no_further_scores, encode)
    assert [row.frechet is None for row in scored.values()] == [len(pairs) == 1] * 3
    text = write_report(settings, scored, rows, dataset.pairs)
    assert ("Fréchet" in text) == (len(pairs) > 1)
    assert ("| truth | 1.000 | - | 0.000 |" in text) == (len(pairs) == 1)
    assert "nan" not in text
    assert "Intervals are over" not in text
    people = ["anna", "bob"][: len(pairs)]
    assert f"Intervals are over {len(people)} people" in write_report(settings, scored, rows, dataset.pairs, people)
