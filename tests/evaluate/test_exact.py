"""Scores against exact truth, and pictures that are made without a model."""

import logging
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import binary_erosion

import probe_conditions
from pgpis.batch import ImageSpec
from pgpis.cli import bench, main
from pgpis.data import Aim, DeepFashion, Pair, Person
from pgpis.errors import PgpisError
from pgpis.evaluate.baselines import NearestTraining, warp
from pgpis.evaluate.benchmark import COPY, NEAREST
from pgpis.evaluate.exact import CHANGES, NAMES, REGIONS, ExactScores, face_error, print_sharpness
from pgpis.evaluate.naming import identities
from pgpis.evaluate.synth_benchmark import SynthSettings
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.surface import OUTLINE
from pgpis.synth.figure.description import GARMENTS
from pgpis.synth.scene.render import draw
from pgpis.tasks.options import Sampling
from tiny_mcld import HEIGHT, WIDTH, tiny_mcld

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
    assert truth["face_error"] == 0 or np.isnan(truth["face_error"])
    assert truth["print_sharpness"] == 1 or np.isnan(truth["print_sharpness"])
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


@pytest.fixture(scope="module")
def printed(root, exact):
    """A picture of a printed garment, that shows the face too."""
    truths = (exact.entry(pair.target).draw() for split in ("test", "train") for pair in pairs_of(root, split).pairs)
    return next(truth for truth in truths if truth.face_box and print_sharpness(truth.rgb, truth) == 1)


def test_the_face_error_is_that_of_the_faces_box(printed):
    left, top, right, bottom = (round(side) for side in printed.face_box)
    assert face_error(printed.rgb, printed) == 0
    errors = [face_error(np.roll(printed.rgb, (0, shift), (0, 1)), printed) for shift in (1, 3)]
    assert 0 < errors[0] < errors[1]
    elsewhere = printed.rgb.copy()
    elsewhere[bottom:] = 0
    elsewhere[: max(0, top)] = 0
    assert face_error(elsewhere, printed) == 0
    brighter = np.clip(printed.rgb, 0, 245) + np.uint8(10)
    box = (slice(max(0, top), bottom), slice(left, right))
    expected = np.abs(brighter[box].astype(float) - printed.rgb[box]).mean()
    assert face_error(brighter, printed) == pytest.approx(expected)
    assert np.isnan(face_error(printed.rgb, replace(printed, face_box=None)))


def test_a_blur_takes_the_prints_sharpness_and_noise_adds_to_it(printed):
    picture = Image.fromarray(printed.rgb)
    blurred = [np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (1, 3)]
    sharpness = [print_sharpness(pixels, printed) for pixels in (*reversed(blurred), printed.rgb)]
    assert 0 < sharpness[0] < sharpness[1] < sharpness[2] == 1
    noise = np.random.default_rng(0).normal(0, 30, printed.rgb.shape)
    assert print_sharpness(np.clip(printed.rgb + noise, 0, 255).astype(np.uint8), printed) > 1
    assert print_sharpness(np.full_like(printed.rgb, 128), printed) == 0
    plain = np.where(np.isin(printed.layer, GARMENTS)[..., None], np.uint8(90), printed.rgb)
    assert np.isnan(print_sharpness(printed.rgb, replace(printed, rgb=plain)))


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


def test_the_nearest_training_picture_is_looked_for_anew_among_others(root, tmp_path):
    def made_of():
        return [SynthSettings(root=tmp_path, out=tmp_path).made_of(row) for row in (NEAREST, COPY)]

    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    nearest, copy = made_of()
    assert made_of() == [nearest, copy]
    pairs_of(tmp_path, "train").pairs[0].target.write_bytes(b"another picture")
    other, same = made_of()
    assert other != nearest
    assert same == copy


def test_a_pair_that_cannot_be_read_ends_the_run_with_its_name(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    dataset = pairs_of(tmp_path)
    broken = dataset.pairs[1].source
    broken.write_bytes(broken.read_bytes()[:200])
    task = SimpleNamespace(input_specs={"source_image": ImageSpec("source", 8, 8)}, drawing={})
    with pytest.raises(PgpisError, match=f"pair .* cannot be read: .*{broken.name}"):
        list(bench.batches(dataset, task))


def test_poses_are_drawn_as_the_model_was_trained_with(root):
    def drawn(**drawing):
        specs = {"pose_image": ImageSpec("pose", 64, 44)}
        return next(bench.batches(pairs_of(root), SimpleNamespace(input_specs=specs, drawing=drawing)))["pose_image"]

    assert torch.equal(drawn(pose_canvas=None, stick_width=None), drawn())
    assert drawn(stick_width=12).abs().lt(0.9).sum() != drawn().abs().lt(0.9).sum()
    assert not torch.equal(drawn(pose_canvas=(275, 188)), drawn())


@pytest.mark.slow
def test_the_benchmark_scores_models_and_folders(root, scored_here, tmp_path, capsys):
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
    assert (tmp_path / "out/benchmark.html").read_text().count("<img") == 3 * 6
    columns = table.splitlines()[0].split(" | ")
    assert columns[-5:-3] == ["print sharpness → 1", "pose recognised ↑"]


@pytest.mark.slow
@pytest.mark.usefixtures("scored_here")
def test_the_benchmark_takes_a_model_that_reads_the_rendered_texture(draw_people, tmp_path, capsys):
    root = tmp_path / "seen"
    draw_people(root, people=4, views=2, seed=11, size=(128, 88), share=0.5, textures="seen", inpaint="fast")
    tiny_mcld(rendered_texture=True, backdrop=True).save_pretrained(tmp_path / "pipeline")
    model = f"{tmp_path / 'pipeline'},height={HEIGHT},width={WIDTH}"
    words = ["--root", root, "--out", tmp_path / "out", "--candidates", 2, "--pairs", 2]
    assert main(["bench", "synth", *map(str, words), "--models", f"tiny={model}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| tiny | ")


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


@pytest.mark.parametrize("script", ["bench_samplers", "probe_conditions"])
@pytest.mark.parametrize(
    ("words", "message"), [(["--pairs", "0"], "--pairs is 0, expected"), ([], "folder not found: absent")]
)
def test_the_scripts_name_what_is_wrong(script, words, message, tmp_path, capsys, monkeypatch):
    path = str(REPOSITORY / f"scripts/{script}.py")
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(sys, "argv", [path, "--root", "absent", "--out", str(tmp_path / "out"), *words])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(path, run_name="__main__")
    said = capsys.readouterr().err
    assert said.startswith(f"{script}: ")
    assert message in said
    assert not (tmp_path / "out").exists()


def pairs_of_people(*people):
    names = [f"WOMEN/Tees_Tanks/id_{person:08d}/{number:02d}_1_front" for number, person in enumerate(people, 1)]
    return [Pair(f"{name}_2_{name}", Person(Path(name)), Aim(target=Path(name))) for name in names]


def people_in(pairs):
    return [identities(pair.pair_id)[0][2] for pair in pairs]


@pytest.mark.parametrize("people", [(1, 1, 1, 2, 2, 2), (1, 2), (3, 1, 1, 2, 1, 3), (1, 1, 2, 3, 3, 4, 4, 4)])
def test_the_other_pair_is_another_persons(people):
    pairs = pairs_of_people(*people)
    others = probe_conditions.partners(pairs)
    assert sorted(pair.pair_id for pair in others) == sorted(pair.pair_id for pair in pairs)
    assert all(own != other for own, other in zip(people_in(pairs), people_in(others), strict=True))


@pytest.mark.parametrize("people", [(1,), (1, 1, 2)])
def test_pairs_of_hardly_anybody_else_cannot_be_probed(people):
    with pytest.raises(PgpisError, match="expected at most half"):
        probe_conditions.partners(pairs_of_people(*people))


def test_every_pair_of_the_probe_counts_the_same(monkeypatch):
    """The last batch, of one pair, is exchanged as well, and counts as one of three."""

    class Task:
        sampling = Sampling()

        def loss(self, batch, generator, *, train):
            return {"loss": (batch["source_image"] != batch["target_image"]).float().mean() * batch["weight"]}

    class Test(list):
        pairs = property(tuple)

        def with_pairs(self, pairs):
            return Test(pairs)

    def batches(test, task):
        values = torch.tensor([float(identities(pair.pair_id)[0][2]) for pair in test])
        for rows, weight in ((slice(0, 2), 1.0), (slice(2, 3), 4.0)):
            tensors = dict.fromkeys(("source_image", "target_image"), values[rows])
            yield {**tensors, "pair_id": [pair.pair_id for pair in test[rows]], "weight": weight}

    monkeypatch.setattr(probe_conditions, "batches", batches)
    losses = probe_conditions.probe(Task(), Test(pairs_of_people(1, 2, 3)))
    assert losses == {"all right": 0, "source_image": pytest.approx((2 * 1 + 1 * 4) / 3)}
