"""What a worker makes of jobs that it took together: batches, and failures of one that are not the others'."""

import base64
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hostile_pictures import encoded
from pgpis.cli.models import load_task
from pgpis.errors import PgpisError
from pgpis.predictions import Prediction
from pgpis.preprocess.settings import PrepareSettings
from pgpis.service.drawing import draw_jobs, failure
from pgpis.service.jobs import Job, Upload
from pgpis.studio.request import Drawing
from pgpis.studio.studio import Read, Studio

SMALL = Drawing(steps=1, size=(128, 96))
TOOLS = PrepareSettings(pose="blazepose", densepose="lifter", inpaint="fast")


class Easel:
    """Stands in for a studio: draws a job's own colour, and fails where it is told."""

    def __init__(self):
        self.batches = []

    def read(self, model, request, folder):
        text = request.source.read_text()
        if text == "nobody":
            raise PgpisError(f"{request.source}: nobody is to be seen", hint="another picture")
        if text == "no map":
            raise PgpisError(f"no map: {request.source.parent}_densepose/pose.png, {folder / 'pose/a-1.json'}")
        if text == "broken":
            raise KeyError("a fault of ours")
        return Read(SimpleNamespace(text=text), request.drawing)

    def draw(self, model, reads):
        self.batches.append((model, [read.batch.text for read in reads]))
        if any(read.batch.text == "unfit" for read in reads):
            raise PgpisError("its numbers are not finite")
        record = SimpleNamespace(seed=1)
        return [[Prediction(record, Image.new("RGB", (4, 4), read.batch.text))] for read in reads]


def job(source, model="a", drawing=SMALL, further=0):
    files = {"source": Upload(source.encode(), ".jpg"), "pose": Upload(b"1 2", ".txt")}
    return Job(model=model, drawing=drawing, files=files, further=(files["source"],) * further)


def colour(answer):
    return Image.open(io.BytesIO(answer.body)).getpixel((0, 0))


def test_equal_settings_are_drawn_together(tmp_path):
    easel, other = Easel(), replace(SMALL, seed=5)
    several = [job(colour, further=2) for colour in ("navy", "teal")]
    jobs = [
        job("red"),
        job("lime", "b"),
        several[0],
        job("blue"),
        job("white", drawing=other),
        job("black"),
        several[1],
    ]
    answers = draw_jobs(easel, jobs, tmp_path)
    groups = [("a", ["red", "blue", "black"]), ("b", ["lime"]), ("a", ["navy", "teal"]), ("a", ["white"])]
    assert easel.batches == groups, "sources of other numbers cost more together"
    assert [colour(answer) for answer in answers] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 128),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
        (0, 128, 128),
    ]
    assert [answer.drawn_together for answer in answers] == [3, 1, 2, 0, 1, 0, 0], "each drawing is told once"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "hint", "told"),
    [
        ("no limb is seen", "leave --retarget out", "leave retarget out"),
        (
            "it is black",
            "--driving takes photographs; --poses takes points",
            "driving takes photographs; pose takes points",
        ),
        ("far outside", "give the size: --data.predict.init_args.pose_size '[H, W]'", None),
        (
            "no map",
            "pgpis prepare FOLDER --conditions densepose; --driving takes photographs",
            "driving takes photographs",
        ),
        ("too much memory", "--dtype bf16, --vae-tiling or fewer --images-per-pair", None),
        ("nobody", None, None),
    ],
)
def test_clients_are_told_no_options_of_the_command_line(message, hint, told):
    answer = failure(PgpisError(message, hint=hint), job("red"))
    assert json.loads(answer.body)["error"] == {"message": message, "hint": told}


def test_one_that_cannot_be_read_fails_alone(tmp_path):
    answers = draw_jobs(Easel(), [job("red"), job("nobody"), job("broken"), job("blue"), job("no map")], tmp_path)
    assert [answer.status for answer in answers] == [200, 422, 500, 200, 422]
    assert json.loads(answers[4].body)["error"]["message"] == "no map: pose.png, a-1.json"
    error = json.loads(answers[1].body)["error"]
    assert error == {"message": "source.jpg: nobody is to be seen", "hint": "another picture"}
    assert "fault" not in answers[2].body.decode()
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_drawn_fails_alone(tmp_path):
    easel = Easel()
    answers = draw_jobs(easel, [job("red"), job("unfit"), job("blue")], tmp_path)
    assert [answer.status for answer in answers] == [200, 422, 200]
    assert len(easel.batches) == 4
    assert colour(answers[2]) == (0, 0, 255)


@pytest.mark.slow
def test_pictures_are_those_of_the_studio(drawn_people, tmp_path):
    studio = Studio(load_task, {"FPDM": "synth-fpdm"}, TOOLS)

    def asked(source, **options):
        files = {"source": Upload(source, ".jpg"), "driving": Upload(drawn_people[3], ".jpg")}
        return Job(model="FPDM", drawing=SMALL, files=files, **options)

    further = (Upload(drawn_people[1], ".jpg"),) * 2
    jobs = [asked(drawn_people[0]), asked(drawn_people[2], as_json=True, wants_seen=True)]
    first, second, several = draw_jobs(
        studio, [*jobs, asked(drawn_people[0], further=further, as_json=True, wants_seen=True)], tmp_path
    )
    (alone,) = draw_jobs(studio, jobs[:1], tmp_path)
    assert first.drawn_together == 2

    ((own,),) = studio.draw("FPDM", [studio.read("FPDM", jobs[0].lay_out(tmp_path), tmp_path)])
    assert np.array_equal(pixels(alone.body), np.asarray(own.image))
    assert np.abs(pixels(first.body) - pixels(alone.body)).max() <= 1
    content = json.loads(second.body)
    assert content["model"] == "FPDM"
    assert len(content["pictures"]) == 1
    assert np.abs(pixels(base64.b64decode(content["pictures"][0]["png"])) - pixels(first.body)).mean() > 5
    assert pixels(base64.b64decode(content["seen"]["pose"])).shape == (128, 96, 3)
    assert Image.open(io.BytesIO(first.body)).getexif() == {}
    seen = json.loads(several.body)["seen"]
    assert seen.keys() == {*content["seen"], "source 2", "source 3"}
    assert seen["source 2"] == seen["source 3"] != seen["source"]
    (own,) = json.loads(several.body)["pictures"]
    assert not np.array_equal(pixels(base64.b64decode(own["png"])), pixels(alone.body)), "what they show is not used"


@pytest.mark.slow
def test_clients_are_told_neither_options_nor_places(drawn_people, tmp_path):
    studio = Studio(load_task, {"FPDM": "synth-fpdm", "MCLD": "synth-mcld"}, TOOLS)
    photo, blank, long = (
        Upload(drawn_people[0], ".jpg"),
        *(Upload(encoded(Image.new("RGB", size, "grey"), "PNG"), ".png") for size in ((96, 128), (300, 5))),
    )
    points = [coordinate for number in range(18) for coordinate in (40 + 3 * number, 20 + 12 * number, 0.9)]
    no_canvas = Upload(json.dumps({"people": [{"pose_keypoints_2d": points}]}).encode(), ".json")
    bad = [
        {"source": long, "driving": photo},
        {"source": photo, "driving": blank},
        {"source": photo, "driving": long},
        {"source": photo, "pose": no_canvas},
        {"source": photo, "pose": Upload(b"1 2\n" * 18, ".txt")},
        {"source": photo, "pose": Upload(photo.content, ".png")},
        {"source": Upload(photo.content[:2000], ".jpg"), "driving": photo},
    ]
    jobs = [Job(model=model, drawing=SMALL, files=files) for model in studio.pipelines for files in bad]
    for asked, answer in zip(jobs, draw_jobs(studio, jobs, tmp_path), strict=True):
        told = json.loads(answer.body)["error"]
        assert answer.status == 422, told
        for text in (told["message"], told["hint"] or ""):
            assert "--" not in text, (asked.model, text)
            assert "hint:" not in text, (asked.model, text)
            assert "/" not in text.replace(" / ", ""), (asked.model, text)


@pytest.mark.slow
def test_clothes_and_identity_are_exchanged(drawn_people, tmp_path):
    studio = Studio(load_task, {"MCLD": "synth-mcld"}, TOOLS)
    files = {"source": Upload(drawn_people[0], ".jpg"), "driving": Upload(drawn_people[1], ".jpg")}
    lender = Upload(drawn_people[2], ".jpg")
    edits = [{}, {"clothes_upper": lender, "clothes_lower": lender}, {"identity": lender}]
    jobs = [Job(model="MCLD", drawing=SMALL, files=files | edit, wants_seen=True, as_json=True) for edit in edits]
    answers = draw_jobs(studio, jobs, tmp_path)
    assert [answer.status for answer in answers] == [200, 200, 200], answers
    plain, clothed, other = [json.loads(answer.body) for answer in answers]
    for edited in (clothed, other):
        assert edited["pictures"][0]["seed"] == plain["pictures"][0]["seed"], "their noise is the same"
        assert edited["pictures"][0]["png"] != plain["pictures"][0]["png"]
        assert edited["seen"]["texture map"] != plain["seen"]["texture map"]
        assert edited["seen"].keys() == plain["seen"].keys()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)
