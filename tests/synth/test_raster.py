from typing import Any, NamedTuple

import numpy as np
import pytest
import reference_raster

from pgpis.synth.figure import raster

SQUARE = np.array([[1.0, 1, 5], [9, 1, 5], [9, 9, 5], [1, 9, 5]], np.float32)
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


class Fragments(NamedTuple):
    triangle: Any
    weights: Any
    depth: Any


def show(points, faces, clip=None, size=10):
    clip = np.zeros(len(points), np.float32) if clip is None else clip
    return Fragments(*raster.rasterize(points, faces, clip, size, size))


def test_a_square_covers_its_pixel_centres_once():
    shown = show(SQUARE, SQUARE_FACES)
    expected = np.zeros((10, 10), bool)
    expected[1:9, 1:9] = True
    assert np.array_equal(shown.triangle >= 0, expected)
    assert np.isinf(shown.depth[~expected]).all()
    assert np.allclose(shown.depth[expected], 5)


def test_the_nearer_triangle_wins_whatever_the_order():
    near = SQUARE - np.array([0, 0, 1], np.float32)
    points = np.concatenate([SQUARE, near])
    for faces, expected in (
        (np.concatenate([SQUARE_FACES, SQUARE_FACES + 4]), {2, 3}),
        (np.concatenate([SQUARE_FACES + 4, SQUARE_FACES]), {0, 1}),
    ):
        shown = show(points, faces.astype(np.int32))
        assert set(shown.triangle[1:9, 1:9].ravel()) == expected


def test_clipping_cuts_along_the_zero_line_of_the_field():
    shown = show(SQUARE, SQUARE_FACES, clip=np.array([-4.0, 4, 4, -4], np.float32))
    assert (shown.triangle[1:9, 5:9] >= 0).all()
    assert (shown.triangle[:, :5] == -1).all()


def test_weights_are_perspective_correct():
    distance = np.array([1.0, 4.0, 4.0])
    points = np.array([[0.0, 0, 0], [8, 0, 0], [0, 8, 0]], np.float32)
    points[:, 2] = -1 / distance
    faces = np.array([[0, 1, 2]], np.int32)
    middle = raster.correct_weights(points, faces, np.array([0], np.int32), np.array([[0.5, 0.0]], np.float32))
    # half way on the screen between distances 1 and 4 lies, in space, a fifth of the way
    assert np.allclose(middle, [[0.8, 0.2, 0.0]])
    values = np.array([[0.0], [10.0], [0.0]], np.float32)
    assert raster.interpolate(values, faces, np.array([0], np.int32), middle)[0, 0] == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_plain_numpy_on_random_triangles(seed):
    rng = np.random.default_rng(seed)
    center = rng.uniform(-5, 65, (300, 1, 2))
    corners = np.concatenate([center + rng.normal(0, 6, (300, 3, 2)), rng.uniform(1, 9, (300, 3, 1))], 2)
    points = corners.reshape(-1, 3).astype(np.float32)
    faces = np.arange(900, dtype=np.int32).reshape(-1, 3)
    clip = rng.normal(0.3, 1, 900).astype(np.float32)
    ours = Fragments(*raster.rasterize(points, faces, clip, 64, 60))
    reference = Fragments(*reference_raster.rasterize(points, faces, clip, 64, 60))
    assert (ours.triangle >= 0).mean() > 0.3
    assert np.array_equal(ours.triangle, reference.triangle)
    assert np.allclose(ours.weights, reference.weights, atol=1e-6)
    assert np.array_equal(ours.depth, reference.depth)
