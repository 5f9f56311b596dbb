"""Requests to pictures: the same as ``pgpis predict`` makes, shared models, and what is refused."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hostile_pictures import png
from pgpis.app.poses import named_poses
from pgpis.cli import main
from pgpis.cli.models import load_task
from pgpis.errors import PgpisError
from pgpis.models.factory import build_sampler
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.predictions import read_mark
from pgpis.preprocess.settings import PrepareSettings
from pgpis.studio.request import Drawing, PictureRequest
from pgpis.studio.studio import Studio
from pgpis.studio.uploads import OtherKindError, TooManyPixelsError, picture_suffix

SMALL = Drawing(steps=1, size=(128, 96))
TOOL_WORDS = {
    "FPDM": ["--prepare-pose", "blazepose"],
    "MCLD": ["--prepare-densepose", "lifter", "--prepare-inpaint", "fast"],
}
TOOLS = PrepareSettings(pose="blazepose", densepose="lifter", inpaint="fast")


@pytest.fixture(scope="module")
def studio():
    loaded = []

    def load(pipeline):
        loaded.append(pipeline)
        return load_task(pipeline)

    studio = Studio(load, {"FPDM": "synth-fpdm", "MCLD": "synth-mcld"}, TOOLS)
    yield studio
    assert sorted(loaded) == sorted(set(loaded)), "a model was loaded twice"


@pytest.fixture(scope="module")
def people(draw_people, tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_people(root, people=2, views=2, seed=3, share=0.5)
    return sorted((root / "img").rglob("*.jpg"))


def made(studio, model, requests, folder, **options):
    read = [studio.read(model, request, folder) for request in requests]
    return [[np.asarray(one.image) for one in each] for each in studio.draw(model, read, **options)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["FPDM", "MCLD"])
def test_pictures_are_those_of_predict(studio, people, tmp_path, model):
    request = PictureRequest(
        source=people[0], pose=people[3], driving=True, drawing=Drawing(steps=1, seed=7, pictures=2)
    )
    (drawn,) = studio.draw(model, [studio.read(model, request, tmp_path / "conditions")])
    words = ["predict", "--pipeline", studio.pipelines[model], "--sources", people[0], "--driving", people[3]]
    drawing = ["--steps", 1, "--seed", 7, "--images-per-pair", 2, "--out", tmp_path / "out"]
    face = ["--missing-face", "drop"] if model == "MCLD" else []
    assert main([str(word) for word in (*words, *TOOL_WORDS[model], *drawing, *face)]) == 0
    files = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.png"))]
    assert files == [prediction.png() for prediction in drawn]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["FPDM", "MCLD"])
def test_pictures_of_several_photographs_are_those_of_predict(studio, people, tmp_path, model):
    person = tmp_path / "people" / people[0].stem
    person.mkdir(parents=True)
    photos = [person / name for name in ("1.jpg", "2.jpg", "3.jpg")]
    for photo, picture in zip(photos, (people[0], people[1], people[2]), strict=True):
        photo.write_bytes(picture.read_bytes())
    request = PictureRequest(
        source=people[0], further=(people[1], people[2]), pose=people[3], driving=True, drawing=replace(SMALL, seed=5)
    )
    read = studio.read(model, request, tmp_path / "conditions")
    ((prediction,),) = studio.draw(model, [read])
    alone = studio.read(model, replace(request, further=()), tmp_path / "conditions")
    assert [name for name in read.seen if name not in alone.seen][:2] == ["source 2", "source 3"]
    if model == "MCLD":
        textures = [np.asarray(read.seen[f"texture map of source {number}"]) for number in (1, 2, 3)]
        assert np.array_equal(textures[0], np.asarray(alone.seen["texture map"]))
        merged = np.asarray(read.seen["texture map"])
        assert not any(np.array_equal(merged, texture) for texture in textures)

    words = ["predict", "--pipeline", studio.pipelines[model], "--sources", tmp_path / "people"]
    words += ["--sources-by", "person", "--driving", people[3], "--out", tmp_path / "out", "--steps", 1, "--seed", 5]
    words += TOOL_WORDS[model]
    words += ["--missing-face", "drop"] if model == "MCLD" else []
    size = ["--model.init_args.sampling.height", 128, "--model.init_args.sampling.width", 96]
    assert main([str(word) for word in (*words, *size)]) == 0
    (picture,) = (tmp_path / "out").glob("*.png")
    assert picture.read_bytes() == prediction.png()

    (tmp_path / "taken.png").write_bytes(prediction.png())
    words = ["predict", "--like", tmp_path / "taken.png", "--sources", tmp_path / "people", "--sources-by", "person"]
    assert main([str(word) for word in (*words, "--driving", people[3], "--out", tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again").glob("*.png")
    assert again.read_bytes() == prediction.png()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["FPDM", "MCLD"])
def test_a_picture_of_dragged_points_is_made_again_from_its_mark(studio, people, tmp_path, model):
    pose = named_poses()["Waving"]
    write_keypoints(tmp_path / "pose.json", pose)
    request = PictureRequest(source=people[0], pose=tmp_path / "pose.json", drawing=Drawing(steps=1, seed=3))
    ((prediction,),) = studio.draw(model, [studio.read(model, request, tmp_path / "conditions")])
    (tmp_path / "taken.png").write_bytes(prediction.png())
    renamed = tmp_path / "somebody.jpg"
    renamed.write_bytes(people[0].read_bytes())
    words = ["predict", "--like", tmp_path / "taken.png", "--sources", renamed, "--out", tmp_path / "again"]
    assert main([str(word) for word in words]) == 0
    (again,) = (tmp_path / "again").glob("*.png")
    assert again.read_bytes() == prediction.png()


def test_marks_of_a_sampler_with_settings_that_are_not_finite(studio, people, tmp_path, monkeypatch):
    task = studio.task("FPDM")
    monkeypatch.setattr(
        task, "scheduler", build_sampler(task.scheduler, {"_class_name": "DPMSolverMultistepScheduler"})
    )
    request = PictureRequest(source=people[0], pose=people[3], driving=True, drawing=SMALL)
    ((prediction,),) = studio.draw("FPDM", [studio.read("FPDM", request, tmp_path)])
    (tmp_path / "taken.png").write_bytes(prediction.png())
    assert read_mark(tmp_path / "taken.png").settings["scheduler_config"]["lambda_min_clipped"] == "-inf"


def test_marks_can_be_left_out(studio, people, tmp_path, monkeypatch):
    monkeypatch.setattr(studio, "mark", False)
    request = PictureRequest(source=people[0], pose=people[3], driving=True, drawing=SMALL)
    ((prediction,),) = studio.draw("FPDM", [studio.read("FPDM", request, tmp_path)])
    assert Image.open(io.BytesIO(prediction.png())).info == {}


@pytest.mark.slow
def test_requests_of_one_batch_do_not_mix(studio, people, tmp_path):
    requests = [PictureRequest(source=source, pose=people[3], driving=True, drawing=SMALL) for source in people[:3:2]]
    together = made(studio, "FPDM", requests, tmp_path)
    for request, (picture,) in zip(requests, together, strict=True):
        ((alone,),) = made(studio, "FPDM", [request], tmp_path)
        assert np.abs(alone.astype(int) - picture).max() <= 1
    assert np.abs(together[0][0].astype(int) - together[1][0]).mean() > 5


def test_steps_are_told_and_can_end_it(studio, people, tmp_path):
    request = PictureRequest(source=people[0], pose=people[3], driving=True, drawing=Drawing(steps=3, size=(128, 96)))
    read = studio.read("FPDM", request, tmp_path)
    assert read.seen["pose"].size == (96, 128)
    steps = []

    def stop(step, count, preview):
        steps.append((step, count, preview().size))
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        studio.draw("FPDM", [read], stop)
    assert steps == [(1, 3, (96, 128)), (2, 3, (96, 128))]
    assert studio.task("FPDM").on_denoising_step is None


@pytest.mark.slow
def test_what_cannot_be_is_refused(studio, people, tmp_path):
    for wrong in ({"steps": 0}, {"pictures": 99}, {"size": (100, 96)}, {"size": (4096, 96)}, {"seed": -1}):
        with pytest.raises(PgpisError, match=next(iter(wrong)).replace("size", "height")):
            Drawing(**wrong)
    nobody = tmp_path / "wall.png"
    Image.new("RGB", (176, 256), "grey").save(nobody)
    with pytest.raises(PgpisError, match=r"wall\.png"):
        studio.read("FPDM", PictureRequest(source=people[0], pose=nobody, driving=True, drawing=SMALL), tmp_path)
    with pytest.raises(PgpisError, match="is no model 'FPDN'"):
        studio.task("FPDN")
    with pytest.raises(PgpisError, match="5 pictures of the person, expected at most 4"):
        PictureRequest(source=people[0], further=(people[1],) * 4, pose=people[3], driving=True)
    several = PictureRequest(source=people[0], further=(nobody,), pose=people[3], driving=True, drawing=SMALL)
    with pytest.raises(PgpisError, match=r"wall\.png"):
        studio.read("MCLD", several, tmp_path)
    edited = PictureRequest(source=people[0], pose=people[3], driving=True, identity=people[2], drawing=SMALL)
    with pytest.raises(PgpisError, match="cannot exchange"):
        studio.read("FPDM", edited, tmp_path)
    assert studio.can_edit("MCLD")
    assert not studio.can_edit("FPDM")


def test_models_run_where_their_tools_do(monkeypatch):
    monkeypatch.setattr("pgpis.preprocess.settings.check_device_name", lambda _: None)  # it stands for a GPU
    studio = Studio(lambda _: torch.nn.Linear(2, 2), {"net": "net"}, PrepareSettings(device="meta"))
    assert {weight.device.type for weight in studio.task("net").parameters()} == {"meta"}


def test_what_fits_into_memory_is_remembered(studio, people, tmp_path, monkeypatch):
    request = PictureRequest(source=people[0], pose=people[3], driving=True, drawing=SMALL)
    read = studio.read("FPDM", request, tmp_path)
    task, sizes = studio.task("FPDM"), []
    sample = type(task).sample

    def within_memory(self, batch, images_per_pair=1):
        sizes.append(len(batch["pair_id"]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("no more")
        return sample(self, batch, images_per_pair)

    monkeypatch.setattr(type(task), "sample", within_memory)
    monkeypatch.setattr(task, "most_pairs", None)
    for _ in range(2):
        studio.draw("FPDM", [read, read])
    assert sizes == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"GIF89a" + bytes(99), OtherKindError, "photo is not a PNG, JPEG or WebP picture"),
        (b"", OtherKindError, "first bytes are damaged"),
        (png(11, 10), TooManyPixelsError, "photo has 11 x 10 pixels, expected at most 100"),
        (png(30_000, 30_000), TooManyPixelsError, "photo"),
    ],
)
def test_pictures_of_strangers_are_looked_at_before_they_are_decoded(content, error, message):
    with pytest.raises(error, match=message):
        picture_suffix(io.BytesIO(content), "photo", 100)


def test_the_suffix_is_that_of_the_content():
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".jpg", "MPO")):
        file = io.BytesIO()
        picture, more = Image.new("RGB", (10, 10)), {"save_all": True, "append_images": [Image.new("RGB", (10, 10))]}
        picture.save(file, kind, **(more if kind == "MPO" else {}))
        assert picture_suffix(io.BytesIO(file.getvalue()), "photo", 100) == suffix


def test_models_are_loaded_one_after_the_other():
    """Loading two at a time left weights out: diffusers' way to make modules without them is not that of a thread."""
    at_work, most = [], []

    def load(pipeline):
        at_work.append(pipeline)
        most.append(len(at_work))
        time.sleep(0.1)
        at_work.remove(pipeline)
        return torch.nn.Linear(2, 2)

    studio = Studio(load, {name: name for name in "abc"}, PrepareSettings(device="cpu"))
    with ThreadPoolExecutor(6) as pool:
        tasks = list(pool.map(studio.task, "abcabc"))
    assert most == [1, 1, 1]
    assert tasks[:3] == tasks[3:]


def test_a_picture_that_is_drawn_holds_up_no_other_request(studio, people, tmp_path):
    request = PictureRequest(source=people[0], pose=people[3], driving=True, drawing=SMALL)
    read = studio.read("FPDM", request, tmp_path)
    with ThreadPoolExecutor(1) as pool:

        def meanwhile(step, count, preview):
            assert pool.submit(studio.read, "FPDM", request, tmp_path).result(timeout=60).drawing == SMALL

        assert len(studio.draw("FPDM", [read], meanwhile)) == 1
