import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pgpis.data import PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.pictures.drawing import STICK_WIDTH, colors_of, draw_pose
from pgpis.pictures.keypoints import POINT_COUNTS, Frame, Keypoints


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "pose_drawing.py"
    spec = importlib.util.spec_from_file_location("pose_drawing_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("skeleton", STICK_WIDTH)
@pytest.mark.parametrize("stick_width", [1, 4, 9])
@pytest.mark.parametrize("seed", range(6))
def test_same_pixels_as_blending_the_whole_canvas(benchmark, skeleton, stick_width, seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(20, 150, 2)
    # far beyond every edge too: limbs are clipped, or lie outside altogether
    points = generator.uniform(-0.6, 1.6, (POINT_COUNTS[skeleton], 2)) * [width, height]
    points[generator.random(points.shape) < 0.1] = -1
    points[3] = points[2]
    keypoints = Keypoints.from_array(points, Frame(height, width), skeleton)
    expected = benchmark.draw_pose_slowly(points, skeleton, height, width, stick_width)
    np.testing.assert_array_equal(draw_pose(keypoints, height, width, stick_width=stick_width), expected)


def test_a_single_limb_is_blended_over_its_points():
    points = np.full((18, 2), -1.0)
    points[1], points[2] = (10, 20), (50, 20)
    drawing = draw_pose(Keypoints.from_array(points, Frame(40, 60), "body18"), 40, 60)
    assert drawing[20, 30].tolist() == [0, 0, round(0.6 * 255)]  # limb 1: blue in RGB, over black
    red, green, blue = (255, 85, 0)[::-1]
    assert drawing[17, 10].tolist() == [red, green, blue]  # point 1, above the tip of the limb
    assert drawing[:10].sum() == 0


def test_drawing_scales_with_the_frame():
    keypoints = Keypoints.from_array(np.random.default_rng(0).uniform(5, 45, (18, 2)), Frame(50, 50), "body18")
    doubled = Keypoints(keypoints.points * 2, keypoints.visible, Frame(100, 100), "body18")
    np.testing.assert_array_equal(draw_pose(keypoints, 100, 100), draw_pose(doubled, 100, 100))


def test_colors_leave_the_global_generator_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    colors_of.cache_clear()
    assert len(set(colors_of("wholebody133"))) > 120
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


BODY = Keypoints.from_array(np.linspace([2.0, 2.0], [7.0, 8.0], 18), Frame(9, 9), "body18")


@pytest.mark.parametrize("canvas", [(0, 0), (-1, 9), (9, 0), (10**6, 10**6), (40_000, 1), (2**14, 2**13)])
def test_canvases_out_of_bounds_are_named(canvas):
    with pytest.raises(PgpisError, match="pose_canvas is"):
        draw_pose(BODY, *canvas)
    with pytest.raises(PgpisError, match="pose_canvas is"):
        PoseTransferDataModule(pose_canvas=canvas)


@pytest.mark.parametrize("stick_width", [0, -1, 10_000, 2**40])
def test_limbs_out_of_bounds_are_named(stick_width):
    with pytest.raises(PgpisError, match="stick_width is"):
        draw_pose(BODY, 550, 375, stick_width=stick_width)
    with pytest.raises(PgpisError, match="stick_width is"):
        PoseTransferDataModule(stick_width=stick_width)


@pytest.mark.parametrize("far", [1e5, -1e5, 3e4])
def test_points_far_outside_are_cut(far):
    points = np.array(BODY.points)
    points[::2] = far
    drawn = draw_pose(Keypoints.from_array(points, Frame(550, 375), "body18"), 550, 375, stick_width=100)
    assert drawn.shape == (550, 375, 3)


@pytest.mark.parametrize("size", [(0, 5), (5, float("inf")), (float("nan"), 5), (1e6, 5)])
def test_frames_out_of_bounds_are_named(size):
    with pytest.raises(PgpisError, match=r"pose_size: .*positive size"):
        Frame(*size, name="pose_size")


def test_skeleton_without_a_drawing_is_refused():
    with pytest.raises(PgpisError, match="to_body18"):
        draw_pose(Keypoints.from_array(np.ones((17, 2)), Frame(9, 9), "coco17"), 9, 9)
