"""Contact sheets: where each tile lies."""

import numpy as np
from PIL import Image

from pgpis.pictures.sheet import CAPTION, grid, strip


def plain(width, height, colour):
    return Image.new("RGB", (width, height), colour)


def test_tiles_of_a_strip_lie_below_the_caption_with_gaps_after_each():
    pixels = np.asarray(strip([plain(3, 5, "red"), plain(2, 5, "blue")], gap=1, caption="x"))
    assert pixels.shape == (CAPTION + 5, 3 + 1 + 2 + 1, 3)
    assert (pixels[CAPTION:, :3] == (255, 0, 0)).all()
    assert (pixels[CAPTION:, 4:6] == (0, 0, 255)).all()
    assert (pixels[CAPTION:, [3, 6]] == 255).all()


def test_strips_of_a_grid_have_gaps_between_them_alone():
    colours = ["red", "lime", "blue"]
    pixels = np.asarray(grid((plain(4, 3, colour) for colour in colours), 3, (3, 4), across=2, gap=2))
    assert pixels.shape == (2 * 3, 4 + 2 + 4, 3)
    assert (pixels[:3, :4] == (255, 0, 0)).all()
    assert (pixels[:3, 6:] == (0, 255, 0)).all()
    assert (pixels[3:, :4] == (0, 0, 255)).all()
    assert (pixels[:, 4:6] == 255).all()
    assert (pixels[3:, 6:] == 255).all()
