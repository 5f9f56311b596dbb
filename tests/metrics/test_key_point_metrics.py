"""PCK, PCKh and OKS in closed form."""

import numpy as np
import pytest

from pgpis.metrics.body import HEAD, SIGMAS, oks, pck, pckh
from pgpis.pictures.keypoints import NECK, Frame, Keypoints

FRAME = Frame(256, 176)


def person(moved=(0.0, 0.0), hidden=(), scale=1.0):
    """A person in a box of 40 x 100, whose head's box is 10 x 20."""
    points = np.stack([np.linspace(0, 40, 18), np.linspace(0, 100, 18)], axis=1)
    points[HEAD] = [[15, 0], [20, 20], [18, 5], [22, 5], [15, 6], [25, 6]]
    visible = np.ones((18, 2), bool)
    visible[list(hidden)] = False
    frame = Frame(256 * scale, 176 * scale)
    return Keypoints.from_visible((points + 30 + np.array(moved)) * scale, visible, frame, "body18")


@pytest.mark.parametrize("measure", [pck, pckh, oks])
def test_the_truth_and_nobody(measure):
    assert measure(person(), person()) == 1
    assert measure(None, person()) == 0
    assert measure(person(hidden=range(1, 18)), person()) == pytest.approx(1 / (17 if measure is oks else 18))
    assert np.isnan(measure(person(), person(hidden=range(17))))


@pytest.mark.parametrize("measure", [pck, pckh, oks])
def test_they_do_not_depend_on_the_size_of_the_picture(measure):
    moved = (3.0, 4.0)
    assert measure(person(moved), person()) == pytest.approx(measure(person(moved, scale=3), person(scale=3)))


def test_pck_reaches_a_tenth_of_the_longer_side():
    side = np.ptp(person().points, axis=0).max()
    assert pck(person((0.099 * side, 0)), person()) == 1
    assert pck(person((0.101 * side, 0)), person()) == 0


def test_pckh_reaches_half_of_the_heads_box_along_each_axis():
    assert pckh(person((4.9, 9.9)), person()) == 1
    assert pckh(person((5.1, 0)), person()) == 0
    assert pckh(person((0, 10.1)), person()) == 0
    assert np.isnan(pckh(person(), person(hidden=HEAD[1:])))


def test_oks_is_cocos():
    truth = person()
    area = np.ptp(truth.points, axis=0).prod()
    sigmas = np.delete(SIGMAS, NECK)
    expected = np.exp(-25 / (2 * area * (2 * sigmas) ** 2)).mean()
    assert oks(person((3, 4)), truth) == pytest.approx(expected)
    assert SIGMAS[[0, 2, 4, 8, 10, 14, 16]].tolist() == [0.026, 0.079, 0.062, 0.107, 0.089, 0.025, 0.035]


def test_what_the_truth_does_not_show_does_not_count():
    assert pck(person((0, 0), hidden=(4,)), person(hidden=(4, 7))) == 1
    assert pck(person(hidden=(4,)), person()) == pytest.approx(17 / 18)
