import numpy as np
import pytest

from pgpis.synth.figure.body import PHENOTYPES, load_body
from pgpis.synth.figure.mesh import nearest, vertex_normals

AVERAGE = dict.fromkeys(PHENOTYPES[:7], 0.6) | dict.fromkeys(PHENOTYPES[7:], 1 / 3)


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def shape(body):
    return body.shape(AVERAGE, {})


def turned(body, **angles):
    """Rotations (B, 3, 3): the named bones turn about Y by an angle in degrees; `_` in a name stands for a dot."""
    rotations = np.repeat(np.eye(3)[None], len(body.bones), axis=0)
    for name, angle in angles.items():
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        rotations[body.bone[name.replace("_", ".")]] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    return rotations


def test_an_adult_stands_upright_facing_the_viewer(body, shape):
    points = body.keypoints(shape, body.pose(shape, turned(body)))
    skin = shape.vertices[: body.parts["body"].vertices[1]]
    assert 1.5 < np.ptp(skin[:, 2]) < 2.1
    assert points["left_shoulder"][0] > 0.1 > -0.1 > points["right_shoulder"][0]
    assert points["nose"][1] < points["left_ear"][1]
    assert points["nose"][2] > points["left_hip"][2] > points["left_knee"][2] > points["left_ankle"][2]


def test_phenotypes_do_what_they_are_called(body):
    def size(axis, **changes):
        return np.ptp(body.shape(AVERAGE | changes, {}).vertices[:13380, axis])

    assert size(2, height=0.8) > size(2, height=0.3) + 0.1
    hips = body.canonical[:13380]
    belly = (np.abs(hips[:, 2] - 0.1) < 0.04) & (np.abs(hips[:, 0]) < 0.2)

    def waist(weight):
        return np.ptp(body.shape(AVERAGE | {"weight": weight}, {}).vertices[:13380][belly, 1])

    assert waist(0.8) > waist(0.2) + 0.015


def test_face_shapes_move_only_the_head_and_both_ways(body, shape):
    up = body.shape(AVERAGE, {"nose-hump-incr": 0.8}).vertices - shape.vertices
    down = body.shape(AVERAGE, {"nose-hump-incr": -0.8}).vertices - shape.vertices
    moved = np.abs(up).max(axis=1) > 1e-4
    assert 20 < moved.sum() < 2000
    assert (body.head[moved] > 0.5).all()
    assert np.sum(up * down) < 0
    assert np.allclose(
        body.expression({"mouthSmileLeft": 0.5})[:, 0].sum(), body.expression({"mouthSmileLeft": 1})[:, 0].sum() / 2
    )


def test_unknown_face_shapes_and_missing_phenotypes_are_refused(body):
    with pytest.raises(KeyError, match="nose-upside-down"):
        body.shape(AVERAGE, {"nose-upside-down": 0.5})
    with pytest.raises(KeyError):
        body.shape({"gender": 0.5}, {})


def test_no_rotation_is_the_rest_pose(body, shape):
    posed = body.pose(shape, turned(body))
    everything = np.arange(body.vertex_count, dtype=np.int32)
    assert np.allclose(body.skin(shape.vertices, everything, posed), shape.vertices, atol=1e-5)
    assert np.allclose(posed.joints, shape.joints, atol=1e-6)
    assert np.allclose(posed.tips, shape.tips, atol=1e-6)


def test_a_turned_elbow_swings_the_hand_and_nothing_else(body, shape):
    rest = body.pose(shape, turned(body))
    posed = body.pose(shape, turned(body, lowerarm01_L=60))
    moved = np.linalg.norm(posed.joints - rest.joints, axis=1)
    assert moved[body.bone["wrist.L"]] > 0.15
    assert moved[body.bone["lowerarm01.L"]] == 0
    assert moved[body.bone["wrist.R"]] == 0
    elbow, wrist = body.bone["lowerarm01.L"], body.bone["wrist.L"]
    length = np.linalg.norm(posed.joints[wrist] - posed.joints[elbow])
    assert length == pytest.approx(np.linalg.norm(rest.joints[wrist] - rest.joints[elbow]), rel=1e-5)
    everything = np.arange(body.vertex_count, dtype=np.int32)
    skin = body.skin(shape.vertices, everything, posed)
    changed = np.abs(skin - shape.vertices).max(axis=1) > 1e-4
    assert (body.arm[changed] > 0.001).all()
    assert changed[body.along_arm > 1.6].sum() > 500


def test_the_skin_is_a_sensible_surface(body, shape):
    part = body.parts["body"]
    normals = vertex_normals(shape.vertices, part.faces)
    used = np.unique(part.faces)
    assert np.allclose(np.linalg.norm(normals[used], axis=1), 1, atol=1e-4)
    chest = (
        (np.abs(body.canonical[:, 2] - 0.3) < 0.05)
        & (np.abs(body.canonical[:, 0]) < 0.05)
        & (np.arange(body.vertex_count) < 13380)
    )
    front = chest & (body.canonical[:, 1] < 0) & np.isin(np.arange(body.vertex_count), used)
    assert (normals[front, 1] < 0).mean() > 0.95
    assert np.isclose(body.skin_weight.sum(axis=1), 1, atol=1e-3).all()
    assert ((body.occlusion >= 0) & (body.occlusion <= 1)).all()


def test_the_nearest_place_is_the_first_of_those_as_near():
    rng = np.random.default_rng(0)
    points, places = (rng.normal(size=(count, 3)).astype(np.float32) for count in (40, 300))
    places = np.concatenate([places, places[::-1], points[:1]])
    expected = [((places - point) ** 2).sum(axis=1).argmin() for point in points]
    np.testing.assert_array_equal(nearest(points, places), expected)
    assert nearest(points, places)[0] == len(places) - 1
    assert nearest(points[:0], places).shape == (0,)
