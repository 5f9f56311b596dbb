"""``pgpis predict`` on nothing but photographs, for both models."""

import csv
import json
import os
import shutil

import av
import numpy as np
import pytest
from PIL import Image

import tiny_models
from pgpis.cli import main
from pgpis.data.picture_store import content_hash
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.videos import FrameFiles, write_video
from pgpis.predictions import read_mark
from pgpis.preprocess.photos import PhotoPairs

pytestmark = pytest.mark.usefixtures("small_densepose")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return tiny_models.write_all(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def photos(toy_root, tmp_path):
    """Two sources and two driving photographs, one of which is broken."""
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    images = sorted((toy_root / "img").rglob("*.jpg"))
    for folder in ("sources", "driving"):
        (tmp_path / folder).mkdir()
    for name, image in (
        ("sources/anna.jpg", images[0]),
        ("sources/bert.jpg", images[3]),
        ("driving/walk.jpg", images[1]),
    ):
        shutil.copy(image, tmp_path / name)
    Image.open(images[2]).save(tmp_path / "driving/jump.png")
    return tmp_path


def arguments(photos, weights, pipeline, recipe, *more, out="out"):
    is_made = any(str(word).startswith(("--driving", "--prepare")) for word in more)
    return [
        "predict",
        f"--config=smoke/{recipe}.yaml",
        f"--pipeline={pipeline}",
        f"--sources={photos / 'sources'}",
        f"--out={photos / out}",
        *([f"--prepare-weights={weights}"] if is_made else []),
        "--steps=2",
        "--trainer.accelerator=cpu",
        *map(str, more),
    ]


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["pair_id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def fpdm(trained_fpdm):
    return trained_fpdm / "pipeline"


@pytest.fixture
def mcld(trained_mcld):
    return trained_mcld / "pipeline"


@pytest.mark.slow
def test_poses_come_from_driving_photographs(fpdm, photos, weights):
    (photos / "driving/broken.jpg").write_text("no picture")
    words = arguments(photos, weights, fpdm, "fpdm", f"--driving={photos}/driving", f"--save-conditions={photos}/kept")
    assert main(words) == 1
    rows = table(photos / "out")
    assert {name for name, row in rows.items() if row["status"] == "done"} == {
        f"{source}_2_{pose}" for source in ("anna", "bert") for pose in ("walk", "jump")
    }
    assert "cannot read picture" in rows["anna_2_broken"]["status"]
    assert rows["anna_2_walk"]["pose"].endswith("driving/walk.jpg")
    kept = sorted((photos / "kept/pose").glob("*.json"))
    assert [path.name.rpartition("-")[0] for path in kept] == ["jump", "walk"]
    assert read_keypoints(kept[0]).frame.height == Image.open(photos / "driving/jump.png").height
    # the same poses as files give the same pictures
    (photos / "poses").mkdir()
    for path in kept:
        shutil.copy(path, photos / f"poses/{path.name.rpartition('-')[0]}.json")
    assert main(arguments(photos, weights, fpdm, "fpdm", f"--poses={photos}/poses", out="files")) == 0
    for name in ("anna_2_walk", "bert_2_jump"):
        ours, files = (np.asarray(Image.open(photos / out / f"{name}.png")) for out in ("out", "files"))
        np.testing.assert_array_equal(ours, files)


@pytest.mark.slow
def test_poses_come_from_a_driving_video(fpdm, photos, weights, capsys):
    """Its frames are kept, and the result is a video again, at the rate at which they were taken."""
    frames = [FrameFiles((photos / "driving/walk.jpg",)) for _ in range(4)]
    write_video(photos / "clip.mp4", frames, 12)
    words = [f"--driving={photos}/clip.mp4", "--every=2", f"--save-conditions={photos}/kept"]
    assert main(arguments(photos, weights, fpdm, "fpdm", *words)) == 0
    rows = table(photos / "out")
    assert sorted(rows) == [f"{name}_2_clip_00000{number}" for name in ("anna", "bert") for number in (1, 3)]
    for name in ("anna", "bert"):
        with av.open(photos / f"out/videos/{name}_2_clip.mp4") as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.frames, stream.average_rate) == ("h264", 2, 6)
    capsys.readouterr()
    assert main(arguments(photos, weights, fpdm, "fpdm", *words, out="again")) == 0
    assert "making pose" not in capsys.readouterr().err


@pytest.mark.slow
def test_kept_conditions_are_those_of_the_content_and_the_tools(fpdm, photos, weights):
    driving, kept = photos / "driving/walk.jpg", photos / "kept"
    words = arguments(photos, weights, fpdm, "fpdm", f"--driving={driving}", f"--save-conditions={kept}")
    assert main(words) == 0

    def times():
        return {path.name: path.stat().st_mtime_ns for path in (photos / "out").glob("[!.]*_2_*.png")}

    first, time = times(), driving.stat()
    assert main(words) == 0
    assert times() == first
    Image.open(photos / "driving/jump.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(driving)
    os.utime(driving, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert main(words) == 0
    assert all(first[name] != changed for name, changed in times().items())
    assert main([*words, "--prepare-pose-threshold=0.2"]) == 0
    assert len(list((kept / "pose").glob("walk-*.json"))) == 3


@pytest.mark.slow
def test_retargeting_moves_the_pose(fpdm, photos, weights):
    for out, more in (("plain", []), ("moved", ["--retarget"])):
        words = arguments(photos, weights, fpdm, "fpdm", f"--driving={photos}/driving/walk.jpg", *more, out=out)
        assert main(words) == 0
    plain, moved = (np.asarray(Image.open(photos / out / "anna_2_walk.png")) for out in ("plain", "moved"))
    assert (plain != moved).any()


@pytest.mark.slow
def test_mcld_makes_textures_faces_and_maps(mcld, photos, weights, capsys):
    words = arguments(photos, weights, mcld, "mcld", f"--driving={photos}/driving", f"--save-conditions={photos}/kept")
    assert main(words) == 0
    assert {row["status"] for row in table(photos / "out").values()} == {"done"}
    count = {kind.name: len(list(kind.iterdir())) for kind in (photos / "kept").iterdir() if kind.is_dir()}
    assert count == {"densepose": 4, "texture": 2, "face": 2}
    lines = [json.loads(line) for line in (photos / "kept/prepare.jsonl").read_text().splitlines()]
    assert {line["reason"] for line in lines} == {None}
    capsys.readouterr()
    edit = [f"--identity={photos}/driving/walk.jpg", f"--clothes=upper={photos}/driving/jump.png"]
    assert main([*words, *edit]) == 0
    assert len(list((photos / "out").glob("*_2_*.png"))) == 8
    again = capsys.readouterr().err
    assert "making densepose and texture of 2 photographs" in again
    assert "making face of 1 photographs" in again


def test_what_was_made_of_an_earlier_picture_is_made_anew(photos):
    """That of the other source, and what no record knows, is taken as it is."""
    sources, names = photos / "sources", ("anna", "bert")
    for condition in ("texture", "densepose"):
        (photos / f"sources_{condition}").mkdir()
        for name in names:
            Image.new("RGB", (512, 512)).save(photos / f"sources_{condition}/{name}.png")
    line = {"condition": "texture", "reason": None}
    lines = [{**line, "name": f"{name}.jpg", "content": content_hash(sources / f"{name}.jpg")} for name in names]
    (sources / "prepare.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copy(photos / "driving/walk.jpg", sources / "anna.jpg")
    pairs = PhotoPairs(sources, photos / "driving", save_conditions=photos / "kept")
    textures = [pairs.made_of(sources / f"{name}.jpg", "source")["texture"] for name in names]
    assert textures[0].parent == photos / "kept/texture"
    assert textures[1] == photos / "sources_texture/bert.png"
    assert pairs.map_of(sources / "anna.jpg") == photos / "sources_densepose/anna.png"


@pytest.mark.slow
def test_a_picture_of_a_photographed_pose_is_made_again(fpdm, photos, weights, capsys):
    """Its mark holds the pose, as it was retargeted; or the photograph is given again, and the tools are the same."""
    driving, pose = f"--driving={photos}/driving/walk.jpg", "--prepare-pose-threshold=0.25"
    assert main(arguments(photos, weights, fpdm, "fpdm", driving, pose, "--retarget")) == 0
    first = photos / "out/bert_2_walk.png"
    assert read_mark(first).provenance["tools"]["pose_threshold"] == 0.25
    shutil.copy(photos / "sources/bert.jpg", photos / "me.jpg")
    for out, more in (("pose", []), ("photo", [driving, f"--prepare-weights={weights}"])):
        model = ["--config=smoke/fpdm.yaml", f"--pipeline={fpdm}"]
        words = [f"--like={first}", *model, f"--sources={photos}/me.jpg", f"--out={photos}/{out}", *more]
        assert main(["predict", *words, "--trainer.accelerator=cpu"]) == 0
        (result,) = (photos / out).glob("me_2_*.png")
        assert result.read_bytes() == first.read_bytes()
        assert "again, byte for byte" in capsys.readouterr().err


@pytest.mark.slow
def test_an_edited_picture_is_made_again_of_the_same_photographs(mcld, photos, weights, capsys):
    driving = f"--driving={photos}/driving/walk.jpg"
    edit = f"--clothes=upper={photos}/driving/jump.png"
    assert main(arguments(photos, weights, mcld, "mcld", driving, edit, "--prepare-inpaint=fast")) == 0
    (first,) = (photos / "out").glob("bert_2_*.png")
    provenance = read_mark(first).provenance
    assert provenance["tools"]["made"] == ["densepose", "texture", "face"]
    assert set(provenance["files"]) == {"source", "iuv", "texture", "face"}
    assert "bert" not in json.dumps(provenance)
    same = [
        "--like",
        first,
        "--config=smoke/mcld.yaml",
        "--pipeline",
        mcld,
        "--sources",
        photos / "sources/bert.jpg",
        "--prepare-weights",
        weights,
    ]
    words = ["predict", *map(str, same), driving, "--trainer.accelerator=cpu"]
    assert main([*words, edit, f"--out={photos}/again"]) == 0
    (result,) = (photos / "again").glob("bert_2_*.png")
    assert result.read_bytes() == first.read_bytes()
    capsys.readouterr()
    assert main([*words, f"--out={photos}/plain"]) == 0
    assert "not the same picture: the edit is another" in capsys.readouterr().err
    assert main([*words[:-2], f"--out={photos}/none"]) == 2
    assert "holds no key points" in capsys.readouterr().err


@pytest.mark.slow
def test_a_map_of_key_points_is_made_again_of_those_in_the_mark(toy_root, mcld, photos, weights):
    pose = f"--poses={sorted((toy_root / 'pose').rglob('*.txt'))[1]}"
    source = f"--sources={photos}/sources/bert.jpg"
    assert main(arguments(photos, weights, mcld, "mcld", pose, "--prepare", source)) == 0
    (first,) = (photos / "out").glob("bert_2_*.png")
    assert "iuv" not in read_mark(first).provenance["files"]
    words = [f"--like={first}", "--config=smoke/mcld.yaml", f"--pipeline={mcld}", source, f"--out={photos}/again"]
    assert main(["predict", *words, f"--prepare-weights={weights}", "--trainer.accelerator=cpu"]) == 0
    (result,) = (photos / "again").glob("bert_2_*.png")
    assert result.read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_faces_may_be_absent(mcld, photos, tmp_path_factory, capsys):
    nobody = tiny_models.write_all(tmp_path_factory.mktemp("nobody"))
    tiny_models.write_insightface(nobody, tiny_models.CATALOGUE["face-antelopev2"].files, boxes=())
    driving = f"--driving={photos}/driving/walk.jpg"
    assert main(arguments(photos, nobody, mcld, "mcld", driving)) == 2
    said = capsys.readouterr().err
    assert "no face embedding" in said or "no faces found" in said
    assert main(arguments(photos, nobody, mcld, "mcld", driving, "--missing-face=drop", out="dropped")) == 0
    assert len(list((photos / "dropped").glob("*_2_*.png"))) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--driving={photos}/driving", "--poses={photos}/driving"], "exclude each other"),
        (["--poses={photos}/driving", "--retarget"], "go with --driving"),
        (["--poses={photos}/driving", "--prepare", "--retarget"], "--driving FOLDER in place of --poses"),
        (["--driving={photos}/kept"], "kept"),
        (["--driving={photos}/walk.txt"], "unknown suffix '.txt', expected one video, or driving photographs (.jpg"),
        (["--driving={photos}/dance.gif"], "unknown suffix '.gif', expected one video, or driving photographs (.jpg"),
        (["--driving={photos}/empty.mp4"], "empty.mp4 is empty, expected a video"),
        (["--driving={photos}/no.mp4"], "no.mp4"),
        (["--poses={photos}/driving", "--prepare", "--every=2"], "--every goes with a video"),
        (["--poses={photos}/clip.mp4"], "--driving takes the poses from a video"),
        (
            ["--driving={photos}/driving", "--prepare-densepose=lifter", "--prepare-inpaint=exact"],
            "--prepare-densepose, --prepare-inpaint would do nothing: what is made (pose) does not depend on that",
        ),
        (
            ["--poses={photos}/driving", "--prepare", "--prepare-pose-threshold=0.3"],
            "--prepare-pose-threshold would do nothing: nothing is made of photographs",
        ),
        (
            ["--driving={photos}/driving/walk.jpg", "--prepare-person=9"],
            "--person 9 is not among them; --prepare-person counts in sources and driving pictures alike",
        ),
        (
            ["--driving={photos}/driving", "--prepare-weights={photos}", "--prepare-pose=wholebody133"],
            "pgpis weights fetch pose-detector",
        ),
    ],
)
def test_wrong_options_are_named(fpdm, photos, weights, more, message, capsys):
    for name in ("walk.txt", "dance.gif", "empty.mp4"):
        (photos / name).touch()
    words = arguments(photos, weights, fpdm, "fpdm", *(word.format(photos=photos) for word in more))
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_tools_that_mcld_does_not_read_are_refused(mcld, photos, weights, capsys):
    driving = f"--driving={photos}/driving/walk.jpg"
    assert main(arguments(photos, weights, mcld, "mcld", driving, "--prepare-pose-threshold=0.9")) == 2
    told = "--prepare-pose-threshold would do nothing: what is made (densepose, texture, face) does not depend on that"
    assert told in capsys.readouterr().err
