import dataclasses

import numpy as np
import pytest

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Pose, from_json
from pgpis.synth.figure.identity import sample_identity
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.skeleton import bone_rotations
from pgpis.synth.files.manifest import plain
from pgpis.synth.scene.camera import frame_person, place_person, project
from pgpis.synth.scene.motion import HAND_SHAPES, sign_sequence
from pgpis.synth.scene.poses import ARM_PAIRS, interpolate, sample_pose
from pgpis.synth.scene.sampling import signer_of, views_of
from pgpis.synth.scene.scene import Camera

BONES = {
    "upperarm": ("upperarm01", "lowerarm01"),
    "lowerarm": ("lowerarm01", "wrist"),
    "upperleg": ("upperleg01", "lowerleg01"),
    "lowerleg": ("lowerleg01", "foot"),
}


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def shapes(body):
    people = [sample_identity(np.random.default_rng(seed)) for seed in range(5)]
    return [body.shape(identity.shape, identity.face) for identity in people]


def poses(count):
    rng = np.random.default_rng(0)
    kinds = list(ARM_PAIRS)
    return [sample_pose(rng, kinds[number % len(kinds)]) for number in range(count)]


def test_limbs_point_where_the_pose_says_on_every_body(body, shapes):
    for shape in shapes:
        for pose in poses(12):
            still = dataclasses.replace(pose, rotations={})
            joints = body.pose(shape, bone_rotations(body, shape, still)).joints
            for name, wanted in still.directions.items():
                limb, side = name.split(".")
                hanging = limb.endswith("arm") and wanted[2] < -0.75 * np.linalg.norm(wanted)
                if hanging:  # may be held out from wide hips
                    continue
                start, end = (joints[body.bone[f"{bone}.{side}"]] for bone in BONES[limb])
                cosine = (end - start) @ np.array(wanted) / np.linalg.norm(end - start) / np.linalg.norm(wanted)
                assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 2


def test_rotations_are_rotations(body, shapes):
    for pose in poses(40):
        rotations = bone_rotations(body, shapes[0], pose)
        assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(rotations), 1)


def test_knees_bend_backwards_and_hands_stay_outside_the_hips(body, shapes):
    for pose in poses(60):
        for side in "LR":
            thigh, shin = (np.array(pose.directions[f"{limb}.{side}"]) for limb in ("upperleg", "lowerleg"))
            assert shin[1] / abs(shin[2]) > thigh[1] / abs(thigh[2]) - 0.45
    for number, shape in enumerate(shapes):
        hips = shape.joints[[body.bone["upperleg01.L"], body.bone["upperleg01.R"]]]
        for pose in poses(60)[number % 2 :: 2]:  # half of them, of two kinds each
            joints = body.pose(shape, bone_rotations(body, shape, pose)).joints
            for side, sign in (("L", 1), ("R", -1)):
                hand = joints[body.bone[f"finger3-1.{side}"]]
                if hand[2] < hips[0, 2] + 0.05 and abs(hand[1]) < 0.05:
                    assert sign * hand[0] > abs(hips[0, 0]) + 0.02


def test_full_views_keep_everything_in_the_picture():
    for person in range(5):
        for scene in views_of(2, person, 3):
            figure = dress(scene.identity, scene.outfit)
            seen = place_person(figure.pose(scene.pose)[0], scene.pose.turn)[np.unique(figure.faces)]
            x, y, _ = project(scene.camera, seen, 256).T
            assert x.min() > 0
            assert x.max() < 176
            assert y.min() > 0
            assert y.max() < 256


def test_projection_of_a_hand_computed_point():
    camera = Camera(focal=2.0, distance=4.0, center=(0.5, 0.5), target=(0.0, 1.0))
    points = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 2], [1, 4, 1]], np.float32)
    expected = [[50, 50, -250], [100, 50, -250], [50, 0, -250], [75, 50, -125]]
    assert np.allclose(project(camera, points, 100), expected)


def test_unknown_framings_and_kinds_are_refused():
    points = {
        f"{side}_{joint}": np.zeros((1, 3), np.float32) for side in ("left", "right") for joint in ("hip", "knee")
    }
    with pytest.raises(ValueError, match="upper"):
        frame_person(np.eye(3, dtype=np.float32), points, np.random.default_rng(0), "close", 0.7)
    with pytest.raises(KeyError):
        sample_pose(np.random.default_rng(0), "handstand")


def test_interpolation_meets_both_ends():
    first, second = poses(2)
    assert interpolate(first, second, 0.0).directions == first.directions
    middle = interpolate(first, second, 0.5)
    for name, value in middle.directions.items():
        assert np.allclose(value, (np.array(first.directions[name]) + second.directions[name]) / 2)
    assert from_json(Pose, plain(middle)) == middle


def test_signing_is_smooth_articulated_and_reproducible(body, shapes):
    sequence = sign_sequence(np.random.default_rng(4), 75)
    assert sequence == sign_sequence(np.random.default_rng(4), 75)
    assert len(sequence) == 75
    joints = np.stack([body.pose(shapes[0], bone_rotations(body, shapes[0], pose)).joints for pose in sequence])
    step = np.linalg.norm(np.diff(joints, axis=0), axis=2)
    hands = [body.bone["wrist.L"], body.bone["wrist.R"]]
    assert step[:, hands].max() < 0.16  # metres in a 25th of a second: 4 m/s
    assert np.linalg.norm(np.diff(joints, n=2, axis=0), axis=2).max() < 0.09
    assert joints[:, hands].std(axis=0).max() > 0.05
    curls = np.array([pose.fingers["R"][1:5] for pose in sequence])
    assert curls.std(axis=0).min() > 0.05
    assert len(HAND_SHAPES) >= 12


def test_a_signer_keeps_camera_clothes_and_light():
    first, *others = signer_of(0, 1, 12)
    for scene in others:
        assert dataclasses.replace(scene, pose=first.pose) == first
