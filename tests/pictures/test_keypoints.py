import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pgpis.errors import PgpisError
from pgpis.pictures import arrays
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoint_files import exact_openpose, parse_openpose, read_keypoints
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, POINT_COUNTS, SWAPS, Frame, Keypoints

SKELETONS = list(POINT_COUNTS)


SMALL = Frame(100, 80)


def random_keypoints(skeleton="body18", frame=SMALL, seed=0):
    generator = np.random.default_rng(seed)
    size = (POINT_COUNTS[skeleton], 2)
    points = generator.uniform([frame.left, frame.top], [frame.left + frame.width, frame.top + frame.height], size)
    return Keypoints.from_visible(points, generator.random(size) < 0.8, frame, skeleton)


def test_deepfashion_frame_follows_the_published_formula():
    points = np.full((18, 2), -1.0)
    points[0], points[1] = (128, 64), (-1, 32)
    moved = Keypoints.from_array(points, DEEPFASHION_FRAME, "body18").to(Frame(1101, 750)).points
    assert moved[0] == pytest.approx([(128 - 40) * 750 / 176, 64 * 1101 / 256])
    assert moved[1] == pytest.approx([-1, 32 * 1101 / 256])
    assert (moved[2:] == -1).all()


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("frame", [Frame(200, 300), DEEPFASHION_FRAME, Frame(10, 10, left=-3, top=7)])
def test_moving_there_and_back_changes_nothing(skeleton, frame):
    keypoints = random_keypoints(skeleton)
    back = keypoints.to(frame).to(keypoints.frame)
    np.testing.assert_allclose(back.points, keypoints.points, atol=1e-9)
    np.testing.assert_array_equal(back.visible, keypoints.visible)


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("frame", [Frame(100, 80), DEEPFASHION_FRAME])
def test_flip_is_its_own_inverse_and_mirrors(skeleton, frame):
    keypoints = random_keypoints(skeleton, frame)
    flipped = keypoints.flip()
    np.testing.assert_allclose(flipped.flip().points, keypoints.points, atol=1e-9)
    for left, right in SWAPS[skeleton]:
        if keypoints.visible[left].all():
            x, y = keypoints.points[left]
            assert flipped.points[right] == pytest.approx([frame.width + 2 * frame.left - x, y])


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_swaps_name_each_point_once(skeleton):
    named = [point for pair in SWAPS[skeleton] for point in pair]
    assert len(named) == len(set(named))
    assert max(named) < POINT_COUNTS[skeleton]


def test_whole_body_swaps_mirror_a_symmetric_face_and_hands():
    """In COCO-WholeBody the jaw runs from ear to ear, and left hand mirrors right hand."""
    swaps = dict(SWAPS["wholebody133"])
    assert swaps[23] == 39
    assert swaps[59] == 68
    assert swaps[91] == 112
    assert {23 + 27, 23 + 30, 23 + 33, 23 + 8, 23 + 51, 23 + 57}.isdisjoint({*swaps, *swaps.values()})


def test_jitter_moves_visible_coordinates_and_loses_those_that_leave():
    keypoints = Keypoints.from_array(np.array([[-1, -1], [5, 0.5], *[[9, 9]] * 16]), Frame(20, 20), "body18")
    moved = keypoints.jitter(np.full((18, 2), -1.0))
    np.testing.assert_array_equal(moved.points[:3], [[-1, -1], [4, -1], [8, 8]])
    np.testing.assert_array_equal(moved.visible[:3], [[False, False], [True, False], [True, True]])


@pytest.mark.parametrize(("frame", "ratio"), [(Frame(100, 50), 1.0), (Frame(50, 100), 0.5), (DEEPFASHION_FRAME, 1.0)])
def test_padded_frame_keeps_the_middle(frame, ratio):
    padded = frame.padded(ratio)
    assert padded.width / padded.height == pytest.approx(ratio)
    assert padded.left + padded.width / 2 == pytest.approx(frame.left + frame.width / 2)
    assert padded.top + padded.height / 2 == pytest.approx(frame.top + frame.height / 2)
    assert padded.width >= frame.width
    assert padded.height >= frame.height


def test_neck_is_between_the_shoulders():
    coco = random_keypoints("coco17")
    coco = Keypoints(coco.points, np.ones((17, 2), bool), coco.frame, "coco17")
    body = coco.to_body18()
    assert body.points[1] == pytest.approx((coco.points[5] + coco.points[6]) / 2)
    assert body.points[[2, 4, 17]] == pytest.approx(coco.points[[6, 10, 3]])


def body25(scale=1.0, confidence=1.0):
    return [value for point in range(25) for value in (10.0 + scale * point, 20.0 + scale * point, confidence)]


def openpose(*people, **keys):
    return json.dumps({"people": [{"pose_keypoints_2d": person} for person in people]} | keys)


def test_openpose_takes_the_largest_person_and_drops_the_middle_hip(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(openpose(body25(0.1), body25(2.0), [], canvas_height=200, canvas_width=100))
    keypoints = read_keypoints(path)
    assert (keypoints.frame.height, keypoints.frame.width) == (200, 100)
    assert keypoints.skeleton == "body18"
    assert keypoints.points[[7, 8, 17], 0] == pytest.approx([10 + 14, 10 + 18, 10 + 36])


@pytest.mark.parametrize("bystander", [{}, {"pose_keypoints_2d": None}, {"face_keypoints_2d": []}])
def test_a_person_of_openpose_without_points_costs_no_other(tmp_path, bystander):
    path = tmp_path / "a.json"
    people = [bystander, {"pose_keypoints_2d": body25()}]
    path.write_text(
        json.dumps({"people": people, "canvas_width": None, "canvas_height": None, "width": 99, "height": 98})
    )
    assert read_keypoints(path).frame.size == "99 x 98"
    path.write_text(json.dumps({"people": [bystander]}))
    with pytest.raises(PgpisError, match=r"nobody in it .*empty or missing"):
        read_keypoints(path)


def test_openpose_fractions_and_confidence(tmp_path):
    path = tmp_path / "a.json"
    body = [0.5, 0.25, 0.9] * 16 + [0.5, 0.75, 0.9] + [0.0, 0.0, 0.0]
    path.write_text(openpose(body))
    keypoints = read_keypoints(path, Frame(400, 200))
    assert keypoints.points[0] == pytest.approx([100, 100])
    assert not keypoints.visible[17].any()


@pytest.mark.parametrize(("columns", "suffix"), [(2, ".txt"), (2, ".npy"), (3, ".npy")])
def test_whole_body_files(tmp_path, columns, suffix):
    array = np.random.default_rng(0).uniform(1, 99, (133, columns))
    array[5] = 0
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        np.savetxt(path, array)
    keypoints = read_keypoints(path, Frame(100, 100))
    assert keypoints.skeleton == "wholebody133"
    np.testing.assert_allclose(keypoints.points[:5], array[:5, :2])
    np.testing.assert_array_equal(keypoints.points[5], [-1, -1])


def test_eighteen_lines_are_deepfashion_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"50 60\r\n" * 16 + b"50 80\r\n-1 -1\r\n")
    assert read_keypoints(path).frame == DEEPFASHION_FRAME
    assert read_keypoints(path, Frame(99, 88)).frame == Frame(99, 88)
    assert not read_keypoints(path).visible[17].any()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "50 60\n70 90\n" * 9), ("a.json", openpose(body25(), canvas_height=99, canvas_width=99))],
)
def test_text_may_be_what_windows_writes(tmp_path, name, content, encoding):
    (tmp_path / name).write_text(content)
    expected = read_keypoints(tmp_path / name)
    (tmp_path / name).write_text(content, encoding=encoding)
    np.testing.assert_array_equal(read_keypoints(tmp_path / name).points, expected.points)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "1 2\n" * 17, "18 or 133 lines"),
        ("a.txt", "1 2 3\n" * 18, "18 or 133 lines"),
        ("a.txt", "1 x\n" * 18, "cannot read"),
        ("a.txt", "1 nan\n" * 18, "not pixels"),
        ("a.txt", "1 1e9\n" * 18, "not pixels"),
        ("a.txt", "1 2\n" * 133, "size of the picture"),
        ("a.json", "{", "cannot read"),
        ("a.json", "[]", "'people'"),
        ("a.json", openpose(), "nobody"),
        ("a.json", openpose([1.0, 2.0]), "18 or 25"),
        ("a.json", openpose(body25()), "size of the picture"),
        ("a.json", openpose(body25(confidence=0.0), canvas_height=9, canvas_width=9), "nobody"),
        ("a.json", openpose(body25(), canvas_height=0, canvas_width=9), "positive size"),
        ("a.json", openpose(body25(), canvas_height=None, canvas_width=9), "size of the picture"),
        ("a.json", json.dumps({"people": [[1.0] * 54]}), "18 or 25 points .* found list"),
        ("a.npy", "no array", "cannot read"),
        ("a.xml", "", "'.xml'"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PgpisError, match=message):
        read_keypoints(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(PgpisError, match=r"not found: .*nobody\.txt"):
        read_keypoints(tmp_path / "nobody.txt")


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(PgpisError, match="cannot read"):
        read_keypoints(tmp_path / "a.npy", Frame(9, 9))


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("'<f4'", (10**12, 2)), ("'|S1000000000000'", ()), ("'|O'", (3,)), ("('<f4', (1000000,))", (1000000,)),
        ("'|V0'", (10**15,)), ("[('a', '<f8')]", (133, 3)), ("'<f4'", (2**62, 0)), ("'<f4'", (-1, 3)),
        ("'<c8'", (133, 3)),
    ],
)  # fmt: skip
def test_arrays_that_claim_more_than_they_hold_take_no_memory(tmp_path, descr, shape):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header) - 1 + 64) + b"\n"
    path = tmp_path / "pose.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24))
    tracemalloc.start()
    try:
        with pytest.raises(PgpisError, match=r"pose\.npy"):
            read_keypoints(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_large_arrays_and_archives_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "pose.npy", np.zeros((133, 3)))
    np.savez(tmp_path / "pose.npz", a=np.zeros((133, 3)))
    (tmp_path / "pose.npz").rename(tmp_path / "archive.npy")
    with pytest.raises(PgpisError, match=r"archive\.npy holds NpzFile"):
        read_keypoints(tmp_path / "archive.npy")
    monkeypatch.setattr(arrays, "LARGEST", 1000)
    with pytest.raises(PgpisError, match=r"pose\.npy holds an array of 3192 bytes"):
        read_keypoints(tmp_path / "pose.npy")


@pytest.mark.parametrize("skeleton", SKELETONS)
@pytest.mark.parametrize("frame", [SMALL, DEEPFASHION_FRAME])
def test_exact_openpose_is_read_as_it_was_to_the_last_bit(skeleton, frame):
    keypoints = random_keypoints(skeleton, frame, seed=3)
    content = exact_openpose(keypoints)
    back = parse_openpose(json.loads(json.dumps(content)), Path("a.json"))
    assert exact_openpose(back) == content
    drawn = keypoints.to_body18() if skeleton == "coco17" else keypoints
    np.testing.assert_array_equal(draw_pose(drawn, 550, 375), draw_pose(back, 550, 375))
