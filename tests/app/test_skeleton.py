"""The skeleton editor's values: what they may be, the photo behind them, and files of points."""

import base64
import io
import json
import math
import time

import numpy as np
import pytest
from PIL import Image

from pgpis.app.poses import named_poses
from pgpis.app.skeleton import load_pose, read_value, save_pose, value_of
from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import Frame, Keypoints

STANDING, WAVING, BACK = (named_poses()[name] for name in ("Standing", "Waving", "Back view"))


def changed(**fields):
    return value_of(STANDING) | fields


def with_point(point):
    points = value_of(STANDING)["points"]
    return changed(points=[*points[:-1], point])


@pytest.mark.parametrize("pose", [STANDING, BACK], ids=["all", "some"])
def test_values_are_key_points_and_back(pose):
    again = read_value(json.loads(json.dumps(value_of(pose))))
    assert np.array_equal(again.points, pose.points)
    assert np.array_equal(again.seen, pose.seen)
    assert (again.frame.height, again.frame.width) == (256, 176)


def test_values_begin_at_the_corner_of_their_frame():
    shifted = Keypoints(STANDING.points + 40.0, STANDING.visible, Frame(256, 176, 40, 40), "body18")
    assert value_of(shifted)["points"] == value_of(STANDING)["points"]


HOSTILE = {
    "nothing": None,
    "a list": [1, 2],
    "text": "skeleton",
    "no size": {"points": value_of(STANDING)["points"]},
    "no points": {"width": 176, "height": 256},
    "a million points": changed(points=[[1, 2, 1]] * 10**6),
    "a long point": with_point([1] * 10**6),
    "text as a number": with_point(["1", 2, 1]),
    "no number": with_point([math.nan, 2, 1]),
    "infinite": with_point([math.inf, 2, 1]),
    "huge": with_point([10**400, 2, 1]),
    "far": with_point([1e5, 2, 1]),
    "yes": with_point([True, 2, 1]),
    "nested": with_point([[1], 2, 1]),
    "text as a point": with_point("abc"),
    "object of points": changed(points={number: [1, 2, 1] for number in range(18)}),
    "wide": changed(width=10**9),
    "flat": changed(height=0),
    "size without number": changed(width=math.nan),
    "size of text": changed(width="176"),
    "nobody": changed(points=[[-1, -1, 0]] * 18),
    "one place": changed(points=[[5, 5, 1]] * 18),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_values_get_a_message(value):
    start = time.monotonic()
    with pytest.raises(PgpisError, match="skeleton") as refused:
        read_value(value)
    assert len(refused.value.message) < 300
    assert time.monotonic() - start < 1
    assert "skeleton" in save_pose(value)["error"]


def test_photos_lose_what_else_their_files_say(tmp_path):
    photo = Image.effect_noise((2000, 1000), 50)
    photo.save(tmp_path / "photo.jpg", exif=b"Exif\0\0SECRET PLACE", comment=b"SECRET NAME")
    with Image.open(tmp_path / "photo.jpg") as opened:
        picture = value_of(STANDING, opened)["picture"]
    head, _, data = picture.partition(",")
    assert head == "data:image/jpeg;base64"
    content = base64.b64decode(data)
    assert b"SECRET" not in content
    assert Image.open(io.BytesIO(content)).size == (1024, 512)


def test_files_are_fitted_to_the_picture():
    text = save_pose(value_of(WAVING))["text"]
    assert load_pose({"text": text, "size": None})["points"] == value_of(WAVING)["points"]
    fitted = read_value(load_pose({"text": text, "size": [352 + 100, 512]}))
    assert np.allclose(fitted.points, WAVING.points * 2 + [50, 0])


@pytest.mark.parametrize(
    "request_",
    [None, {}, {"text": 5}, {"text": "{"}, {"text": "\ud800"}, {"text": "[" * 10**5}, {"text": "x" * (2**22 + 1)}],
    ids=["nothing", "no text", "number", "broken", "surrogate", "deep", "long"],
)
def test_files_that_hold_no_pose_get_a_message(request_):
    answer = load_pose(request_)
    assert list(answer) == ["error"]
    assert "/" not in answer["error"], "a path of the server"
    good = save_pose(value_of(WAVING))["text"]
    assert "error" in load_pose({"text": good, "size": [math.inf, 1]})
    assert "error" in load_pose({"text": good, "size": [0, 1]})
