"""``pgpis prepare``: from photographs to all conditions, resumed, with failures listed."""

import contextlib
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.data import DeepFashion
from pgpis.data.link import link_layout
from pgpis.data.names import tree_to_flat
from pgpis.errors import PgpisError
from pgpis.pictures.arrays import read_face
from pgpis.pictures.images import read_image
from pgpis.pictures.iuv import read_iuv
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.preprocess import run as jobs
from pgpis.preprocess import stages
from pgpis.preprocess.face import Face
from pgpis.preprocess.listing import find_pictures, tell_of_gone
from pgpis.preprocess.record import Record
from pgpis.preprocess.settings import PictureFiles, PrepareSettings
from pgpis.preprocess.stage import Stage, Uncertain
from pgpis.preprocess.stages import is_valid
from pgpis.synth.figure.identity import face_code
from pgpis.synth.files.manifest import read_manifest
from pgpis.weight_files import CATALOGUE
from tiny_models import densepose_state, write_densepose, write_detector, write_insightface, write_pose

SUFFIXES = {"pose": ".json", "densepose": ".png", "texture": ".png", "face": ".npy"}

READERS = {
    "pose": lambda path: read_keypoints(path).points,
    "densepose": lambda path: np.asarray(read_iuv(path)),
    "texture": lambda path: np.asarray(read_image(path)),
    "face": read_face,
}


def output(root, condition, name):
    """Where the README says that a condition of ``photos/NAME`` goes."""
    return root.parent / f"{root.name}_{condition}" / f"{name}{SUFFIXES[condition]}"


def outputs(root):
    """All files beside the photographs, with their content."""
    folders = [root.parent / f"{root.name}_{condition}" for condition in SUFFIXES]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def photos(pictures, tmp_path, fast_inpainting):
    """Two pictures, one of them in a folder of its own."""
    (tmp_path / "photos/sub").mkdir(parents=True)
    pictures[0].save(tmp_path / "photos/anna.png")
    pictures[1].save(tmp_path / "photos/sub/bert.jpg")
    return tmp_path / "photos"


def test_every_picture_gets_every_file_where_documented(photos, pictures, run):
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[0].rotate(90, expand=True).save(photos / "turned.png", exif=exif)
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / ".hidden.jpg").write_bytes(b"not looked at")
    (photos / "notes.txt").write_text("no picture")
    result = run(photos)
    assert result.made == dict.fromkeys(SUFFIXES, 3)
    assert result.already == {}
    names = ("anna", "sub/bert", "turned")
    expected = {output(photos, condition, name) for condition in SUFFIXES for name in names}
    assert {photos.parent / name for name in outputs(photos)} == expected
    for name in names:
        points = read_keypoints(output(photos, "pose", name))
        assert (points.skeleton, points.frame.height, points.frame.width) == ("body18", 64, 48)
        iuv = read_iuv(output(photos, "densepose", name))
        assert iuv.size == (48, 64)
        assert np.asarray(iuv)[..., 2].any()
        assert Image.open(output(photos, "texture", name)).size == (512, 512)
        assert read_face(output(photos, "face", name)).shape == (512,)
    for condition in SUFFIXES:  # the same picture upright, another one
        anna = output(photos, condition, "anna").read_bytes()
        assert output(photos, condition, "turned").read_bytes() == anna
        assert condition == "texture" or output(photos, condition, "sub/bert").read_bytes() != anna


def test_the_record_says_what_became_of_everything(photos, run):
    (photos / "broken.jpg").write_bytes(b"no picture")
    result = run(photos)
    assert [(line["name"], line["condition"]) for line in result.lines] == sorted(
        (name, condition) for name in ("anna.png", "broken.jpg", "sub/bert.jpg") for condition in SUFFIXES
    )
    for (name, condition), line in result.of.items():
        if name != "broken.jpg":
            assert (line["reason"], line["found"]) == (None, True)
            assert (line["box"] is None) == (condition == "texture")
            continue
        assert line["box"] is None
        assert line["found"]  # it is the file that is broken: another run tries again
        assert line["reason"].startswith("no densepose: " if condition == "texture" else "cannot read picture")
    assert {(failure.name, failure.condition) for failure in result.failures} == {
        ("broken.jpg", condition) for condition in SUFFIXES
    }


def test_a_second_run_makes_nothing(photos, run):
    first = run(photos)
    before = {path: path.stat().st_mtime_ns for path in photos.parent.rglob("*.*") if path.name != "prepare.jsonl"}
    second = run(photos)
    assert second.made == {}
    assert second.already == dict.fromkeys(SUFFIXES, 2)
    assert second.lines == first.lines
    after = {path: path.stat().st_mtime_ns for path in photos.parent.rglob("*.*") if path.name != "prepare.jsonl"}
    assert after == before


def test_doubts_of_earlier_runs_are_told_again(photos, pictures, run):
    """As of one that was interrupted, and said nothing at its end."""
    first = run(photos, "pose")
    lines = [line | {"doubt": "may be a back"} for line in first.lines]
    (photos / "prepare.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pictures[2].save(photos / "anna.png")
    second = run(photos, "pose")
    assert (second.made, second.already) == ({"pose": 1}, {"pose": 1})
    assert [(each.name, each.doubt) for each in second.doubtful] == [("sub/bert.jpg", "may be a back")]
    assert run(photos, "densepose").doubtful == []  # of what is asked for


def test_a_broken_picture_is_tried_again_once_mended(photos, pictures, run):
    (photos / "broken.png").write_bytes(b"no picture")
    assert run(photos, "pose").made == {"pose": 2}
    pictures[2].save(photos / "broken.png")
    result = run(photos, "pose")
    assert result.made == {"pose": 1}
    assert not result.failures
    assert result.of["broken.png", "pose"]["reason"] is None


def test_what_was_made_of_another_picture_is_made_again(photos, pictures, run):
    run(photos)
    before, time = outputs(photos), (photos / "anna.png").stat()
    pictures[2].save(photos / "anna.png")
    os.utime(photos / "anna.png", ns=(time.st_atime_ns, time.st_mtime_ns))
    os.utime(photos / "sub/bert.jpg")
    result = run(photos)
    assert result.made == dict.fromkeys(SUFFIXES, 1)
    assert {name for name, content in outputs(photos).items() if content != before[name]} >= {
        output(photos, condition, "anna").relative_to(photos.parent).as_posix() for condition in ("densepose", "face")
    }
    (photos / "anna.png").write_bytes(b"no picture")
    for _ in range(2):
        assert {failure.name for failure in run(photos).failures} == {"anna.png"}
        assert not any(output(photos, condition, "anna").exists() for condition in SUFFIXES)


def test_what_was_made_of_a_picture_of_another_suffix_is_made_again(photos, pictures, run):
    first = run(photos, "pose")
    (photos / "anna.png").unlink()
    pictures[2].save(photos / "anna.webp", lossless=True)
    second = run(photos, "pose")
    assert (second.made, second.already) == ({"pose": 1}, {"pose": 1})
    assert second.of["anna.webp", "pose"]["content"] != first.of["anna.png", "pose"]["content"]
    assert run(photos, "pose").made == {}


def test_files_of_photographs_that_are_gone_are_named_once(photos, run, weights, caplog):
    run(photos, "pose", "densepose")
    assert main(["prepare", str(photos), "--conditions", "pose", "--weights", str(weights)]) == 0
    assert "are gone" not in caplog.text
    (photos / "sub/bert.jpg").rename(photos / "sub/berta.jpg")
    before = outputs(photos)
    tell_of_gone(photos, find_pictures(photos, ["pose"]), Record(photos / "prepare.jsonl").outcomes.values())
    (told,) = [message for message in caplog.messages if "are gone" in message]
    left = [output(photos, condition, "sub/bert") for condition in ("densepose", "pose")]
    assert told.startswith(f"{photos}: 2 files were made of pictures that are gone, and stay")
    assert told.endswith(f": {left[0]}, {left[1]}")
    assert outputs(photos) == before
    for path in left:
        path.unlink()
    caplog.clear()
    assert main(["prepare", str(photos), "--conditions", "pose", "--weights", str(weights)]) == 0
    assert "are gone" not in caplog.text


def test_pictures_that_a_list_leaves_out_are_not_gone(photos, run, caplog):
    run(photos, "pose")
    files = find_pictures(photos, ["pose"])
    tell_of_gone(photos, files[:1], Record(photos / "prepare.jsonl").outcomes.values())
    assert "are gone" not in caplog.text


def test_what_was_made_of_another_map_is_made_again(photos, run):
    run(photos)
    places = [output(photos, condition, "anna") for condition in ("densepose", "texture")]
    of_first = places[1].read_bytes()
    iuv = np.asarray(Image.open(places[0]))
    Image.fromarray(np.ascontiguousarray(iuv[::-1])).save(places[0])  # as another tool might have made it
    assert run(photos, "densepose", "texture").made == {"texture": 1}
    assert places[1].read_bytes() != of_first
    places[0].unlink()
    assert run(photos, "densepose", "texture").made == {"densepose": 1, "texture": 1}
    assert places[1].read_bytes() == of_first
    places[0].unlink()
    result = run(photos, "densepose", "texture", person=7)  # there are not so many people
    assert {failure.condition for failure in result.failures} == {"densepose", "texture"}
    assert not any(place.exists() for place in places)


def test_a_texture_of_ones_own_stays_whatever_the_map(photos, run):
    run(photos)
    (photos / "prepare.jsonl").unlink()
    output(photos, "densepose", "anna").unlink()
    assert run(photos, "densepose", "texture").made == {"densepose": 1}


def test_a_texture_stays_while_its_map_is_not_there(photos, run, caplog):
    run(photos)
    good = output(photos, "texture", "anna").read_bytes()
    output(photos, "densepose", "anna").unlink()
    for _ in range(2):
        result = run(photos, "texture")
        assert (result.made, result.already, result.failures) == ({}, {"texture": 2}, [])
        assert output(photos, "texture", "anna").read_bytes() == good
    assert "texture: 1 there were made of a DensePose map that is gone, and stay" in caplog.text
    assert run(photos, "densepose", "texture").made == {"densepose": 1, "texture": 1}


@pytest.mark.parametrize("gone", [False, True])
def test_nothing_goes_that_this_run_does_not_make_anew(gone, photos, pictures, run):
    run(photos)
    before = outputs(photos)
    pictures[2].save(photos / "anna.png")
    if gone:
        output(photos, "densepose", "anna").unlink()
        del before["photos_densepose/anna.png"]
    for _ in range(2):
        (failure,) = run(photos, "texture").failures
        assert f"the DensePose map of this picture is {'missing' if gone else 'of another picture'}" in failure.reason
        assert "--conditions densepose,texture makes both" in failure.reason
        assert outputs(photos) == before
    assert run(photos, "densepose", "texture").made == {"densepose": 1, "texture": 1}


def test_nothing_goes_where_weights_are_missing(photos, pictures, run, tmp_path):
    run(photos)
    before = outputs(photos)
    pictures[2].save(photos / "anna.png")
    with pytest.raises(PgpisError, match="weights"):
        run(photos, weights=tmp_path / "nowhere", pose="wholebody133", densepose="r101-dl")
    assert outputs(photos) == before


def test_a_map_of_an_earlier_picture_is_not_made_a_texture_of(photos, pictures, run):
    run(photos, "densepose")
    pictures[2].save(photos / "anna.png")
    result = run(photos, "texture")
    assert result.made == {"texture": 1}
    (failure,) = result.failures
    assert (failure.name, failure.condition) == ("anna.png", "texture")
    assert not output(photos, "texture", "anna").exists()


def test_what_one_tool_did_not_find_another_may(photos, run):
    strict = run(photos, "pose", pose_threshold=1e9)
    assert len(strict.failures) == 2
    assert run(photos, "pose", pose_threshold=1e9).failures == strict.failures
    assert run(photos, "pose").made == {"pose": 2}


def test_damaged_files_are_made_anew(photos, run):
    run(photos)
    good = outputs(photos)
    densepose, texture = output(photos, "densepose", "anna"), output(photos, "texture", "sub/bert")
    densepose.write_bytes(densepose.read_bytes()[:-40])
    Image.new("RGB", (9, 9)).save(texture)
    output(photos, "face", "anna").write_bytes(b"")
    pose = output(photos, "pose", "sub/bert")
    pose.write_text(pose.read_text()[:200])
    result = run(photos)
    assert result.made == dict.fromkeys(SUFFIXES, 1) | {"texture": 2}  # that of the map that is made anew too
    assert result.already == {"pose": 1, "densepose": 1, "face": 1}
    assert outputs(photos) == good


@pytest.mark.parametrize("condition", SUFFIXES)
def test_no_cut_file_counts_as_made(condition, photos, run, tmp_path):
    run(photos, "densepose", condition)
    content = output(photos, condition, "anna").read_bytes()
    cut = tmp_path / f"cut{SUFFIXES[condition]}"
    files = PictureFiles("cut", photos / "anna.png", ((condition, cut),))
    assert not is_valid(condition, files)
    lengths = {*range(80), *range(max(0, len(content) - 80), len(content)), *range(0, len(content), 61)}
    whole = READERS[condition](output(photos, condition, "anna"))
    refused = 0
    for length in sorted(length for length in lengths if length < len(content)):
        cut.write_bytes(content[:length])
        if is_valid(condition, files):  # a checksum or line feed at the very end may be missing
            assert len(content) - length <= 4
            np.testing.assert_array_equal(READERS[condition](cut), whole)
        else:
            refused += 1
    assert refused > 100
    cut.write_bytes(content)
    assert is_valid(condition, files)


class TestNobody:
    """Pictures that show no person or no face."""

    @pytest.fixture
    def blind(self, tmp_path):
        """Weights that find nothing."""
        folder = tmp_path / "blind"
        write_densepose(folder / CATALOGUE["densepose-r101-dl"].files[0], densepose_state(person=False))
        write_detector(folder / CATALOGUE["pose-detector"].files[0], score=0.2)
        write_pose(folder / CATALOGUE["pose-wholebody133"].files[0])
        write_insightface(folder, CATALOGUE["face-antelopev2"].files, boxes=())
        return folder

    @pytest.mark.parametrize("person", [None, 1])
    def test_is_recorded_and_not_tried_again_unasked(self, photos, run, blind, person):
        run = partial(run, person=person)
        result = run(photos, weights=blind)
        assert result.made == {}
        assert outputs(photos) == {}
        reasons = {condition: result.of["anna.png", condition]["reason"] for condition in SUFFIXES}
        assert reasons == {
            "pose": "no people found",
            "densepose": "no people found",
            "texture": "no densepose: no people found",
            "face": "no faces found",
        }
        assert not any(line["found"] for line in result.lines)
        unasked = run(photos)
        assert unasked.made == {}
        assert unasked.failures == result.failures
        assert unasked.lines == result.lines
        asked = run(photos, again=True, person=None)
        assert asked.made == dict.fromkeys(SUFFIXES, 2)
        assert not asked.failures
        assert all(line["found"] and line["reason"] is None for line in asked.lines)

    @pytest.mark.parametrize("condition", SUFFIXES)
    def test_a_file_of_ones_own_stays_when_the_picture_changes(self, condition, photos, pictures, run, blind):
        run(photos, "densepose", condition, weights=blind)
        own = output(photos, condition, "anna")
        own.parent.mkdir()
        shutil.copyfile(self.made_elsewhere(photos, condition, run), own)
        before = own.read_bytes()
        pictures[2].save(photos / "anna.png")
        result = run(photos, condition)
        assert "anna.png" not in {failure.name for failure in result.failures}
        assert own.read_bytes() == before

    @staticmethod
    def made_elsewhere(photos, condition, run):
        """A file of a kind, of the same picture in another folder."""
        other = photos.parent / "other/photos"
        shutil.copytree(photos, other, ignore=shutil.ignore_patterns("*.jsonl"))
        assert not run(other, "densepose", condition).failures
        return output(other, condition, "anna")

    def test_no_model_is_loaded_where_nothing_is_to_do(self, photos, run, blind, monkeypatch):
        run(photos, weights=blind)
        monkeypatch.setattr("pgpis.preprocess.run.build_stage", pytest.fail)
        assert run(photos, weights=photos / "nowhere", pose="wholebody133", densepose="r101-dl").made == {}

    def test_a_texture_follows_its_map(self, photos, run, blind):
        """With --again a texture that lacked its map is made as soon as there is one."""
        run(photos, "densepose", "texture", weights=blind)
        assert run(photos, "densepose", again=True).made == {"densepose": 2}
        assert run(photos, "texture", again=True).made == {"texture": 2}

    def test_a_texture_follows_its_map_unasked(self, photos, run, blind):
        run(photos, "densepose", "texture", weights=blind)
        assert run(photos, "densepose", again=True).made == {"densepose": 2}
        assert run(photos, "texture").made == {"texture": 2}

    def test_no_point_is_certain_enough(self, photos, run):
        result = run(photos, "pose", pose_threshold=1e6)
        assert result.of["anna.png", "pose"]["reason"] == "a person was found, but no point of it is certain enough"
        assert not result.of["anna.png", "pose"]["found"]
        assert outputs(photos) == {}


class TestPerson:
    """Two people and two faces in every picture, the first one of each list being the smaller one."""

    @pytest.fixture
    def two(self, weights, tmp_path):
        folder = tmp_path / "two"
        shutil.copytree(weights, folder)
        write_detector(folder / CATALOGUE["pose-detector"].files[0], ((20, 20, 120, 220), (150, 100, 470, 630)))
        return folder

    def test_the_largest_by_default(self, photos, run, two):
        boxes = {}
        for person in (None, 0, 1):
            result = run(photos, "pose", weights=two, person=person)
            boxes[person] = result.of["anna.png", "pose"]["box"]
            shutil.rmtree(photos.parent / "photos_pose")
        assert boxes[None] == boxes[0]
        # the crops of the two reach 1.25 times their boxes; a tenth of 640 pixels is 6.4 of 64
        assert boxes[0][0] > 5
        assert boxes[0][3] > 40
        assert boxes[1][2] < 25
        assert boxes[1][3] < 40

    def test_a_third_person_is_not_there(self, photos, run, two):
        result = run(photos, "pose", weights=two, person=2)
        line = result.of["anna.png", "pose"]
        assert line["reason"] == "2 people found, --person 2 is not among them"
        assert line["found"]
        assert run(photos, "pose", weights=two, person=1).made["pose"] == 2

    @pytest.mark.parametrize("batch_size", [1, 2])
    def test_a_hundredth_person_has_no_map(self, photos, run, two, batch_size):
        line = run(photos, "densepose", weights=two, person=99, batch_size=batch_size).of["anna.png", "densepose"]
        assert line["reason"].endswith("people found, --person 99 is not among them")
        assert line["found"]

    def test_faces(self, photos, run, two):
        write_insightface(two, CATALOGUE["face-antelopev2"].files, boxes=((2.0, 6.0), (8.0, 12.0)))
        boxes = [run(photos, "face", weights=two, person=0).of["anna.png", "face"]["box"]]
        first = read_face(output(photos, "face", "anna"))
        shutil.rmtree(photos.parent / "photos_face")
        boxes.append(run(photos, "face", weights=two, person=1).of["anna.png", "face"]["box"])
        assert boxes[0] != boxes[1]
        assert not np.array_equal(first, read_face(output(photos, "face", "anna")))
        shutil.rmtree(photos.parent / "photos_face")
        result = run(photos, "face", weights=two, person=2)
        assert result.of["anna.png", "face"]["reason"] == "2 faces found, --person 2 is not among them"


def test_a_batch_fails_picture_by_picture(photos, pictures, run):
    (photos / "broken.jpg").write_bytes(b"no picture")
    pictures[2].save(photos / "wide.png")
    result = run(photos, "densepose", batch_size=3)
    assert result.made == {"densepose": 3}
    assert [failure.name for failure in result.failures] == ["broken.jpg"]
    together = read_iuv(output(photos, "densepose", "anna"))
    shutil.rmtree(photos.parent / "photos_densepose")
    run(photos, "densepose")
    alone = read_iuv(output(photos, "densepose", "anna"))
    assert (np.asarray(together) != np.asarray(alone)).any(axis=-1).mean() < 0.01


def test_a_texture_needs_a_map_of_the_pictures_size(photos, run, pictures):
    folder = photos.parent / "photos_densepose"
    folder.mkdir()
    Image.new("RGB", (9, 9), (90, 90, 2)).save(folder / "anna.png")
    result = run(photos, "texture")
    assert result.made == {}
    assert result.of["anna.png", "texture"]["reason"] == "the picture is 48x64, its DensePose map 9x9"
    assert "DensePose map not found" in result.of["sub/bert.jpg", "texture"]["reason"]


def test_pictures_that_would_share_their_files_are_refused(photos, pictures):
    pictures[2].save(photos / "anna.jpg")
    with pytest.raises(PgpisError, match=r"anna\.png and .*anna\.jpg would share their files: rename one"):
        find_pictures(photos, ["pose"])


def test_odd_files_cost_themselves(photos, weights, capsys, monkeypatch):
    """A name that is not UTF-8, a link to nowhere, a folder that is called like a picture, a picture of one row."""
    monkeypatch.setattr(jobs, "run_local", jobs.run_here)
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "anna.png").rename(photos / name)
    (photos / "gone.jpg").symlink_to("nowhere")
    (photos / "folder.png").mkdir()
    Image.new("RGB", (2000, 1)).save(photos / "row.png")
    words = ["prepare", str(photos), "--conditions=pose", f"--weights={weights}", "--workers=1", "--preview"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "gone.jpg: pose: picture not found" in told.out
    assert "folder.png" not in told.out + told.err
    assert output(photos, "pose", name[:-4]).is_file()
    (photos.with_name("photos_pose") / "row.json").unlink(missing_ok=True)
    (photos / "sub/bert.jpg").unlink()
    (photos / name).write_bytes(b"")
    output(photos, "pose", name[:-4]).unlink()
    assert main(words) == 1
    assert "caf\\udce9.png: pose: cannot read picture" in capsys.readouterr().out


def test_what_is_left_out_is_told(photos, run, caplog):
    """As ``pgpis predict`` does; the record and what was made of pictures in folders are not."""
    run(photos / "sub", "pose")
    for name in ("phone.HEIC", "sub/web.avif", ".hidden.gif"):
        (photos / name).write_bytes(b"")
    caplog.clear()
    find_pictures(photos, ["pose"])

    told = [record.getMessage() for record in caplog.records if "files are left out" in record.getMessage()]
    assert len(told) == 1
    assert f"{photos}: 2 files are left out, expected pictures (.jpg" in told[0]
    assert told[0].endswith(": phone.HEIC, web.avif")


def test_one_picture(photos):
    (files,) = find_pictures(photos / "anna.png", ["pose", "texture"])
    assert files.name == "anna.png"
    assert files.path("pose") == output(photos, "pose", "anna")
    assert files.path("densepose") == output(photos, "densepose", "anna")


@pytest.mark.parametrize("name", ["..", ".", "../sub/.."])
def test_a_folder_by_a_relative_name(name, photos, monkeypatch):
    monkeypatch.chdir(photos if name == "." else photos / "sub")
    files = next(files for files in find_pictures(Path(name), ["pose"]) if files.name == "anna.png")
    assert files.path("pose").resolve() == output(photos, "pose", "anna")


def test_a_damaged_record_loses_its_damaged_lines_only(photos, run):
    first = run(photos, "pose")
    record = photos / "prepare.jsonl"
    record.write_text("\n[1, 2]\nnull\n" + json.dumps(first.lines[0]) + "\n" + json.dumps(first.lines[1])[:-5])
    second = run(photos, "pose")
    assert second.lines == first.lines[:1]  # the files are there: nothing was done


class TestDataSets:
    """Data sets get their files where their own layout has them."""

    @pytest.fixture
    def bare(self, people, tmp_path):
        """The people without any condition."""
        root = tmp_path / "data"
        shutil.copytree(people, root)
        for pattern in ("pose", "*_densepose", "*_texture", "*_face"):
            for folder in root.glob(pattern):
                shutil.rmtree(folder)
        return root

    @pytest.mark.slow
    @pytest.mark.parametrize("layout", ["fpdm", "mcld"])
    def test_what_is_made_is_read_in_training(self, layout, bare, run):
        result = run(bare, layout=layout)
        assert result.made == dict.fromkeys(SUFFIXES, 4)  # of both splits
        assert not result.failures
        origins = ("source", "target", "pose", "iuv", "texture", "face")
        dataset = DeepFashion(bare, "train", layout=layout)
        dataset.setup()
        loaded = dataset.load(0, origins)
        assert not loaded.dropped
        paths = {"densepose": loaded.pair.file("iuv"), **{kind: loaded.pair.file(kind) for kind in ("texture", "face")}}
        for condition, path in paths.items():
            assert path.relative_to(bare).parts[0] == (condition if layout == "fpdm" else f"train_{condition}")
        assert loaded.conditions["iuv"].size == loaded.target.size
        assert loaded.conditions["texture"].size == (512, 512)
        assert loaded.conditions["face"].shape == (512,)
        assert loaded.keypoints.skeleton == "body18"
        assert loaded.keypoints.visible.any()

    def test_the_first_layout_is_taken_or_none(self, bare):
        auto = find_pictures(bare, ["pose"])
        assert all(files.path("pose").relative_to(bare).parts[0] == "pose" for files in auto)
        plain = find_pictures(bare / "train", ["pose"], "photos")
        assert [files.path("pose").parent.name for files in plain] == ["train_pose", "train_pose"]

    def test_what_another_layout_has_is_not_made_again(self, people, tmp_path, run):
        link_layout(people, tmp_path, "patn")
        shutil.copytree(people / "img", tmp_path / "img")
        for split in ("train", "test"):
            shutil.copy(people / f"{split}_pairs_data.json", tmp_path)
        tables = {path: path.read_bytes() for path in tmp_path.glob("*annotation*")}
        assert tables
        result = run(tmp_path, "pose")
        assert (result.made, result.already) == ({}, {"pose": 4})
        assert {path: path.read_bytes() for path in tables} == tables
        assert not (tmp_path / "pose").exists()

    def test_pictures_that_would_share_their_files(self, pictures, tmp_path):
        (tmp_path / "img").mkdir()
        for name in ("a.jpg", "a.png"):
            pictures[0].save(tmp_path / "img" / name)
        pairs = [{"source_image": "./img/a.jpg", "target_image": "./img/a.png"}]
        (tmp_path / "train_pairs_data.json").write_text(json.dumps(pairs))
        with pytest.raises(PgpisError, match=r"a\.png and .*a\.jpg would share their files: rename one"):
            find_pictures(tmp_path, ["pose"])

    def test_a_layout_that_is_not_there(self, bare):
        with pytest.raises(PgpisError, match="has no layout 'patn'") as caught:
            find_pictures(bare, ["pose"], "patn")
        assert f"pgpis data check {bare}" in caught.value.hint

    @pytest.mark.parametrize(
        ("layout", "condition"), [("nted", "texture"), ("patn", "face"), ("mcld", "face_mask"), ("pcdm", "pose")]
    )
    def test_a_layout_without_a_place(self, layout, condition, people, tmp_path):
        root = people
        if layout != "mcld":
            link_layout(people, tmp_path / "linked", layout)
            root = tmp_path / "linked"
        with pytest.raises(PgpisError, match=f"the layout '{layout}' of .* has no place for") as caught:
            find_pictures(root, [condition], layout)
        assert caught.value.hint.startswith(f"pgpis data link {root} --to mcld")


class TestGroundTruth:
    """On synthetic people, with the truth in place of detectors, what is prepared equals what the generator writes."""

    @pytest.fixture
    def drawn(self, people, tmp_path):
        """The pictures as they were drawn, without JPEG, and the maps that belong to them."""
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos_densepose").mkdir()
        entries = {f"{entry.person}_{entry.view}": entry for entry in read_manifest(people)}
        for name, entry in entries.items():
            Image.fromarray(entry.draw().rgb).save(tmp_path / f"photos/{name}.png")
            shutil.copyfile(self.generated(people, entry, "densepose"), tmp_path / f"photos_densepose/{name}.png")
        return entries

    @staticmethod
    def generated(people, entry, condition):
        """Where the generator wrote a condition of a picture."""
        name = tree_to_flat(entry.name.removeprefix("img/"))
        return (people / f"{entry.split}_{condition}" / name).with_suffix(SUFFIXES[condition])

    @pytest.mark.slow
    def test_textures(self, people, drawn, run, tmp_path):
        assert run(tmp_path / "photos", "texture").made == {"texture": len(drawn)}
        for name, entry in drawn.items():
            made = np.asarray(Image.open(tmp_path / f"photos_texture/{name}.png"))
            expected = np.asarray(Image.open(self.generated(people, entry, "texture")))
            np.testing.assert_array_equal(made, expected)
            assert (made > 0).any(axis=-1).mean() > 0.1

    @pytest.mark.slow
    def test_textures_of_photographs_are_the_mappers(self, people, run, tmp_path):
        root = tmp_path / "data"
        shutil.copytree(people, root)
        for split in ("train", "test"):
            shutil.rmtree(root / f"{split}_texture")
        assert run(root, "texture", layout="mcld").made == {"texture": 4}
        for path in sorted(root.glob("train/*.jpg")):
            image, iuv = np.asarray(read_image(path)), np.asarray(read_iuv(root / f"train_densepose/{path.stem}.png"))
            expected = TextureMapper()(image, np.ascontiguousarray(iuv[..., ::-1]))
            np.testing.assert_array_equal(np.asarray(Image.open(root / f"train_texture/{path.stem}.png")), expected)

    def test_faces(self, people, drawn, run, tmp_path, monkeypatch):
        codes = {np.asarray(entry.draw().rgb).tobytes(): entry for entry in drawn.values()}

        def encoder(picture):
            entry = codes[np.asarray(picture).tobytes()]
            box = entry.draw().face_box
            return [] if box is None else [Face(tuple(map(float, box)), face_code(entry.scene.identity))]

        monkeypatch.setattr(stages, "face_encoder", lambda _: encoder)
        stages.build_stage.cache_clear()
        try:
            result = run(tmp_path / "photos", "face")
        finally:
            stages.build_stage.cache_clear()
        made = 0
        for name, entry in drawn.items():
            expected = self.generated(people, entry, "face")
            ours = tmp_path / f"photos_face/{name}.npy"
            assert ours.is_file() == expected.is_file()
            if ours.is_file():
                assert ours.read_bytes() == expected.read_bytes()
                made += 1
        assert result.made == {"face": made}
        assert made


@pytest.mark.parametrize(
    ("pictures", "device", "processes"),
    [(3, "cpu", [2]), (3, "cuda", [1]), (40, "cpu", [2, 2, 2]), (40, "cuda", [1, 1, 2])],
)
def test_few_pictures_share_their_processes(settings, monkeypatch, pictures, device, processes):
    """Each has to load torch first."""
    started = []
    monkeypatch.setattr(jobs, "worker_pool", lambda count: contextlib.nullcontext(started.append(count)))
    todo = {"face": [None] * pictures, "pose": [None] * pictures, "texture": [None] * pictures, "densepose": []}
    with contextlib.ExitStack() as stack:
        pools = jobs._pools(todo, replace(settings, device=device), 2, stack)
    assert started == processes
    assert set(pools) == {"face", "pose", "texture"}


class TestCommand:
    """The command line."""

    @pytest.mark.slow
    def test_a_folder_in_processes(self, photos, weights, capsys):
        (photos / "broken.jpg").write_bytes(b"no picture")
        words = ["prepare", str(photos), "--conditions", "face,pose", "--weights", str(weights), "--workers", "1"]
        assert main([*words, "--preview", "2"]) == 1
        told = capsys.readouterr().out
        assert "face: 2 made" in told
        assert "pose: 2 made" in told
        assert "0 there already, 0 without, 1 failed" in told
        assert "broken.jpg: pose: cannot read picture" in told
        assert f"1 preview sheets in {photos.parent / 'photos_preview'}" in told
        (photos / "broken.jpg").unlink()
        assert main(words) == 0
        assert "pose: 0 made, 2 there already, 0 without, 0 failed" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "messages"),
        [
            (["{photos}", "--conditions", "pose,textur"], ["unknown 'textur'; did you mean 'texture'?"]),
            (["{photos}", "--workers", "0"], ["--workers is 0, expected a whole number of at least 1"]),
            (["{photos}", "--batch-size", "0"], ["--batch-size is 0"]),
            (["{photos}", "--person", "-1"], ["--person is -1"]),
            (["{photos}/nowhere"], ["folder not found", "nowhere"]),
            (
                ["{photos}", "--conditions", "texture", "--pose", "blazepose", "--face", "facexlib", "--device", "cpu"],
                ["--face, --pose would do nothing: what is made (densepose, texture) does not depend on that"],
            ),
            (["{photos}", "--compare", "--skeleton", "body18"], ["--skeleton would do nothing", "(densepose)"]),
            (["{photos}/empty"], ["no pictures in", "empty"]),
            (["{photos}", "--layout", "mcld"], ["has no layout 'mcld'"]),
            (["{photos}", "--densepose", "detectron2"], ["--densepose-weights FILE and --densepose-config FILE"]),
            (["{photos}", "--inpaint", "fats"], ["--inpaint", "'fats'", "exact", "fast"]),
            (["{photos}", "--skeleton", "wholebody133", "--pose", "body17"], ["needs --pose wholebody133"]),
        ],
    )
    def test_wrong_input_is_named(self, words, messages, photos, weights, capsys):
        (photos / "empty").mkdir()
        words = [word.format(photos=photos) for word in words]
        assert main(["prepare", "--weights", str(weights), *words]) == 2
        told = capsys.readouterr().err
        assert all(message in told for message in messages), told
        assert "Traceback" not in told
        assert outputs(photos) == {}

    @pytest.mark.parametrize(
        ("condition", "file", "name"),
        [
            ("pose", "yolox_m", "pose-detector"),
            ("densepose", "model_final_844d15.pkl", "densepose-r101-dl"),
            ("face", "scrfd_10g_bnkps.onnx", "face-antelopev2"),
            ("face_mask", "parsing_bisenet.pth", "facexlib-parsing"),
        ],
    )
    def test_missing_weights_are_named_before_anything_is_made(
        self, condition, file, name, photos, weights, tmp_path, capsys
    ):
        less = tmp_path / "less"
        shutil.copytree(weights, less)
        for path in list(less.rglob(f"*{file}*")):
            path.unlink()
        words = ["prepare", str(photos), "--conditions", f"pose,texture,{condition}", "--weights", str(less)]
        words += ["--pose", "wholebody133", "--densepose", "r101-dl"]
        (photos.parent / "photos_densepose").mkdir()
        for picture in ("anna", "sub/bert"):
            target = photos.parent / f"photos_densepose/{picture}.png"
            target.parent.mkdir(exist_ok=True)
            Image.new("RGB", (48, 64)).save(target)
            if condition == "densepose":
                target.unlink()
        assert main(words) == 2
        told = capsys.readouterr().err
        assert file in told
        assert f"pgpis weights fetch {name}" in told
        assert str(less) in told
        others = {"pose": "texture", "densepose": "pose"}.get(condition, "pose,texture")
        assert f"; --conditions {others} does without" in told
        assert not (photos.parent / "photos_pose").exists()
        assert not (photos / "prepare.jsonl").exists()

    def test_a_picture_that_is_no_chart_mask(self, photos, run):
        (photos.parent / "photos_densepose").mkdir()
        Image.new("RGB", (48, 64)).save(photos.parent / "photos_densepose/anna.png")
        with pytest.raises(PgpisError, match="chart mask"):
            run(photos, "texture", texture_mask=photos / "anna.png")

    def test_textures_of_another_way_to_inpaint_are_said(self, people, run, tmp_path, caplog):
        root = tmp_path / "data"
        shutil.copytree(people, root)
        shutil.rmtree(root / "train_texture")
        made = run(root, "texture", layout="mcld", inpaint="fast")
        assert made.made == {"texture": 2}
        assert {line["options"] for line in made.lines} == {"--inpaint fast"}
        path = min(root.glob("train/*.jpg"))
        image, iuv = np.asarray(read_image(path)), np.asarray(read_iuv(root / f"train_densepose/{path.stem}.png"))
        expected = TextureMapper(inpaint="fast")(image, np.ascontiguousarray(iuv[..., ::-1]))
        np.testing.assert_array_equal(np.asarray(Image.open(root / f"train_texture/{path.stem}.png")), expected)
        assert "were made with" not in caplog.text

        path = root / f"train_texture/{path.stem}.png"
        path.unlink()
        assert run(root, "texture", layout="mcld").made == {"texture": 1}
        assert "1 there were made with --inpaint fast, not --inpaint exact, and stay" in caplog.text

    def test_detectron2_without_its_files_or_itself(self, photos, run, tmp_path):
        given = {"densepose": "detectron2", "densepose_weights": tmp_path / "w.pkl", "densepose_config": photos}
        with pytest.raises(PgpisError, match="file not found: "):
            run(photos, "densepose", **given)
        for name in ("w.pkl", "c.yaml"):
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(PgpisError, match=r"needs detectron2\.config, which cannot be imported") as caught:
            run(photos, "densepose", **{**given, "densepose_config": tmp_path / "c.yaml"})
        assert "detectron2" in caught.value.hint


def test_equal_settings_share_their_models(settings):
    stages.build_stage.cache_clear()
    first = stages.build_stage("pose", settings)
    assert stages.build_stage("pose", replace(settings)) is first
    assert stages.build_stage("pose", replace(settings, pose="body17")) is not first
    stages.build_stage.cache_clear()


def test_threads_that_share_a_stage_do_not_share_its_doubts(photos, monkeypatch):
    """As two visitors of the page do."""
    monkeypatch.setattr(Stage, "classes", dict(Stage.classes))
    both_are_made = threading.Barrier(2)

    class DoubtingStage(Stage):
        condition = "pose"

        def make(self, picture, files):
            doubt = "" if files.name == "anna.png" else "may be a back"
            both_are_made.wait(10)
            return Uncertain((0, 0, *picture.size), doubt)

    stage, files = DoubtingStage(PrepareSettings()), find_pictures(photos, ["pose"])
    with ThreadPoolExecutor(2) as pool:
        outcomes = [outcome for (outcome,) in pool.map(stage, [[file] for file in files])]
    assert [(each.name, each.doubt, each.box) for each in outcomes] == [
        ("anna.png", "", (0, 0, 48, 64)),
        ("sub/bert.jpg", "may be a back", (0, 0, 48, 64)),
    ]


def test_hidden_files_are_no_frames_of_phoenix(pictures, tmp_path):
    frames = tmp_path / "PHOENIX-2014-T-release-v3/PHOENIX-2014-T/features/fullFrame-210x260px/train/walk"
    frames.mkdir(parents=True)
    pictures[0].save(frames / "images0001.png")
    (frames / "._images0001.png").write_bytes(b"AppleDouble")
    assert [files.picture for files in find_pictures(tmp_path, ["densepose"])] == [frames / "images0001.png"]


@pytest.mark.slow
def test_frames_of_phoenix_get_what_its_data_set_reads(run, tmp_path, monkeypatch):
    from pgpis.data import Phoenix14T
    from pgpis.synth.files import resuming
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions

    root = tmp_path / "phoenix"
    monkeypatch.setattr(resuming, "run_units", lambda units, work, _: [work(unit) for unit in units] and [])
    assert not make_dataset(root, DatasetOptions(3, 2, layout="phoenix", frames=2, seed=1)).failures
    dataset = Phoenix14T(root, "test")
    dataset.setup()
    pair = dataset.pairs[0]
    shutil.rmtree(pair.file("iuv").parents[2])
    result = run(root, "densepose", "texture", "face")
    assert not result.failures
    assert result.made["densepose"] == result.made["texture"] == result.made["face"] >= len(dataset)
    loaded = dataset.load(0, {"iuv", "texture", "face"})
    assert loaded.conditions["iuv"].size == Image.open(pair.source).size
    assert loaded.conditions["texture"].size == (512, 512)
    assert loaded.conditions["face"].shape == (512,)
    with pytest.raises(PgpisError, match="Phoenix has no place for 'pose'"):
        find_pictures(root, ["pose"])


def test_a_data_set_that_lacks_its_lists_alone_is_not_taken_for_photographs(tmp_path):
    (tmp_path / "img/anna").mkdir(parents=True)
    Image.new("RGB", (44, 64)).save(tmp_path / "img/anna/0.jpg")
    for layout in ("auto", "fpdm"):
        with pytest.raises(PgpisError, match=r"train_pairs_data\.json") as error:
            find_pictures(tmp_path, ["pose"], layout)
        assert "write the list" in error.value.hint
    (file,) = find_pictures(tmp_path, ["pose"], "photos")
    assert file.name == "img/anna/0.jpg"
    Image.new("RGB", (44, 64)).save(tmp_path / "beside.jpg")
    assert len(find_pictures(tmp_path, ["pose"])) == 2
