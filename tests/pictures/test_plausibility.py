"""What is taken for a person and what is refused: key points in any unit, drawn poses, DensePose maps."""

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from pgpis.batch import ImageSpec
from pgpis.data import FolderPairs, check_root
from pgpis.errors import PgpisError
from pgpis.pictures import plausibility
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.iuv import read_iuv
from pgpis.pictures.keypoint_files import MOST_BYTES, read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.plausibility import check_drawn_pose
from pgpis.pipelines.inputs import prepare_pairs

BODY = np.array(
    [
        (88, 40), (88, 62), (70, 62), (60, 95), (55, 125), (106, 62), (116, 95), (121, 125), (76, 138),
        (75, 185), (74, 230), (100, 138), (101, 185), (102, 230), (83, 35), (93, 35), (77, 38), (99, 38),
    ],
    dtype=float,
)  # fmt: skip
FRAME = Frame(256, 176)
SIZE = np.array([176, 256])
WHOLE = np.random.default_rng(0).uniform([30, 20], [140, 240], (133, 2))


@pytest.fixture(autouse=True)
def forget():
    """What was told in another test is news again."""
    plausibility._is_news.cache_clear()


def write(path, points, frame=FRAME, confidence=1.0):
    """Write points as they are, in the format of the suffix."""
    if path.suffix == ".txt":
        np.savetxt(path, points)
    elif path.suffix == ".npy":
        np.save(path, points)
    else:
        body = np.column_stack([points, np.full(len(points), confidence)]).ravel().tolist()
        people = {"people": [{"pose_keypoints_2d": body}], "canvas_height": frame.height, "canvas_width": frame.width}
        path.write_text(json.dumps(people))
    return path


def outside(points):
    """One joint just outside the picture, as editors leave it."""
    moved = points.copy()
    moved[10, 1] = 263.68
    return moved


UNITS = {
    "pixels": lambda points: points,
    "fractions": lambda points: points / SIZE,
    "signed": lambda points: points / SIZE * 2 - 1,
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("change", [np.copy, outside])
@pytest.mark.parametrize(("name", "points"), [("a.txt", BODY), ("a.json", BODY), ("a.npy", WHOLE), ("b.txt", WHOLE)])
def test_units_are_recognised_in_every_format(tmp_path, caplog, unit, change, name, points):
    right = change(points)
    with caplog.at_level(logging.WARNING, "pgpis"):
        for number in range(3):
            path = write(tmp_path / f"{number}{name}", UNITS[unit](right))
            np.testing.assert_allclose(read_keypoints(path, FRAME).points, right, atol=1e-6)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (unit != "pixels"), told
    assert unit == "pixels" or f"0{name}: key points are fractions" in told[0]


@pytest.mark.parametrize("step", [1, -1])  # down, or across: of a person who lies
@pytest.mark.parametrize("nearer", [3, 3.5, 4, 5])
def test_fractions_of_a_close_up_are_recognised(tmp_path, nearer, step):
    shares = ((BODY / SIZE - [0.5, 0.1]) * nearer + [0.5, 0.3])[:, ::step]
    points = read_keypoints(write(tmp_path / "a.json", shares), FRAME).points
    np.testing.assert_allclose(points, shares * SIZE, atol=1e-6)


def test_fractions_fill_the_picture_behind_deepfashions_border(tmp_path):
    points = read_keypoints(write(tmp_path / "a.txt", BODY / SIZE)).to(FRAME).points
    np.testing.assert_allclose(points, BODY, atol=1e-6)


@pytest.mark.parametrize(("name", "points"), [("a.txt", BODY), ("a.json", BODY), ("a.npy", WHOLE), ("b.txt", WHOLE)])
@pytest.mark.parametrize("marker", [0.0, -1.0])
def test_both_marks_of_missing_points_are_known(tmp_path, name, points, marker):
    points = points.copy()
    points[[3, 7]] = marker
    keypoints = read_keypoints(write(tmp_path / name, points), FRAME)
    assert np.flatnonzero(~keypoints.visible.any(axis=1)).tolist() == [3, 7]


def test_a_corner_is_a_place_where_missing_points_are_marked_by_minus_one(tmp_path):
    points = BODY.copy()
    points[0], points[9] = 0, -1
    assert read_keypoints(write(tmp_path / "a.txt", points), FRAME).visible[:, 0].sum() == 17


IMPLAUSIBLE = {
    "all missing": (lambda points: np.full_like(points, -1), "all are missing"),
    "one point": (lambda points: np.where(np.arange(len(points))[:, None] == 5, points, -1), "all but 1 are missing"),
    "half a pixel": (lambda points: 80 + points / 512, "lie in one place"),
    "outside": (lambda points: points + 1000, "0 of [0-9]+ key points lie in the picture"),
    "another picture's pixels": (lambda points: points / SIZE * [750, 1101] + 300, "lie in the picture"),
    "one far away": (
        lambda points: np.where(np.arange(len(points))[:, None] == 5, 9000, points), "far outside"
    ),
    "not a number": (lambda points: np.where(points == points[5], np.nan, points), "not pixels"),
    "infinite": (lambda points: np.where(points == points[5], np.inf, points), "not pixels"),
    "1e30": (lambda points: np.where(points == points[5], 1e30, points), "not pixels"),
    "beyond int64": (lambda points: np.where(points == points[5], 2.0**63, points), "not pixels"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPLAUSIBLE)
@pytest.mark.parametrize(("name", "points"), [("a.txt", BODY), ("a.json", BODY), ("a.npy", WHOLE), ("b.txt", WHOLE)])
def test_what_is_no_person_is_refused_and_named(tmp_path, case, name, points):
    change, message = IMPLAUSIBLE[case]
    path = write(tmp_path / name, change(points))
    with pytest.raises(PgpisError, match=rf"{name}: .*{message}"):
        read_keypoints(path, FRAME)


@pytest.mark.parametrize("visible", [[0, 1], [0, 14, 15, 16, 17], [8, 9, 10], range(18)])
def test_parts_of_people_are_read(tmp_path, visible):
    points = np.full_like(BODY, -1)
    points[list(visible)] = BODY[list(visible)]
    assert read_keypoints(write(tmp_path / "a.txt", points), FRAME).visible.all(axis=1).sum() == len(visible)


def test_a_body_below_the_picture_is_read_and_told(tmp_path, caplog):
    """A close-up of a face whose editor kept the whole skeleton."""
    close = (BODY - [88, 38]) * 4 + [88, 100]
    with caplog.at_level(logging.WARNING, "pgpis"):
        read_keypoints(write(tmp_path / "a.txt", close), FRAME)
    assert "only" in caplog.text


@pytest.mark.parametrize(
    ("name", "points", "hint"),
    [
        ("a.txt", np.ones((17, 2)), "no neck"),
        ("a.txt", np.ones((25, 2)), "OpenPose's 25 points"),
        ("a.txt", np.ones((18, 3)), "lines 'x y'"),
        ("a.npy", np.ones((18, 3)), r"\.txt"),
        ("a.npy", np.ones((25, 2)), r"\.json"),
        ("a.npy", np.ones(()), "found"),
        ("a.json", np.ones((17, 2)), "no neck"),
        ("a.json", np.ones((133, 2)), "found 399 numbers"),
    ],
)
def test_other_skeletons_are_named_with_the_way_to_go(tmp_path, name, points, hint):
    with pytest.raises(PgpisError, match=hint):
        read_keypoints(write(tmp_path / name, points), FRAME)


def test_of_several_people_the_largest_is_taken_and_that_is_told(tmp_path, caplog):
    people = [BODY, BODY / 2, np.full_like(BODY, 1e30)]
    bodies = [np.column_stack([body, np.ones(18)]).ravel().tolist() for body in people]
    content = {"people": [{"pose_keypoints_2d": body} for body in bodies], "height": 256, "width": 176}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING, "pgpis"):
        np.testing.assert_allclose(read_keypoints(path).points, BODY)
    assert "3 people" in caplog.text


NUMBERS = np.column_stack([BODY, np.ones(18)]).ravel().tolist()


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"people": ' * 100_000,
        '{"people": [{"pose_keypoints_2d": ' + "9" * 5000 + "}]}",
        json.dumps({"people": [{"pose_keypoints_2d": [10**400, *NUMBERS[1:]]}], "height": 256, "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": NUMBERS}], "height": 10**400, "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": NUMBERS}], "height": 256, "width": 176}).replace("256", "1e999"),
        json.dumps({"people": [{"pose_keypoints_2d": NUMBERS}], "height": [256], "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": ["1", *NUMBERS[1:]]}], "height": 256, "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": [[1], *NUMBERS[1:]]}], "height": 256, "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": "x" * 54}], "height": 256, "width": 176}),
        json.dumps({"people": [{"pose_keypoints_2d": {}}]}),
        json.dumps({"people": [[], None, 3]}),
        json.dumps({"people": {}}),
        json.dumps([1, 2]),
        "null",
        "",
        " " * (MOST_BYTES + 1),
        '{"people": "é"}'.encode("latin-1"),
    ],
)
def test_odd_json_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PgpisError, match=r"a\.json"):
        read_keypoints(path)


def jpeg(image, quality=40):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def drawing(points=BODY, skeleton="body18", size=(256, 176), visible=slice(None), **options):
    kept = np.zeros(points.shape, bool)
    kept[visible] = True
    return Image.fromarray(draw_pose(Keypoints.from_visible(points, kept, FRAME, skeleton), *size, **options))


@pytest.mark.parametrize("change", [lambda image: image, jpeg, lambda image: image.resize((352, 512))])
@pytest.mark.parametrize("stick_width", [2, 4, 20])
@pytest.mark.parametrize(
    "options", [{}, {"visible": [1, 2, 3]}, {"visible": slice(8, 14)}, {"points": WHOLE, "skeleton": "wholebody133"}]
)
def test_drawn_skeletons_are_admitted(options, stick_width, change):
    check_drawn_pose(change(drawing(stick_width=stick_width, **options)), "pose.png")


def densepose(order=(2, 1, 0)):
    """A body of six parts whose charts run over their whole range."""
    rows, columns = np.mgrid[:256, :176]
    part = np.where((rows // 40 % 7 > 0) & (np.abs(columns - 88) < 40), rows // 40 % 7 * 4, 0)
    iuv = np.stack([part, rows * 7 % 256, columns * 5 % 256], axis=2) * (part > 0)[..., None]
    return Image.fromarray(iuv.astype(np.uint8)[..., list(order)])


def photograph(background=255):
    rows, columns = np.mgrid[:256, :176]
    skin = np.array([224, 172, 150]) - (rows[..., None] // 4) % 40
    figure = (np.abs(columns - 88) < 40)[..., None]
    return Image.fromarray(np.where(figure, skin, background).astype(np.uint8))


def on_white():
    pixels = np.array(drawing())
    pixels[pixels.max(axis=2) == 0] = 255
    return Image.fromarray(pixels)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 176, 3), dtype=np.uint8))
NO_SKELETONS = [
    (photograph(), "photograph"),
    (photograph(0), "photograph"),
    (NOISE, "photograph"),
    (densepose(), "a DensePose map"),
    (densepose((0, 1, 2)), "a DensePose map"),
    (on_white(), "light background"),
    (Image.new("RGB", (176, 256)), "shows no skeleton"),
    (Image.new("RGB", (1, 1), "white"), "photograph"),
]


@pytest.mark.parametrize(("image", "message"), NO_SKELETONS)
def test_other_pictures_are_named_with_the_way_to_go(tmp_path, image, message):
    for folder in ("photos", "poses"):
        (tmp_path / folder).mkdir()
        image.save(tmp_path / folder / "a.png")
    pairs = FolderPairs(tmp_path / "photos", tmp_path / "poses")
    pairs.setup()
    with pytest.raises(PgpisError, match=rf"a\.png .*{message}") as error:
        pairs.require({"pose"})  # not one pose can be read
    assert "--driving" in str(error.value) or "black" in str(error.value)
    drawing().save(tmp_path / "poses/b.png")
    mixed = FolderPairs(tmp_path / "photos", tmp_path / "poses")
    mixed.setup()
    mixed.require({"pose"})
    with pytest.raises(PgpisError, match=message):
        mixed.load(0)
    assert mixed.load(1, {"pose"}).pose_image is not None


def test_pipelines_warn_once_of_each_kind(caplog):
    """Who calls a pipeline may have trained it on other drawings."""
    with caplog.at_level(logging.WARNING, "pgpis"):
        specs, canvas = {"pose_image": ImageSpec("pose", 8, 8)}, (550, 375)
        batch = prepare_pairs({"pose": [NOISE, photograph()]}, specs, canvas)
        prepare_pairs({"pose": drawing()}, specs, canvas)
        for _ in range(2):
            prepare_pairs({"pose": np.zeros((8, 8, 3), np.uint8)}, specs, canvas)
    assert len(batch["pose_image"]) == 2
    photo, black = [record.getMessage() for record in caplog.records]
    assert "looks like a photograph" in photo
    assert "pose is black" in black


def test_checks_of_data_sets_look_at_drawn_poses(tmp_path):
    for folder in ("img", "pose_img"):
        (tmp_path / folder).mkdir()
        photograph().save(tmp_path / folder / "a.png")
    (tmp_path / "test_pairs_data.json").write_text(
        json.dumps([{"source_image": "./img/a.png", "target_image": "./img/a.png"}])
    )
    assert any("pose_img/a.png: " in problem and "photograph" in problem for problem in check_root(tmp_path).problems)


def with_stray():
    pixels = np.array(densepose())
    pixels[pixels[..., 2] == 0] = (200, 100, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (densepose((0, 1, 2)), "channels are part, U, V"),
        (photograph(), "third channel reaches"),
        (drawing(), "third channel reaches"),
        (drawing(visible=slice(8, 13)), "no part of a body"),
        (Image.new("RGB", (176, 256)), "no part of a body"),
        (with_stray(), "background"),
    ],
)
def test_what_is_no_map_is_refused_and_named(tmp_path, image, message):
    image.save(tmp_path / "a.png")
    with pytest.raises(PgpisError, match=rf"a\.png: .*{message}"):
        read_iuv(tmp_path / "a.png")


def test_maps_are_read(tmp_path):
    densepose().save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_iuv(tmp_path / "a.png")), np.asarray(densepose()))
