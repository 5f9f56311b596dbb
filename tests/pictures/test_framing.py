"""A picture that is framed anew: what stays where it was, and what comes into the margin."""

import math

import numpy as np
import pytest
from PIL import Image

from pgpis.pictures.framing import reframed

SMOOTH = np.stack(np.meshgrid(np.arange(80), np.arange(120)), axis=-1)
PICTURE = Image.fromarray(np.concatenate([SMOOTH * 2, np.full((120, 80, 1), 9)], axis=2).astype(np.uint8))
"""Red says 2 x, green 2 y."""


def place_of(picture, x, y):
    """Say which place of the original a pixel shows."""
    red, green, _ = picture.getpixel((x, y))
    return red / 2, green / 2


def test_nothing_changes_where_nothing_is_asked_for():
    assert reframed(PICTURE, 1, 0).tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize(
    ("zoom", "cut", "corner", "opposite"),
    [
        (2, 0, (20, 30), (60, 90)),
        (1, 0.5, (20, 0), (60, 60)),
        (2, 0.5, (30, 15), (50, 45)),
    ],
)
def test_it_shows_the_part_that_was_asked_for(zoom, cut, corner, opposite):
    result = reframed(PICTURE, zoom, cut)
    assert result.size == PICTURE.size
    assert place_of(result, 0, 0) == pytest.approx(corner, abs=1.5)
    assert place_of(result, 79, 119) == pytest.approx(opposite, abs=1.5)


def test_what_is_farther_away_stands_on_the_colour_of_the_upper_edge():
    result = np.asarray(reframed(PICTURE, 0.5, 0))
    edge = np.median(np.asarray(PICTURE)[0], axis=0)
    for corner in (result[0, 0], result[-1, -1], result[0, -1]):
        np.testing.assert_allclose(corner, edge, atol=1)
    assert place_of(Image.fromarray(result), 40, 60) == pytest.approx((40, 60), abs=2)
    cut = np.asarray(reframed(PICTURE, 0.8, 0.1))
    assert cut.shape == result.shape


@pytest.mark.parametrize("zoom", [0.3, 0.5, 0.7, 0.99, 1, 1.8])
@pytest.mark.parametrize("cut", [0.1, 0.3, 0.5, 0.9])
def test_what_was_cut_off_never_comes_back(zoom, cut):
    pixels = np.full((120, 80, 3), 128, np.uint8)
    pixels[math.ceil(120 * (1 - cut)) :] = 255, 0, 0
    side = math.floor(80 * cut / 2)
    pixels[:, :side] = pixels[:, 80 - side :] = 255, 0, 0
    result = np.asarray(reframed(Image.fromarray(pixels), zoom, cut)).astype(int)
    assert (result[..., 0] - result[..., 1] < 40).all()
