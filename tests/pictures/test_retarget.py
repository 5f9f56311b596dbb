"""Poses on other bodies."""

import numpy as np
import pytest

from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.pictures.retarget import BONES, TWINS, retarget

STANDING = np.array(
    [
        [50, 20], [50, 40], [40, 40], [38, 60], [36, 80], [60, 40], [62, 60], [64, 80], [45, 90],
        [44, 130], [43, 170], [55, 90], [56, 130], [57, 170], [47, 17], [53, 17], [43, 19], [57, 19],
    ],
    dtype=float,
)  # fmt: skip


def body(points, missing=(), frame=None):
    visible = np.ones((18, 2), bool)
    visible[list(missing)] = False
    return Keypoints.from_visible(np.asarray(points, float), visible, frame or Frame(200, 100), "body18")


def lengths(points):
    return {bone: np.linalg.norm(points.points[bone[1]] - points.points[bone[0]]) for bone in BONES}


def directions(points):
    bones = {bone: points.points[bone[1]] - points.points[bone[0]] for bone in BONES}
    return {bone: vector / np.linalg.norm(vector) for bone, vector in bones.items()}


def with_legs(factor):
    """The same person with shins and thighs of another length."""
    points = STANDING.copy()
    for start, chain in ((8, (9, 10)), (11, (12, 13))):
        for child in chain:
            points[child] = STANDING[start] + (STANDING[child] - STANDING[start]) * factor
    return points


def test_the_same_body_changes_nothing():
    driving = body(STANDING)
    moved = retarget(driving, body(STANDING * 3 + 7, frame=Frame(600, 300)))
    np.testing.assert_allclose(moved.points, driving.points, atol=1e-9)


def test_limbs_keep_their_directions_and_take_the_others_proportions():
    pose = STANDING.copy()
    pose[3:5] = [[20, 40], [10, 25]]  # a raised arm
    driving, source = body(pose), body(with_legs(0.6))
    moved = retarget(driving, source)
    for bone, direction in directions(driving).items():
        np.testing.assert_allclose(directions(moved)[bone], direction, atol=1e-9)
    ours, theirs = lengths(moved), lengths(source)
    legs, trunk = (8, 9), (1, 8)
    assert ours[legs] / ours[trunk] == pytest.approx(theirs[legs] / theirs[trunk])
    np.testing.assert_array_equal(moved.points[1], driving.points[1])


def test_a_limb_that_points_at_the_camera_takes_its_twins_length():
    source = STANDING.copy()
    source[3:5] = source[2] + [[0, 2], [0, 4]]  # one arm of the source is seen from its end
    np.testing.assert_allclose(retarget(body(STANDING), body(source)).points, STANDING, atol=1e-9)


def test_what_is_not_seen_stays_so():
    moved = retarget(body(STANDING, missing=[10, 13]), body(with_legs(0.5), missing=[9, 12]))
    assert (moved.points[[10, 13]] == -1).all()
    assert moved.visible[[9, 12]].all()
    alone = retarget(body(STANDING, missing=[1, *range(2, 14)]), body(STANDING))
    np.testing.assert_allclose(alone.points[14:], STANDING[14:], atol=1e-9)


def test_ratios_are_bounded():
    giant = STANDING.copy()
    giant[[4, 7]] = [[36, 800], [64, 800]]
    moved = lengths(retarget(body(STANDING), body(giant, frame=Frame(900, 100))))
    before = lengths(body(STANDING))
    assert all(0.499 <= moved[bone] / before[bone] <= 2.001 for bone in BONES)


def test_without_a_common_limb_there_is_nothing_to_measure():
    with pytest.raises(PgpisError, match="no limb is seen both"):
        retarget(body(STANDING, missing=range(8)), body(STANDING, missing=range(8, 18)))


def test_limbs_without_length_do_no_harm():
    """A source of one point, and a driving arm of no length."""
    pose = STANDING.copy()
    pose[[3, 4]] = pose[2]
    moved = retarget(body(pose), body(with_legs(1e-300)))
    assert np.isfinite(moved.points).all()
    assert np.abs(moved.points).max() < 500
    with pytest.raises(PgpisError, match="no limb is seen both"):
        retarget(body(pose), body(np.full_like(STANDING, 7.0)))


def test_other_skeletons_are_refused():
    face = Keypoints.from_array(np.ones((133, 2)), Frame(10, 10), "wholebody133")
    with pytest.raises(PgpisError, match="18 body points"):
        retarget(face, body(STANDING))
    assert set(TWINS) <= set(BONES)
    assert set(TWINS.values()) <= set(BONES)
