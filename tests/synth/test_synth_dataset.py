"""The data sets on disk: real readers read them, labels agree with pictures, and the bytes depend on the seed alone."""

import csv
import dataclasses
import functools
import io
import json
import os
import pickle
import shlex
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from forked import command, kill
from pgpis.cli import main
from pgpis.data import DeepFashion, FolderPairs
from pgpis.data.check import check_root
from pgpis.data.names import flat_to_tree, tree_to_flat
from pgpis.errors import PgpisError
from pgpis.files import LOCK
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.synth.figure.description import Layer
from pgpis.synth.figure.identity import face_code
from pgpis.synth.files import deepfashion, phoenix, resuming
from pgpis.synth.files.dataset import draw_pictures, make_dataset
from pgpis.synth.files.formats import Files, encode_image
from pgpis.synth.files.manifest import read_manifest
from pgpis.synth.files.options import DatasetOptions, Unit
from pgpis.synth.files.resuming import draw_unit
from pgpis.synth.scene.sampling import person_of

OPTIONS = DatasetOptions(people=3, views=3, layout="both", seed=7, frames=2, textures="none")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "data"
    for unit in OPTIONS.units():  # in this process; the next test has others draw the same
        draw_unit(functools.partial(draw_pictures, OPTIONS), out, unit)
    report = make_dataset(out, OPTIONS)
    assert (report.drawn, report.kept, report.pictures) == (0, 6, 3 * 3 + 3 * 2)
    return out


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(root, layout="deepfashion"):
    return [entry for entry in read_manifest(root) if entry.layout == layout]


def tree_of(entry):
    return entry.name.removeprefix("img/").removesuffix(".jpg")


@pytest.mark.slow
def test_begun_broken_and_extended_it_ends_with_the_same_bytes(tmp_path):
    out, more = tmp_path / "data", dataclasses.replace(OPTIONS, people=4)
    make_dataset(tmp_path / "whole", more, workers=2)
    (out / "manifest").mkdir(parents=True)
    (out / "job.json").write_text(json.dumps({"format": 1, **dataclasses.asdict(OPTIONS)}))
    for index in range(2):
        draw_unit(functools.partial(draw_pictures, OPTIONS), out, Unit("person", index, 3))
    min((out / "img").glob("*/*/id_00000000/*.jpg")).unlink()
    (out / Unit("person", 1, 3).record).write_text('{"files": [')
    report = make_dataset(out, more, workers=2)
    assert (report.drawn, report.kept) == (8, 0)
    expected, found = contents(tmp_path / "whole"), contents(out)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    with pytest.raises(PgpisError, match=r"--people 4(.|\n)*not 3"):
        make_dataset(out, OPTIONS)


def test_any_line_of_the_manifest_draws_its_file_again(root):
    entries = read_manifest(root)
    for entry in (entries[1], entries[7], entries[-1]):
        assert encode_image(entry.draw().rgb, (root / entry.name).suffix) == (root / entry.name).read_bytes()


def test_fpdm_reads_it_and_the_check_is_clean(root):
    report = check_root(root)
    assert not report.problems
    for split, people in (("train", 2), ("test", 1)):
        pairs = DeepFashion(root, split=split).read_pairs()
        assert len(pairs) == people * 3 * 2
        assert all(pair.source.is_file() and pair.pose.is_file() and pair.target.is_file() for pair in pairs)
        assert all(pair.source.parent == pair.target.parent and pair.source != pair.target for pair in pairs)
    folder = next((root / "img").glob("*/*/*"))
    poses = root / "pose" / folder.relative_to(root / "img")
    assert len(FolderPairs(sources=folder, poses=poses).read_pairs()) == 9


def test_people_belong_to_one_split(root):
    people = {split: {entry.person for entry in pictures(root) if entry.split == split} for split in ("train", "test")}
    assert people == {"test": {0}, "train": {1, 2}}
    assert {entry.person: entry.split for entry in pictures(root, "phoenix")} == {0: "test", 1: "dev", 2: "train"}


@pytest.mark.parametrize("share", [0.1, 0.2, 1 / 3, 0.5])
def test_splits_have_their_share_and_stay_when_people_are_added(share):
    options = DatasetOptions(people=1000, test_share=share)
    people = [options.split(Unit("person", index, 1)) for index in range(1000)]
    signers = [options.split(Unit("signer", index, 1)) for index in range(1000)]
    assert abs(people.count("test") - 1000 * share) <= 1
    assert abs(signers.count("test") - 500 * share) <= 1
    assert abs(signers.count("dev") - 500 * share) <= 1
    assert {"test", "train"} == set(people[:2])
    more = dataclasses.replace(options, people=2000)
    assert people == [more.split(Unit("person", index, 1)) for index in range(1000)]


def test_names_are_deepfashions_both_ways(root):
    for entry in pictures(root):
        name = deepfashion.Names.of(entry.name)
        assert tree_to_flat(f"{name.tree}.jpg") == f"{name.flat}.jpg"
        assert flat_to_tree(f"{name.flat}.jpg") == f"{name.tree}.jpg" == entry.name.removeprefix("img/")
        assert name.person == entry.person
        assert (name.group == "WOMEN") == entry.scene.identity.female


def test_views_of_a_kind_get_names_of_their_own():
    names = deepfashion.names_of(*person_of(7, 0), person=0, views=100)
    assert len({name.tree for name in names}) == 100
    assert max(name.item for name in names) <= 99


def test_pose_files_hold_the_labels_in_deepfashions_frame(root):
    for entry in pictures(root):
        keypoints = read_keypoints(root / "pose" / f"{tree_of(entry)}.txt").to(Frame(*entry.size))
        labels = np.array(json.loads((root / "labels" / f"{tree_of(entry)}.json").read_text())["body18"])
        given = keypoints.visible.all(axis=1)
        assert np.abs(keypoints.points - labels[:, :2])[given].max() < 0.01
        limbs = [number for number in range(18) if number not in deepfashion.HEAD_POINTS]
        assert np.array_equal(given[limbs], labels[limbs, 2] > 0)
        head = list(deepfashion.HEAD_POINTS)
        assert np.array_equal(given[head], labels[head, 2] > 1)
        drawn = np.asarray(Image.open(root / "pose_img" / f"{tree_of(entry)}.jpg"), np.float32)
        assert np.abs(drawn - draw_pose(keypoints, 1101, 750)).mean() < 1.5


@pytest.mark.parametrize(
    ("hidden", "expected"), [("limbs", [1, 0, 1, 1]), ("all", [1, 1, 1, 1]), ("none", [1, 0, 1, 0])]
)
def test_hidden_points_are_given_as_asked(root, hidden, expected):
    picture = pictures(root)[0].draw()
    visibility = np.full(18, 2, np.float32)
    visibility[[0, 4, 17]] = [1, 1, 0]  # nose and right wrist hidden, left ear outside
    body18 = np.column_stack([np.full((18, 2), 9, np.float32), visibility])
    keypoints = deepfashion.openpose_keypoints(dataclasses.replace(picture, body18=body18), hidden)
    assert keypoints.visible[[1, 0, 2, 4], 0].astype(int).tolist() == expected
    assert not keypoints.visible[17].any()


def test_mclds_form_shows_the_same_pictures(root):
    for entry in pictures(root):
        flat = deepfashion.Names.of(entry.name).flat
        assert (root / entry.split / f"{flat}.jpg").read_bytes() == (root / entry.name).read_bytes()
        iuv = np.asarray(Image.open(root / f"{entry.split}_densepose" / f"{flat}.png"))
        picture = entry.draw()
        assert np.array_equal(iuv[..., ::-1], picture.iuv)
        assert iuv[..., 2].max() <= 24
        layers = np.asarray(Image.open(root / "labels" / f"{tree_of(entry)}.png")).astype(int) - 1
        assert np.array_equal(layers >= 0, iuv[..., 2] > 0)
        assert layers.max() <= max(Layer)
        face = root / f"{entry.split}_face" / f"{flat}.npy"
        seen = json.loads((root / "labels" / f"{tree_of(entry)}.json").read_text())["face_box"] is not None
        assert face.is_file() == seen
        if seen:
            assert np.array_equal(np.load(face), face_code(entry.scene.identity))
    assert {face.name.split("_")[-1] for face in root.glob("*_face/*.npy")} >= {"1front.npy"}
    assert not list(root.glob("*_face/*3back.npy"))


def test_mclds_lists_name_all_pictures_and_pairs(root):
    for split in ("train", "test"):
        listed = (root / f"{split}.lst").read_text().splitlines()
        assert sorted(listed) == sorted(path.name for path in (root / split).iterdir())
        with (root / f"{split}.csv").open(newline="") as file:
            rows = [(row["from"], row["to"]) for row in csv.DictReader(file)]
        pairs = json.loads((root / f"{split}_pairs_data.json").read_text())
        spelt = [
            tuple(tree_to_flat(pair[key].removeprefix("./img/")) for key in ("source_image", "target_image"))
            for pair in pairs
        ]
        assert rows == spelt


def test_a_person_has_an_atlas_of_24_charts(root):
    atlases = list((root / "labels").glob("*/*/*/atlas.png"))
    assert len(atlases) == 3
    atlas = np.asarray(Image.open(atlases[0]))
    assert atlas.shape == (800, 1200, 3)
    assert all(
        atlas[200 * row : 200 * row + 200, 200 * column : 200 * column + 200].any() for row, column in np.ndindex(4, 6)
    )


def test_textures_are_written_from_what_the_picture_shows(tmp_path, monkeypatch):
    seen = []
    texture = np.zeros((512, 512, 3), np.uint8)
    texture[..., 0] = 200
    monkeypatch.setattr(deepfashion, "texture_mapper", lambda **_: lambda rgb, iuv: seen.append((rgb, iuv)) or texture)
    files = Files(tmp_path)
    entries = deepfashion.write_person(files, DatasetOptions(2, 2, seed=7, textures="seen"), 1, "train")
    flat = deepfashion.Names.of(entries[0].name).flat
    assert f"train_texture/{flat}.png" in files.names
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"train_texture/{flat}.png")), texture)
    assert np.array_equal(seen[0][0], entries[0].draw().rgb)
    assert all((tmp_path / name).is_file() for name in files.names)


def test_a_folder_keeps_its_way_to_inpaint(tmp_path):
    exact = DatasetOptions(2, 2, textures="seen")
    fast = dataclasses.replace(exact, inpaint="fast")
    begun = json.loads(json.dumps({"format": resuming.FORMAT, **dataclasses.asdict(exact)}))
    (tmp_path / "job.json").write_text(json.dumps(begun))
    with pytest.raises(PgpisError, match="was begun with --inpaint exact, not fast"):
        make_dataset(tmp_path, fast)
    del begun["inpaint"]  # a version that had one way
    (tmp_path / "job.json").write_text(json.dumps(begun))
    with pytest.raises(PgpisError, match="was begun with --inpaint exact, not fast"):
        make_dataset(tmp_path, fast)
    with resuming.drawn_units(tmp_path, dataclasses.asdict(exact), [], draw_pictures, 1, growing="people") as report:
        assert report.failures == ()
    assert json.loads((tmp_path / "job.json").read_text())["inpaint"] == "exact"


@pytest.mark.slow
def test_fast_textures_are_the_mappers_and_nothing_else_changes(tmp_path):
    drawn = {}
    for inpaint in ("exact", "fast"):
        options = DatasetOptions(2, 2, (128, 88), seed=7, textures="seen", inpaint=inpaint)
        entries = deepfashion.write_person(Files(tmp_path / inpaint), options, 1, "train")
        drawn[inpaint] = contents(tmp_path / inpaint)
    changed = {name for name, content in drawn["exact"].items() if drawn["fast"][name] != content}
    names = [f"train_texture/{deepfashion.Names.of(entry.name).flat}.png" for entry in entries]
    assert changed == set(names)
    picture = entries[0].draw()
    fast = TextureMapper(inpaint="fast")(picture.rgb, picture.iuv)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "fast" / names[0])), fast)


def test_a_quick_png_has_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for quickly in (False, True):
        assert np.array_equal(Image.open(io.BytesIO(encode_image(pixels, ".png", quickly=quickly))), pixels)


@pytest.mark.parametrize("split", phoenix.SPLITS)
def test_phoenix_layout(root, split):
    release = root / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"
    with (release / f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="|"))
    assert [*rows[0]] == ["name", "video", "start", "end", "speaker", "orth", "translation"]
    sequences = pickle.loads((root / f"Phoenix-2014T.{split}").read_bytes())
    assert [row["name"] for row in rows] == [key.removeprefix(f"{split}/") for key in sequences]
    for row in rows:
        assert row["video"] == f"{row['name']}/1/*.png"
        frames = sorted((release / "features" / "fullFrame-210x260px" / split / row["name"]).iterdir())
        assert [frame.name for frame in frames] == ["images0001.png", "images0002.png"]
        assert all(Image.open(frame).size == (210, 260) for frame in frames)
        sequence = sequences[f"{split}/{row['name']}"]
        assert sorted(sequence) == ["gloss", "keypoint", "name", "num_frames", "text"]
        assert isinstance(sequence["keypoint"], torch.Tensor)
        assert sequence["keypoint"].shape == (sequence["num_frames"], 133, 3) == (2, 133, 3)
        entry = next(entry for entry in pictures(root, "phoenix") if row["name"] in entry.name)
        picture = entry.draw()
        assert np.array_equal(sequence["keypoint"][0, :, :2].numpy(), picture.whole133[:, :2])
        assert np.array_equal(sequence["keypoint"][0, :, 2].numpy(), picture.whole133[:, 2] / 2)
        assert (sequence["keypoint"][0, 91:, 2] > 0).float().mean() > 0.9  # hands inside the frame
        densepose = release / "features" / "densepose-210x260px" / split / row["name"] / "images0001.png"
        assert np.array_equal(np.asarray(Image.open(densepose))[..., ::-1], picture.iuv)


@pytest.mark.slow
def test_a_unit_that_fails_is_listed_and_the_others_are_kept(tmp_path, capsys):
    out = tmp_path / "data"
    (out / "manifest" / "people" / "000001.json").mkdir(parents=True)
    words = ["synth", "--out", str(out), "--people", "2", "--views", "2", "--workers", "1", "--textures=none"]
    assert main(words) == 1
    told = capsys.readouterr().out
    assert "1 failed" in told
    assert "person 1: " in told
    assert {entry.person for entry in read_manifest(out)} == {0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"views": 4}, ["--views 3", "not 4"]),
        ({"seed": 8}, ["--seed 7", "not 8"]),
        ({"size": (512, 352)}, ["--size 256x176", "not 512x352"]),
        ({"layout": "phoenix"}, ["--layout both", "not phoenix"]),
        ({"test_share": 0.3}, ["--test-share 0.2", "not 0.3"]),
    ],
)
def test_other_options_in_the_same_folder_are_refused(root, change, expected):
    before = contents(root)
    with pytest.raises(PgpisError) as told:
        make_dataset(root, dataclasses.replace(OPTIONS, **change))
    assert all(part in str(told.value) for part in expected)
    assert contents(root) == before


def interrupted_run(out, until, signum=signal.SIGINT, workers="fork"):
    """Draw 9 people, and do what a terminal does on Ctrl-C once ``until()`` holds: interrupt all processes at once."""
    words = ["synth", "--out", str(out), "--people", "9", "--views", "2", "--textures=none", "--workers", "2"]
    log = out.with_name("log.txt")
    process = command(*words, log=log, workers=workers)
    while process.is_alive() and not until():
        time.sleep(0.05)
    if signum == signal.SIGINT:
        kill(process, signum)  # a terminal asks the whole group
    else:
        os.kill(process.pid, signum)
    process.join(60)
    told = log.read_text()
    assert process.exitcode == 128 + signum, told
    assert told.splitlines()[-1].endswith(f"this command goes on with it: {shlex.join(['pgpis', *words])}")
    assert "Traceback" not in told
    assert [path.name for path in out.rglob(".*") if path.is_file()] == [LOCK]
    return len(list(out.glob("manifest/people/*.json")))


@pytest.mark.slow
def test_interrupted_while_processes_start_it_stops_cleanly(tmp_path):
    begun = time.monotonic() + 1e9

    def soon_after_the_start():
        nonlocal begun
        if (tmp_path / "data" / "job.json").is_file():
            begun = min(begun, time.monotonic())
        return time.monotonic() - begun > 0.1

    interrupted_run(tmp_path / "data", soon_after_the_start, workers="spawn")


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_drawing_it_stops_cleanly_and_goes_on(signum, tmp_path, monkeypatch):
    out = tmp_path / "data"
    done = interrupted_run(out, lambda: any(out.glob("manifest/people/*.json")), signum)
    assert 0 < done < 9
    monkeypatch.setattr(resuming, "run_units", lambda *_: [])  # which are left is enough; another test draws them
    report = make_dataset(out, DatasetOptions(people=9, views=2, textures="none"))
    assert (report.kept, report.drawn, report.pictures) == (done, 9 - done, 2 * done)
