"""Key points by rtmlib's own loading code, and the files that they are written to."""

import json

import numpy as np
import pytest

from pgpis.errors import PgpisError
from pgpis.pictures.keypoint_files import read_keypoints, write_keypoints
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, Frame, Keypoints
from pgpis.preprocess.pose import PoseEstimator
from pgpis.preprocess.settings import NothingFoundError
from pgpis.weight_files import CATALOGUE
from tiny_models import write_detector, write_pose

BODY18 = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose's order among COCO's 17 points; the neck is none of them."""
BOX = (16, 16, 600, 620)


@pytest.fixture(scope="module")
def picture(pictures):
    return pictures[0].resize((60, 80))


@pytest.fixture
def estimator(weights):
    """``estimator("body26", skeleton=...)`` on the tiny models."""

    def make(name, **options):
        paths = [weights / CATALOGUE[f"pose-{part}"].files[0] for part in ("detector", name)]
        return PoseEstimator(*paths, **options)

    return make


def by_rtmlib(weights, name, picture, box=BOX):
    """Points and scores by rtmlib alone; the box is in pixels of the detector's 640 x 640."""
    import rtmlib

    path = weights / CATALOGUE[f"pose-{name}"].files[0]
    model = rtmlib.RTMPose(str(path), model_input_size=(48, 64), backend="onnxruntime", device="cpu")
    bgr = np.asarray(picture)[..., ::-1]
    points, scores = model(bgr, bboxes=[np.array(box) / (640 / max(picture.size))])
    return points[0], scores[0]


@pytest.mark.parametrize("name", ["body17", "body26", "wholebody133"])
def test_body18_in_pixels_of_the_picture(name, picture, weights, estimator):
    found, scores = estimator(name, threshold=-1e9)(picture)
    points, confidence = by_rtmlib(weights, name, picture)
    assert found.skeleton == "body18"
    assert (found.frame.height, found.frame.width, found.frame.left, found.frame.top) == (80, 60, 0, 0)
    assert found.points.shape == (18, 2)
    assert found.visible.all()
    for index, coco in enumerate(BODY18):
        if coco is not None:
            np.testing.assert_allclose(found.points[index], points[coco], atol=1e-4)
            assert scores[index] == pytest.approx(max(confidence[coco], 0), abs=1e-6)
    middle = (points[5] + points[6]) / 2
    if name == "body26":
        np.testing.assert_allclose(found.points[1], points[18], atol=1e-4)
        assert np.abs(points[18] - middle).max() > 1
    else:
        np.testing.assert_allclose(found.points[1], middle, atol=1e-4)


def test_all_133_points(picture, weights, estimator):
    found, scores = estimator("wholebody133", skeleton="wholebody133", threshold=-1e9)(picture)
    points, confidence = by_rtmlib(weights, "wholebody133", picture)
    assert found.skeleton == "wholebody133"
    np.testing.assert_allclose(found.points, points, atol=1e-4)
    np.testing.assert_allclose(scores, confidence, atol=1e-6)


def test_points_depend_on_the_picture(picture, pictures, estimator):
    tool = estimator("body17", threshold=-1e9)
    assert not np.array_equal(tool(picture)[0].points, tool(pictures[1].resize(picture.size))[0].points)
    assert not np.array_equal(tool(picture)[0].points, tool(picture.rotate(180))[0].points)


def test_uncertain_points_are_not_seen(picture, weights, estimator):
    _, confidence = by_rtmlib(weights, "body17", picture)
    threshold = float(np.median(confidence))
    found, _ = estimator("body17", threshold=threshold)(picture)
    seen = found.visible.all(axis=1)
    for index, coco in enumerate(BODY18):
        if coco is not None:
            assert seen[index] == (confidence[coco] > threshold)
    assert seen[1] == (min(confidence[5], confidence[6]) > threshold)
    assert 0 < seen.sum() < 18


class TestSeveralPeople:
    @pytest.fixture
    def tool(self, weights, tmp_path):
        boxes = ((30, 40, 130, 240), (150, 100, 470, 630))  # the smaller one first
        detector = write_detector(tmp_path / "two.onnx", boxes)
        return PoseEstimator(detector, weights / CATALOGUE["pose-body17"].files[0], threshold=-1e9)

    def test_the_largest_is_0(self, tool, picture, weights):
        for person, box in enumerate(((150, 100, 470, 630), (30, 40, 130, 240))):
            points, _ = by_rtmlib(weights, "body17", picture, box)
            np.testing.assert_allclose(tool(picture, person)[0].points[0], points[0], atol=1e-3)
        assert not np.allclose(tool(picture, 0)[0].points, tool(picture, 1)[0].points)

    def test_a_third_one_is_not_there(self, tool, picture):
        with pytest.raises(PgpisError, match="2 people found, --person 2 is not among them") as error:
            tool(picture, 2)
        assert not isinstance(error.value, NothingFoundError)  # with another --person there is one


@pytest.mark.parametrize(("boxes", "score"), [(((16, 16, 600, 620),), 0.2), ((), 0.9)])
def test_nobody(boxes, score, picture, weights, tmp_path):
    detector = write_detector(tmp_path / "none.onnx", boxes, score)
    tool = PoseEstimator(detector, weights / CATALOGUE["pose-body17"].files[0])
    with pytest.raises(NothingFoundError, match="no people found"):
        tool(picture)


@pytest.mark.parametrize("broken", ["detector", "estimator"])
def test_a_file_that_is_no_model_is_named(broken, weights, tmp_path):
    paths = {part: weights / CATALOGUE[f"pose-{name}"].files[0] for part, name in
             (("detector", "detector"), ("estimator", "body17"))}  # fmt: skip
    paths[broken] = tmp_path / "broken.onnx"
    paths[broken].write_bytes(b"no model")
    with pytest.raises(PgpisError, match=r"cannot load .*broken\.onnx"):
        PoseEstimator(**paths)


def test_a_model_of_other_points_is_refused(picture, weights, tmp_path):
    detector = weights / CATALOGUE["pose-detector"].files[0]
    tool = PoseEstimator(detector, write_pose(tmp_path / "hand.onnx", 21))
    with pytest.raises(PgpisError, match="gives 21 points, expected 17, 26 or 133"):
        tool(picture)
    tool = PoseEstimator(detector, weights / CATALOGUE["pose-body17"].files[0], "wholebody133")
    with pytest.raises(PgpisError, match="gives 17 points; wholebody133 needs one that gives 133"):
        tool(picture)


def test_the_estimators_own_size_is_used(picture, weights, tmp_path):
    """rtmlib would squeeze every picture into 256 x 192; a net of another size must get its own."""
    path = write_pose(tmp_path / "wide.onnx", 17, size=(32, 96))
    tool = PoseEstimator(weights / CATALOGUE["pose-detector"].files[0], path, threshold=-1e9)
    points = tool(picture)[0].points
    assert np.isfinite(points).all()
    assert tuple(tool.estimator.model_input_size) == (96, 32)


def random_points(count, skeleton):
    rng = np.random.default_rng(count)
    points = rng.uniform(3, 55, (count, 2))
    visible = np.repeat(rng.random(count) < 0.7, 2).reshape(-1, 2)
    return Keypoints.from_visible(points, visible, Frame(80, 60, name="picture"), skeleton)


class TestFiles:
    @pytest.mark.parametrize(("count", "skeleton"), [(18, "body18"), (133, "wholebody133")])
    def test_json(self, count, skeleton, tmp_path):
        before = random_points(count, skeleton)
        scores = np.linspace(0.4, 0.9, count)
        write_keypoints(tmp_path / "a.json", before, scores)
        after = read_keypoints(tmp_path / "a.json")
        assert after.skeleton == skeleton
        assert (after.frame.height, after.frame.width) == (80, 60)
        np.testing.assert_array_equal(after.visible, before.visible)
        np.testing.assert_allclose(after.points[after.visible], before.points[before.visible], atol=5e-5)
        content = json.loads((tmp_path / "a.json").read_text())
        assert (content["canvas_height"], content["canvas_width"]) == (80, 60)
        field = "pose_keypoints_2d" if count == 18 else "wholebody_keypoints_2d"
        written = np.array(content["people"][0][field]).reshape(-1, 3)
        seen = before.visible.all(axis=1)
        np.testing.assert_allclose(written[seen, 2], scores[seen], atol=5e-5)
        assert (written[~seen] == 0).all()

    def test_txt_in_deepfashions_frame(self, tmp_path):
        before = random_points(18, "body18")
        write_keypoints(tmp_path / "a.txt", before)
        lines = (tmp_path / "a.txt").read_text().splitlines()
        assert len(lines) == 18
        after = read_keypoints(tmp_path / "a.txt")
        assert after.frame == DEEPFASHION_FRAME
        np.testing.assert_array_equal(after.visible, before.visible)
        back = after.to(before.frame)
        np.testing.assert_allclose(back.points[before.visible], before.points[before.visible], atol=1e-6)

    def test_points_of_a_part_of_a_picture_refer_to_it(self, tmp_path):
        points = np.linspace([30.0, 30.0], [40.0, 60.0], 18)
        before = Keypoints.from_visible(points, np.ones((18, 2), bool), Frame(80, 60, top=10, left=20), "body18")
        write_keypoints(tmp_path / "a.json", before)
        np.testing.assert_allclose(read_keypoints(tmp_path / "a.json").points, points - [20, 10], atol=5e-5)

    @pytest.mark.parametrize(
        ("name", "count", "skeleton"),
        [("a.txt", 133, "wholebody133"), ("a.npy", 18, "body18"), ("a.json", 17, "coco17")],
    )
    def test_formats_that_do_not_hold_them(self, name, count, skeleton, tmp_path):
        with pytest.raises(PgpisError, match="key points"):
            write_keypoints(tmp_path / name, random_points(count, skeleton))
        assert list(tmp_path.iterdir()) == []
