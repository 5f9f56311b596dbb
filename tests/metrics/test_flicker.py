"""Warp error: what moves with the flow costs nothing, and what is not known does not count."""

import numpy as np
import pytest

from pgpis.errors import PgpisError
from pgpis.metrics.flicker import warp_error


def picture(seed=0, height=12, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def moved_by(x, y, height=12, width=10):
    return np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()


def test_what_moves_with_the_flow_has_no_error():
    second = picture()
    first = np.roll(second, (-1, -2), axis=(0, 1))  # what it shows is two pixels to the right in the second, one below
    flow = moved_by(2, 1)
    flow[:, -2:] = flow[-1:] = np.nan
    error = warp_error(first, second, flow)
    assert np.nanmax(error) == 0
    assert np.array_equal(np.isnan(error), np.isnan(flow[..., 0]))
    assert np.nanmean(warp_error(first, second, np.where(np.isnan(flow), np.nan, 0))) > 20


def test_flow_out_of_the_frame_does_not_count():
    second = picture()
    error = warp_error(np.roll(second, (1, -2), axis=(0, 1)), second, moved_by(2, -1))
    assert np.isnan(error[0]).all()
    assert np.isnan(error[:, -2:]).all()
    assert (error[1:, :-2] == 0).all()


def test_it_is_the_mean_absolute_difference_of_interpolated_colours():
    first, second = np.zeros((1, 3, 3), np.uint8), np.zeros((1, 3, 3), np.uint8)
    second[0, :, 0] = 0, 60, 120  # red alone
    error = warp_error(first, second, moved_by(0.25, 0, 1, 3))
    np.testing.assert_allclose(error, [[5, 25, 40]], atol=1e-4)  # the last pixel reaches half a pixel past its centre


def test_sizes_must_agree():
    with pytest.raises(PgpisError, match=r"frames of \(12, 10\) and \(12, 9\)"):
        warp_error(picture(), picture(width=9), moved_by(0, 0))
