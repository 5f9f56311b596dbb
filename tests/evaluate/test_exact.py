"""Scores against exact truth, and pictures that are made without a model."""

import contextlib
import logging
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion

from pgpis.cli import main
from pgpis.data import DeepFashion
from pgpis.errors import PgpisError
from pgpis.evaluate import synth_benchmark
from pgpis.evaluate.baselines import NearestTraining, warp
from pgpis.evaluate.exact import CHANGES, NAMES, REGIONS, ExactScores
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.surface import OUTLINE
from pgpis.synth.scene.render import draw

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(draw_people, tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    draw_people(root, people=6, views=2, seed=11, size=(128, 88), share=0.5)
    return root


@pytest.fixture(scope="module")
def exact(root):
    return ExactScores(root, candidates=3)


def pairs_of(root, split="test"):
    dataset = DeepFashion(root, split, layout="fpdm")
    dataset.setup()
    return dataset


def test_the_truth_is_recognised_and_a_change_is_not(root, exact):
    pair = pairs_of(root).pairs[0]
    entry = exact.entry(pair.target)
    others = [other.scene for other in exact._others(entry)]
    changed = {
        name: Image.fromarray(draw(change(entry.scene, others[0]), *entry.size).rgb) for name, change in CHANGES.items()
    }
    truth, *rest = exact(pair.target, [Image.fromarray(entry.draw().rgb), *changed.values()])
    assert set(truth) == set(NAMES)
    assert all(truth[name] == 1.0 for name in CHANGES)
    assert all(truth[name] == 0.0 for name in REGIONS if not np.isnan(truth[name]))
    for name, scores in zip(changed, rest, strict=True):
        assert scores[name] == 0.0
    outfit = rest[list(changed).index("outfit_recognised")]
    assert outfit["garment_error"] > 5 > outfit["background_error"]
    assert outfit["identity_recognised"] == 1.0


def test_errors_are_means_over_regions(root, exact):
    pair = pairs_of(root).pairs[0]
    truth = exact.entry(pair.target).draw()
    grey = np.full_like(truth.rgb, 128)
    scores = exact(pair.target, [Image.fromarray(grey)])[0]
    for name, layers in REGIONS.items():
        where = np.isin(truth.layer, layers)
        if where.any():
            assert scores[name] == pytest.approx(np.abs(truth.rgb[where].astype(float) - 128).mean())


def test_unknown_pictures_and_too_few_people_are_errors(root, exact):
    with pytest.raises(PgpisError, match=r"3 people for '(test|train)', 4 are needed"):
        ExactScores(root, candidates=4)
    with pytest.raises(PgpisError, match=r"does not know img/x\.jpg"):
        exact.entry(root / "img/x.jpg")


def test_a_picture_painted_onto_its_own_pose_is_itself(root):
    dataset = pairs_of(root)
    maps = {pair.target: pair.file("iuv") for pair in dataset.pairs}
    pair = dataset.pairs[0]
    source, iuv = np.asarray(read_image(pair.source)), read_part_u_v(maps[pair.source])
    itself = warp(source, iuv, iuv)
    person = iuv[..., 0] > 0
    inner = binary_erosion(person, iterations=OUTLINE)
    assert np.abs(itself.astype(int) - source)[inner].mean() < 4  # several pixels share a texel
    moved = warp(source, iuv, read_part_u_v(pair.file("iuv")))
    truth = np.asarray(read_image(pair.target)).astype(int)
    person = read_part_u_v(pair.file("iuv"))[..., 0] > 0
    assert np.abs(moved - truth)[person].mean() < np.abs(source.astype(int) - truth)[person].mean()


def test_the_nearest_training_picture_of_a_training_picture_is_itself(root):
    train = pairs_of(root, "train")
    nearest = NearestTraining(train)
    pair = train.pairs[0]
    assert nearest(train.read_pose(pair), pair.target, pair.file("iuv")) == pair.target


class Pool:
    """Works here, on what would come over in another process."""

    def map(self, work, jobs, chunksize):
        return map(pickle.loads(pickle.dumps(work)), pickle.loads(pickle.dumps(jobs)))


@pytest.mark.slow
def test_the_benchmark_scores_models_and_folders(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(synth_benchmark, "worker_pool", lambda _: contextlib.nullcontext(Pool()))
    dataset = pairs_of(root)
    (tmp_path / "blurred").mkdir()
    for pair in dataset.pairs:
        read_image(pair.target).reduce(4).resize((88, 128)).save(tmp_path / f"blurred/{pair.pair_id}.png")
    words = [
        "--root",
        root,
        "--out",
        tmp_path / "out",
        "--candidates",
        3,
        "--pairs",
        3,
        "--models",
        "FPDM=synth-fpdm",
        "--generated",
        f"blur={tmp_path / 'blurred'}",
        "--differences",
        "FPDM-blur",
    ]
    assert main(["bench", "synth", *map(str, words)]) == 0
    text = capsys.readouterr().out
    table, differences = text.split("\n\n")
    rows = {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}
    assert list(rows)[-2:] == ["FPDM", "blur"]
    last = differences.splitlines()[-1]
    assert last.startswith("| FPDM - blur | ")
    ours, blurred, change = (float(line.split("|")[3].split()[0]) for line in (rows["FPDM"], rows["blur"], last))
    assert change == pytest.approx(ours - blurred, abs=0.02)
    assert (tmp_path / "out/benchmark.md").read_text() == text
    assert len(list((tmp_path / "out/source_painted_onto_the_pose").glob("*.png"))) == 3


@pytest.mark.slow
def test_the_probe_tells_what_a_model_reads(root, tmp_path, capsys, monkeypatch):
    script = REPOSITORY / "scripts/probe_conditions.py"
    words = ["--root", root, "--out", tmp_path, "--pairs", 4, "--models", "FPDM=synth-fpdm"]
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(sys, "argv", list(map(str, [script, *words])))
    assert runpy.run_path(str(script))["main"]() == 0
    table = capsys.readouterr().out
    assert (tmp_path / "conditions.md").read_text() == table
    ratios = {line.split("|")[2].strip(): float(line.split("|")[4]) for line in table.splitlines()[2:]}
    assert list(ratios) == ["all right", "source_image", "pose_image", "prior_source", "prior_pose"]
    assert ratios["all right"] == 1
    assert min(ratios["source_image"], ratios["pose_image"]) > 1.05
