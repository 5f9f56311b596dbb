"""The endpoints of the page, as programs call them."""

import csv
import io
import json
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from pgpis.app import predicting as app_predicting
from pgpis.app.poses import named_poses
from pgpis.app.predicting import LOG, OUT
from pgpis.cli import main
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.videos import FrameFiles, write_video
from pgpis.predictions import PredictionFolder, PredictionRecord

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1", "localhost"])]
NAMED = next(iter(named_poses()))


@pytest.fixture
def client(page, tmp_path):
    return Client(page, verbose=False, download_files=str(tmp_path))


def make(client, photo, seed=0, steps=1, size=(128, 96), pose=None, further=(), **more):
    how = ("a photo", NAMED, handle_file(str(pose)), None) if pose else ("a named pose", NAMED, None, None)
    words = [*how, False, more.get("model", "synth-fpdm"), steps, None, seed, more.get("pictures", 1), *size]
    others = {"further_photos": [{"image": handle_file(str(path))} for path in further]} if further else {}
    return client.submit(handle_file(str(photo)), *words, **others, api_name="/make")


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.slow
def test_a_photo_and_a_named_pose_make_a_picture(client, people):
    status, pictures, (before, after), seen, download = make(client, people[0], pictures=2).result()
    assert "Done" in status
    assert [Image.open(each["image"]).size for each in pictures] == [(96, 128)] * 2
    assert Image.open(before).size == Image.open(after).size
    assert {each["caption"] for each in seen} >= {"pose", "source"}
    with Image.open(download) as png:
        assert png.format == "PNG"
        assert not png.getexif()
    assert np.array_equal(pixels(download), pixels(after))
    alone = make(client, people[0]).result()[4]
    assert np.abs(pixels(download) - pixels(alone)).max() <= 2, "more than the last bits of a larger batch"


@pytest.mark.slow
def test_several_photos_make_the_picture_that_predict_makes_of_them(client, people, tmp_path):
    photos, usual = [people[0], people[1], people[2]], {"steps": None, "size": (None, None), "model": "synth-mcld"}
    status, _, _, seen, png = make(client, photos[0], further=photos[1:], **usual).result()
    assert "Done, of 3 photos" in status
    shown = {each["caption"]: pixels(each["image"]) for each in seen}
    textures = {f"texture map of source {number}" for number in (1, 2, 3)}
    assert shown.keys() >= {"source", "source 2", "source 3", "texture map", *textures}
    assert not np.array_equal(shown["texture map"], shown["texture map of source 1"])
    person = tmp_path / "people" / "photo"
    person.mkdir(parents=True)
    for number, photo in enumerate(photos, 1):
        (person / f"{number}.jpg").write_bytes(photo.read_bytes())
    write_keypoints(tmp_path / "pose.json", named_poses()[NAMED])
    words = ["--sources", person.parent, "--sources-by", "person", "--poses", tmp_path / "pose.json", "--prepare"]
    words += ["--missing-face", "drop", "--prepare-inpaint", "fast", "--out", tmp_path / "out"]
    assert main([str(word) for word in ("predict", "--pipeline", "synth-mcld", *words)]) == 0
    (picture,) = (tmp_path / "out").glob("*.png")
    assert picture.read_bytes() == Path(png).read_bytes()


@pytest.mark.slow
def test_visitors_at_once_get_their_own_pictures(page, people, tmp_path):
    clients = [Client(page, verbose=False, download_files=str(tmp_path / str(number))) for number in range(2)]
    sources = people[0], people[2]
    together = [make(client, source, steps=2) for client, source in zip(clients, sources, strict=True)]
    made = [pixels(job.result()[4]) for job in together]
    for client, source, picture in zip(clients, sources, made, strict=True):
        assert np.array_equal(pixels(make(client, source, steps=2).result()[4]), picture)
    assert np.abs(made[0] - made[1]).mean() > 5


@pytest.mark.slow
def test_stop_ends_the_drawing(client, people):
    job = make(client, people[0], steps=200, size=(256, 176))
    while not any("step 2" in output[0] for output in job.outputs()):
        assert not job.done()
        time.sleep(0.05)
    client.predict(api_name="/stop")
    assert "Stopped" in job.result()[0]
    steps = [output[0] for output in job.outputs() if "step" in output[0]]
    assert len(steps) < 100
    start = time.monotonic()
    make(client, people[0]).result()
    assert time.monotonic() - start < 30, "the model was still busy"


def test_a_job_that_another_took_the_place_of_says_so(client, people):
    first = make(client, people[0], steps=200, size=(256, 176))
    while not first.outputs():
        time.sleep(0.05)
    last = make(client, people[0])
    with pytest.raises(AppError, match="another request of the same client took its place"):
        first.result(timeout=60)
    assert "Done" in last.result(timeout=60)[0]


@pytest.mark.slow
def test_edit_shows_both_and_compare_shows_all_models(client, people):
    photos = [handle_file(str(path)) for path in (people[0], people[2])]
    further = [{"image": handle_file(str(people[1]))}]
    words = (["upper", "identity"], "the photo", NAMED, "synth-mcld", 1, None, 0, 1, None, None, further)
    status, pictures, (unedited, edited), seen, _ = client.predict(*photos, *words, api_name="/edit")
    assert "of 2 photos" in status
    assert [each["caption"] for each in pictures] == ["edited", "unedited"]
    assert np.abs(pixels(unedited) - pixels(edited)).mean() > 1
    assert {each["caption"] for each in seen} == {
        "pose", "DensePose map", "silhouette", "texture map", "surface", "backdrop", "source", "source 2",
        *(f"{what} of source {number}" for what in ("texture map", "surface") for number in (1, 2)),
    }  # fmt: skip
    how = ("a photo", NAMED, photos[1], None, False, ["synth-fpdm", "synth-mcld"], 0)
    _, pictures, *_ = client.predict(photos[0], *how, api_name="/compare")
    assert [each["caption"] for each in pictures] == ["synth-fpdm", "synth-mcld"]


def test_the_pose_of_a_photo_is_found(client, people):
    skeleton = client.predict(handle_file(str(people[0])), api_name="/find_pose")
    skeleton = skeleton if isinstance(skeleton, dict) else json.loads(skeleton)
    assert (skeleton["width"], skeleton["height"]) == Image.open(people[0]).size
    assert sum(known for _, _, known in skeleton["points"]) > 10


@pytest.mark.slow
def test_folder_gives_a_zip(client, people):
    files = [[handle_file(str(path)) for path in paths] for paths in (people[:2], people[3:])]
    words = ("photos of people in the poses", "synth-fpdm", 1, None, 0, 1)
    status, archive = client.predict(*files, *words, api_name="/folder")
    assert "2 pictures" in status
    with zipfile.ZipFile(archive) as content:
        rows = list(csv.DictReader(io.StringIO(content.read("predictions.csv").decode())))
        assert {row["image"] for row in rows} <= set(content.namelist())
    assert [row["status"] for row in rows] == ["done"] * 2
    assert not any("/" in row["source"].removeprefix("people/") for row in rows), "the server's folders are told"


@pytest.mark.slow
@pytest.mark.usefixtures("predicting_here")
def test_a_driving_video_gives_a_film(client, people, tmp_path):
    write_video(tmp_path / "clip.mp4", [FrameFiles((people[2],)), FrameFiles((people[3],))], 5)
    files = handle_file(str(people[0])), {"video": handle_file(str(tmp_path / "clip.mp4"))}["video"]
    further = [{"image": handle_file(str(people[1]))}]
    status, film = client.predict(*files, 1, "synth-fpdm", 1, None, 0, further, api_name="/film")
    assert "Done, of 2 photos" in status
    film = film["video"] if isinstance(film, dict) else film
    assert str(film).endswith(".mp4")


def test_only_what_is_made_writes_its_status(client):
    """What stops it answers on another connection: its words could come last, and stay."""
    page = client.config["dependencies"]
    stops = [event for event in page if event["api_name"].startswith("stop")]
    assert len(stops) == 5
    assert [event["outputs"] for event in stops] == [[]] * 5


@pytest.fixture
def predicting(monkeypatch):
    """Stands in for ``pgpis predict``: two of its pairs end with these statuses, and then it."""

    def set_up(*statuses, log="", code=-9, is_whole=False):
        def predict(_words, folder, _total, _tell):
            out = PredictionFolder(folder / OUT, {"images_per_pair": 1})
            for number, status in enumerate(statuses):
                image = f"p{number}.png" if status == "done" else ""
                out.add([PredictionRecord(f"p{number}", image, "", "", 0, status, 0.1, "")])
                if image:
                    Image.new("RGB", (8, 8)).save(folder / OUT / image)
            if is_whole:
                out.close()
            (folder / LOG).write_text(log)
            return code

        monkeypatch.setattr(app_predicting, "_watched", predict)

    return set_up


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [
        ("pgpis: 2 pairs are done", -9, "pgpis predict ended with SIGKILL"),
        ("pgpis: error: the disk is full\n  hint: make room\n", 2, "the disk is full"),
        ("pgpis: error: RuntimeError: no <GPU>\n", 1, "RuntimeError: no &lt;GPU&gt;"),
        ("pgpis: error: stopped by SIGTERM; this command goes on with it: pgpis x", 143, "stopped by SIGTERM"),
    ],
)
def test_a_folder_that_ended_part_way_is_not_shown_as_done(client, people, predicting, log, code, reason):
    predicting("done", "unreadable", log=log, code=code)
    files = [[handle_file(str(path)) for path in people[:2]]] * 2
    words = ("photos of people in the poses", "synth-fpdm", 1, None, 0, 1)
    status, archive = client.predict(*files, *words, api_name="/folder")
    assert f"<p>1 of 4 pictures are done, then it ended: {reason}" in status
    assert "goes on with it" not in status
    predicting("no map\n  hint: pgpis prepare --x")
    with pytest.raises(AppError, match=r"^no map$"):
        client.predict(*files, *words, api_name="/folder")
    with zipfile.ZipFile(archive) as content:
        assert set(content.namelist()) == {"predictions.csv", "p0.png"}
        rows = list(csv.DictReader(io.StringIO(content.read("predictions.csv").decode())))
    assert [row["status"] for row in rows] == ["done", "unreadable"]


def test_a_folder_with_failures_is_done(client, people, predicting):
    predicting("done", "unreadable", code=1, is_whole=True)
    files = [[handle_file(str(path)) for path in people[:2]], [handle_file(str(people[3]))]]
    words = ("photos of people in the poses", "synth-fpdm", 1, None, 0, 1)
    assert "<p>1 pictures, 1 failed: predictions.csv" in client.predict(*files, *words, api_name="/folder")[0]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"log": "pgpis: p.mp4: no codec", "code": 1, "is_whole": True}, "no film could be made: p.mp4: no codec"),
        ({}, "no film could be made: 1 of 2 pictures are done, then it ended: pgpis predict ended with SIGKILL"),
    ],
)
def test_a_film_that_cannot_be_made_says_why(client, people, predicting, tmp_path, how, message):
    predicting("done", "unreadable", **how)
    write_video(tmp_path / "clip.mp4", [FrameFiles((people[2],)), FrameFiles((people[3],))], 5)
    files = handle_file(str(people[0])), {"video": handle_file(str(tmp_path / "clip.mp4"))}["video"]
    with pytest.raises(AppError, match=message):
        client.predict(*files, 1, "synth-fpdm", 1, None, 0, api_name="/film")


@pytest.mark.slow
def test_stop_ends_a_folder_too(client, people):
    files = [[handle_file(str(path)) for path in people]] * 2
    job = client.submit(*files, "photos of people in the poses", "synth-fpdm", 50, None, 0, 8, api_name="/folder")
    while not job.outputs():
        time.sleep(0.05)
    threading.Timer(1, client.predict, kwargs={"api_name": "/stop"}).start()
    assert "Stopped" in job.result(timeout=60)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: None}, "Photo is missing"),
        ({1: "a dream"}, "there is no pose from"),
        ({2: "flying"}, "there is no pose 'flying'"),
        ({1: "a photo"}, "Pose photo is missing"),
        ({1: "a skeleton", 4: {"points": []}}, "skeleton"),
        ({6: "synth-fpdn"}, "did you mean"),
        ({7: 10**6}, "steps"),
        ({7: "many"}, "steps"),
        ({9: -1}, "seed"),
        ({10: 99}, "pictures"),
        ({11: 100, 12: 96}, "height"),
        ({13: [{"image": {"path": "/etc/passwd"}}]}, "Photo 2: upload it again"),
        ({13: [{"image": {"path": "/etc/passwd"}}] * 4}, "5 pictures of the person, expected at most 4"),
        ({13: [{"video": handle_file(__file__)}]}, "Photo 2 is missing"),
        ({13: [{"image": handle_file(__file__)}]}, "Photo 2 is not a PNG, JPEG or WebP picture"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(client, people, change, message):
    words = [
        handle_file(str(people[0])),
        "a named pose",
        NAMED,
        None,
        None,
        False,
        "synth-fpdm",
        1,
        None,
        0,
        1,
        128,
        96,
        None,
    ]
    for place, value in change.items():
        words[place] = value
    with pytest.raises(AppError, match=message) as caught:
        client.predict(*words, api_name="/make")
    assert "/tmp" not in str(caught.value)
