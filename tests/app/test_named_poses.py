"""The library of named poses: each is a person in its frame."""

import numpy as np
import pytest
from PIL import Image

from pgpis.app.poses import FRAME, named_poses, placed, thumbnail
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoint_files import read_keypoints, write_keypoints
from pgpis.pictures.keypoints import Frame

POSES = named_poses()
FACING = sorted(POSES.keys() - {"Back view", "Side view"})
LIMBS = {"upper arm": ((2, 3), (5, 6)), "forearm": ((3, 4), (6, 7)), "thigh": ((8, 9), (11, 12))}


def length(pose, limb):
    first, second = limb
    return np.linalg.norm(pose.points[first] - pose.points[second]) if pose.seen[list(limb)].all() else None


def test_there_is_a_dozen_of_them_and_no_two_are_alike():
    assert len(POSES) >= 12
    drawn = {draw_pose(pose, 256, 176).tobytes() for pose in POSES.values()}
    assert len(drawn) == len(POSES)


@pytest.mark.parametrize("name", POSES)
def test_each_is_a_whole_person_in_the_picture(name, tmp_path):
    pose = POSES[name]
    assert pose.frame == FRAME
    assert pose.seen[1:8].all()
    assert pose.seen.sum() >= 13
    points = pose.points[pose.seen]
    assert (points >= 0).all()
    assert (points <= [176, 256]).all()
    shoulders = abs(pose.points[5, 0] - pose.points[2, 0])
    for limb, sides in LIMBS.items():
        for side in sides:
            shown = length(pose, side)
            assert shown is None or shown < 75, f"{limb} of {name} is longer than that of anybody who fits in"
    assert name == "Side view" or 0.1 < shoulders / np.ptp(points[:, 1]) < 0.5
    write_keypoints(tmp_path / "pose.json", pose)
    assert np.array_equal(read_keypoints(tmp_path / "pose.json").points, pose.points)


@pytest.mark.parametrize("name", FACING)
def test_who_faces_us_has_their_left_to_our_right(name):
    assert POSES[name].points[5, 0] > POSES[name].points[2, 0]
    assert POSES[name].seen[0], "no nose"


def test_who_turns_their_back_has_no_face():
    back = POSES["Back view"]
    assert back.points[5, 0] < back.points[2, 0]
    assert not back.seen[[0, 14, 15]].any()


def test_poses_go_into_other_frames_undistorted():
    pose = POSES["Waving"]
    wide = placed(pose, Frame(256, 512))
    assert np.allclose(wide.points[wide.seen] - pose.points[pose.seen], [(512 - 176) / 2, 0])
    half = placed(pose, Frame(128, 88))
    assert np.allclose(half.points[half.seen] * 2, pose.points[pose.seen])


def test_thumbnails_are_the_drawings():
    picture = thumbnail(POSES["Sitting"])
    assert isinstance(picture, Image.Image)
    assert np.array_equal(np.asarray(picture), draw_pose(POSES["Sitting"], 256, 176))
    assert thumbnail(placed(POSES["Sitting"], Frame(900, 1600))).size == (176, 256)
