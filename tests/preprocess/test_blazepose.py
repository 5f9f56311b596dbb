"""BlazePose's nets on real photographs: those of the samples where they are, and public-domain ones of scikit-image."""

import contextlib
import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, rocket

from pgpis.errors import PgpisError
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import FACE_START, LEFT_HAND_START, Frame, Keypoints
from pgpis.preprocess.blazepose import estimator, nets
from pgpis.preprocess.blazepose import silhouette as silhouettes
from pgpis.preprocess.blazepose.body import detect, read_body
from pgpis.preprocess.blazepose.estimator import COCO17, TORSO, BlazePoseEstimator, see
from pgpis.preprocess.blazepose.regions import Region
from pgpis.preprocess.settings import NothingFoundError

SAMPLES = Path(os.environ.get("PGPIS_SAMPLES", Path(__file__).parents[3] / "shared/samples")) / "deepfashion"
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_KNEE, RIGHT_KNEE = 0, 11, 12, 25, 26


@pytest.fixture(scope="module")
def photograph():
    """Eileen Collins, NASA: head, shoulders and arms."""
    return astronaut()


@pytest.fixture(scope="module")
def sighting(photograph):
    return see(photograph)


def sample_pictures():
    if not SAMPLES.is_dir():
        pytest.skip(f"NOT CHECKED: {SAMPLES} is absent; set PGPIS_SAMPLES")
    return sorted((SAMPLES / "img").rglob("*.jpg"))


def hits(mirror):
    """Which of the samples' points BlazePose finds within a tenth of the person's longer side."""
    found = []
    for path in sample_pictures():
        picture = np.asarray(Image.open(path).convert("RGB"))
        truth = read_keypoints(SAMPLES / "pose" / path.relative_to(SAMPLES / "img").with_suffix(".txt"))
        truth = truth.to(Frame(*picture.shape[:2]))
        known = truth.visible.all(axis=1)
        longer = np.ptp(truth.points[known], axis=0).max()
        coco = see(picture, mirror=mirror).body.points[list(COCO17)]
        points = Keypoints.from_visible(coco, np.ones((17, 2), bool), truth.frame, "coco17").to_body18().points
        found.append(np.linalg.norm(points - truth.points, axis=1)[known] < 0.1 * longer)
    return np.concatenate(found)


def test_points_of_real_people_are_where_openpose_saw_them():
    """The bars of the net alone, and with the check of left and right."""
    alone, checked = hits(mirror=False), hits(mirror=True)

    assert alone.mean() >= 0.93
    assert checked.mean() >= 0.96


def test_points_that_a_picture_does_not_show_are_dropped():
    """Of the points that OpenPose did not see, BlazePose alone invents more than a third."""
    tool, invented, absent, lost, present = BlazePoseEstimator(), 0, 0, 0, 0
    for path in sample_pictures():
        picture = Image.open(path).convert("RGB")
        truth = read_keypoints(SAMPLES / "pose" / path.relative_to(SAMPLES / "img").with_suffix(".txt"))
        points, _ = tool(picture)
        known, seen = truth.visible.all(axis=1), points.visible.all(axis=1)
        invented, absent = invented + (seen & ~known).sum(), absent + (~known).sum()
        lost, present = lost + (known & ~seen).sum(), present + known.sum()

    assert invented <= 0.2 * absent
    assert lost <= 0.1 * present


def test_the_silhouette_is_at_the_pictures_own_resolution(photograph, sighting):
    mask = sighting.silhouette

    assert mask.shape == photograph.shape[:2]
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask[300, 150] > 0.9  # the suit
    assert mask[60, 400] < 0.1  # the space shuttle
    assert 0.3 < mask.mean() < 0.7


def test_a_silhouette_is_made_strip_by_strip(photograph, monkeypatch):
    """The filter's coefficients, 40 bytes for a pixel, are never there at all pixels at once.

    The numbers are the same but for the last bit, which OpenCV rounds otherwise in some sizes.
    """
    large = np.asarray(Image.fromarray(photograph).resize((1500, 1500)))
    body = read_body(large, detect(large)[0])
    whole, peaks = [], []
    for strip in (2**30, 2**16):
        monkeypatch.setattr(silhouettes, "STRIP", strip)
        tracemalloc.start()
        whole.append(silhouettes.silhouette(large, body))
        peaks.append(tracemalloc.get_traced_memory()[1] / large[..., 0].size)
        tracemalloc.stop()

    assert np.abs(np.subtract(*whole)).max() <= 2e-7
    assert (whole[0] > 0.5).any()
    assert peaks[0] > 40
    assert peaks[1] < 14


def test_points_lie_on_the_silhouette_and_in_the_frame(photograph, sighting):
    rows, columns = np.floor(sighting.body.points[sighting.seen, ::-1]).astype(int).T

    assert (rows >= 0).all()
    assert (rows < photograph.shape[0]).all()
    assert sighting.silhouette[rows, columns].mean() > 0.8
    assert not sighting.seen[25:].any()  # knees and feet are below the picture


@pytest.mark.parametrize("size", [(128, 128), (700, 1400), (1024, 1024)])
def test_other_sizes_give_the_same_points(photograph, sighting, size):
    width, height = size
    picture = np.asarray(Image.fromarray(photograph).resize((width, height)))
    if width != height:  # beside a wall: a squashed person is another one
        picture = np.full((height, width, 3), 90, np.uint8)
        picture[:512, :512] = photograph
        scale = 1.0
    else:
        scale = width / 512
    points = see(picture).body.points / scale

    assert np.linalg.norm(points - sighting.body.points, axis=1)[:13].max() < 40


def test_a_turned_person_is_read_upright(photograph, sighting):
    turned = see(np.ascontiguousarray(np.rot90(photograph))).body.points
    back = np.column_stack([512 - turned[:, 1], turned[:, 0]])

    assert np.linalg.norm(back - sighting.body.points, axis=1)[:13].max() < 25


def test_the_mirrored_picture_gives_the_mirrored_points(photograph, sighting):
    mirrored = see(np.ascontiguousarray(photograph[:, ::-1])).body.points[estimator.OTHER_SIDE]
    mirrored[:, 0] = 512 - mirrored[:, 0]

    assert np.linalg.norm(mirrored - sighting.body.points, axis=1)[:13].max() < 30


@pytest.mark.parametrize("quarters", range(4), ids=["upright", "on the left", "upside down", "on the right"])
def test_a_front_without_a_face_is_one_where_the_net_is_sure_of_it(photograph, monkeypatch, quarters):
    """Else it is a back, and left and right are exchanged; both poses are said to be uncertain."""
    photograph = np.ascontiguousarray(np.rot90(photograph, quarters))
    front = read_body(photograph, detect(photograph)[0])
    monkeypatch.setattr(estimator, "read_face", lambda *_: (None, 0.0))
    sure = see(photograph)
    monkeypatch.setattr(estimator, "SURE", 1.1)
    unsure = see(photograph)

    assert np.array_equal(sure.body.points, front.points)
    assert "shows no face" in sure.doubt
    assert "left and right are exchanged" in unsure.doubt
    assert np.allclose(unsure.body.points[RIGHT_SHOULDER], front.points[LEFT_SHOULDER])
    assert not unsure.seen[NOSE]
    assert not see(photograph, mirror=False).doubt


def test_the_frame_may_cut_off_the_head_of_a_front():
    """No face shows then, as none shows of a back, which may be cut too."""
    from_the_side = ("4047/01_2", "7301/04_1", "7301/04_7", "3372/03_2", "7132/04_4")
    for path in (path for path in sample_pictures() if not any(side in str(path) for side in from_the_side)):
        picture = np.asarray(Image.open(path).convert("RGB"))
        whole = see(picture).body.points
        head, neck = whole[:11, 1].mean(), whole[TORSO[:2], 1].mean()
        cut = see(picture[int(0.4 * head + 0.6 * neck) :]).body.points
        sides = [points[LEFT_SHOULDER, 0] > points[RIGHT_SHOULDER, 0] for points in (whole, cut)]

        assert sides[0] == sides[1], path


def test_legs_alone_keep_their_sides():
    path = next(path for path in sample_pictures() if "00004047/01_7" in str(path))
    legs = see(np.asarray(Image.open(path).convert("RGB"))[608:])

    assert legs.body.points[TORSO[:2], 1].min() < 0
    assert legs.body.points[LEFT_KNEE, 0] > legs.body.points[RIGHT_KNEE, 0]
    assert "may be a back" in legs.doubt


def test_a_back_upside_down_keeps_its_sides():
    """A handstand's right shoulder is on the left of the picture, as a front's is."""
    for path in (path for path in sample_pictures() if "back" in path.stem):
        picture = np.asarray(Image.open(path).convert("RGB"))
        upright, turned = see(picture), see(np.ascontiguousarray(picture[::-1, ::-1]))
        trunk = TORSO
        back, other = (picture.shape[1::-1] - turned.body.points[points] for points in (trunk, [12, 11, 24, 23]))

        assert not turned.seen[NOSE], path
        assert (
            np.linalg.norm(back - upright.body.points[trunk], axis=1).mean()
            < np.linalg.norm(other - upright.body.points[trunk], axis=1).mean()
        ), path


def test_body18_and_its_confidences(photograph):
    points, scores = BlazePoseEstimator()(Image.fromarray(photograph))

    assert points.skeleton == "body18"
    assert (points.frame.height, points.frame.width) == photograph.shape[:2]
    assert scores.shape == (18,)
    assert ((scores > 0.3) == points.visible.all(axis=1)).all()
    assert np.linalg.norm(points.points[0] - [218, 130]) < 12  # the nose
    assert points.points[2, 0] < points.points[5, 0]  # her right shoulder is on the left


def test_whole_body_has_face_and_hands_where_they_are(photograph):
    points, scores = BlazePoseEstimator("wholebody133")(Image.fromarray(photograph))
    face = points.points[FACE_START : FACE_START + 68]

    assert points.visible[FACE_START : FACE_START + 68].all()
    assert face[8, 1] == face[:, 1].max()  # the chin
    assert face[36:42, 0].max() < face[42:48, 0].min()  # her right eye is on the left
    assert np.linalg.norm(face[30] - points.points[0]) < 15  # tip of the nose
    assert np.linalg.norm(face[36:42].mean(axis=0) - points.points[2]) < 8
    assert not scores[LEFT_HAND_START:].any()  # gloves of a space suit, or below the picture


def test_a_turned_region_is_cut_out_and_its_points_are_placed_back(photograph):
    """Regions are squares that know how they are turned."""
    region = Region((200.0, 300.0), 120.0, 0.7)
    crop = region.crop(photograph, 60)
    corners = region.to_picture(np.array([[0, 0], [60, 60], [30, 30]]), 60)

    assert crop.shape == (60, 60, 3)
    assert np.allclose(corners[2], [200, 300])
    assert np.isclose(np.linalg.norm(corners[1] - corners[0]), 120 * 2**0.5)
    assert np.abs(crop[30, 30].astype(int) - photograph[300, 200]).max() < 40


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3, 4000, 3), np.uint8),
        np.full((256, 176, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8),
    ],
    ids=["one pixel", "a line", "white", "noise"],
)
def test_nobody(picture):
    with pytest.raises(NothingFoundError, match="no people found"):
        see(picture)


def test_what_looks_like_somebody_small_is_nobody_where_its_mirror_image_does_not():
    with pytest.raises(NothingFoundError, match="no people found"):
        see(rocket())


@pytest.mark.parametrize("size", [(2600, 2600), (512, 5200), (5200, 512)], ids=["square", "wide", "high"])
def test_somebody_who_is_too_small_for_one_look_is_found(photograph, sighting, size):
    """In a part of the picture, which is said; others look as they did."""
    height, width = size
    top, left = (height - 512) // 2, (width - 512) // 3
    wall = np.full((height, width, 3), 190, np.uint8)
    wall[top : top + 512, left : left + 512] = photograph
    far = see(wall)

    assert not any(read_body(wall, region).score >= estimator.LEAST_PERSON for region in detect(wall))
    assert np.linalg.norm(far.body.points - [left, top] - sighting.body.points, axis=1)[:13].max() < 40
    assert "crop it" in far.doubt
    assert not sighting.doubt
    with pytest.raises(PgpisError, match="1 people found"):
        see(wall, 1)


def test_fewer_people_than_asked_for(photograph):
    with pytest.raises(PgpisError, match="1 people found, --person 1"):
        see(photograph, 1)


def test_the_body_of_keypoints_is_coco17s(photograph):
    points, _ = BlazePoseEstimator("wholebody133")(Image.fromarray(photograph))
    body, _ = BlazePoseEstimator()(Image.fromarray(photograph))
    known = body.visible.all(axis=1)
    coco = Keypoints.from_visible(points.points[:17], points.visible[:17], points.frame, "coco17").to_body18()

    assert np.allclose(coco.points[known], body.points[known])


def test_threads_that_load_nets_leave_the_error_stream(monkeypatch):
    """Each points it elsewhere for a moment, and would put back what another one has put there."""
    usual, barrier = os.fstat(2), threading.Barrier(4)
    silenced = nets._silenced

    @contextlib.contextmanager
    def slowly():
        with silenced():
            time.sleep(0.02)
            yield
            time.sleep(0.02)

    def load(name):
        barrier.wait()
        return nets.load_net(name)

    monkeypatch.setattr(nets, "_silenced", slowly)
    nets._loaded.cache_clear()
    names = ["face_landmark", "pose_detection", "face_landmark", "hand_landmark_full"]
    try:
        with ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(load, names))
        assert os.path.samestat(os.fstat(2), usual)
    finally:
        nets._loaded.cache_clear()
    assert loaded[0] is loaded[2]
