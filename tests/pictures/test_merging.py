"""One texture of several pictures of a person."""

import cv2
import numpy as np
import pytest

from pgpis.pictures.merging import merge_surfaces, merge_textures, pixels_per_texel
from pgpis.pictures.surface import FILLED, SEEN, surface_of
from pgpis.pictures.uv_texture import TextureMapper, part_table, texel_places, texel_table
from pgpis.synth.figure.atlas import person_atlas, texture_charts
from pgpis.synth.figure.person import dress
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of

FRONT, BACK = 2, 1


def view(height: int, *parts: int) -> np.ndarray:
    """Return a map on which parts, whole ones, lie below each other, so many rows high each."""
    iuv = np.zeros((height * len(parts), 60, 3), np.uint8)
    for number, part in enumerate(parts):
        rows = slice(number * height, (number + 1) * height)
        iuv[rows, :, 0] = part
        iuv[rows, :, 1] = np.linspace(0, 255, 60)[None]
        iuv[rows, :, 2] = np.linspace(255, 0, height)[:, None]
    return iuv


def framed(height: int, enlarged: int = 1) -> np.ndarray:
    """Return a map of ``FRONT`` so many rows high in a picture of 200, each pixel of which is enlarged."""
    iuv = np.zeros((200, 60, 3), np.uint8)
    iuv[:height] = view(height, FRONT)
    return iuv.repeat(enlarged, axis=0).repeat(enlarged, axis=1)


def plain(grey: int, *parts: int) -> np.ndarray:
    texture = np.zeros((512, 512, 3), np.uint8)
    texture[np.isin(part_table(), parts)] = grey
    return texture


def test_a_single_texture_stays():
    texture = plain(50, FRONT)
    assert merge_textures([texture], [pixels_per_texel(view(40, FRONT))]) is texture


def test_twice_as_many_pixels_are_twice_as_many_per_texel():
    own = part_table() == FRONT
    far, near = (pixels_per_texel(framed(height)) for height in (80, 160))
    np.testing.assert_allclose(near[own].mean() / far[own].mean(), 2, rtol=0.02)
    assert not far[part_table() == BACK].any()


@pytest.mark.parametrize("enlarged", [1, 4])
@pytest.mark.parametrize("nearest", [0, 1])
def test_the_picture_with_most_pixels_wins_in_any_order(nearest, enlarged):
    """However large the file of the other one is."""
    maps = [framed(60, enlarged), framed(60, enlarged)]
    maps[nearest] = framed(180)
    density = [pixels_per_texel(iuv) for iuv in maps]
    merged = merge_textures([plain(50, FRONT), plain(200, FRONT)], density)
    greys, counts = np.unique(merged[part_table() == FRONT], return_counts=True)
    assert greys[counts.argmax()] == (50, 200)[nearest]
    assert counts.max() / counts.sum() > 0.95  # but for texels at the border, where the grid of pixels decides


@pytest.mark.parametrize("enlarged", [1, 3])
def test_pictures_of_one_size_are_merged_by_their_pixels(enlarged):
    maps = [framed(height, enlarged) for height in (60, 180, 100)]
    for iuv, rows in zip(maps, (slice(0, 20), slice(50, 120), slice(100, 140)), strict=True):
        iuv[rows] = 0
    surfaces = [surface_of(np.full(iuv.shape, 60 * number, np.uint8), iuv) for number, iuv in enumerate(maps, 1)]
    counts = []
    for iuv in maps:
        charts = np.bincount(texel_places(iuv)[0], minlength=24 * 200**2).reshape(24, 200, 200).astype(np.float32)
        means = np.ravel([cv2.GaussianBlur(chart, (0, 0), 5) for chart in charts])
        counts.append(np.maximum(np.take(np.concatenate([[0], means]), texel_table()), 1e-6))
    merged = merge_surfaces(surfaces, [pixels_per_texel(iuv) for iuv in maps])
    np.testing.assert_array_equal(merged, merge_surfaces(surfaces, counts))
    assert len(np.unique(merged[:, :512])) > 10  # all have a part in it, with seams


def test_each_shows_what_the_others_do_not():
    density = [pixels_per_texel(view(100, *parts)) for parts in ((FRONT,), (BACK, FRONT))]
    merged = merge_textures([plain(50, FRONT), plain(200, BACK, FRONT)], density)
    assert (merged[part_table() == BACK] == 200).all()
    assert not merged[~np.isin(part_table(), (FRONT, BACK))].any()


def test_what_a_map_says_nothing_of_is_better_than_nothing():
    merged = merge_textures([plain(50, FRONT), plain(90, BACK)], [pixels_per_texel(view(50, FRONT))] * 2)
    assert (merged[part_table() == BACK] == 90).all()


def test_seams_are_soft_and_within_what_meets_there():
    upper, lower = view(100, FRONT), view(100, FRONT)
    upper[55:, :, 0], lower[:45, :, 0] = 0, 0  # a band in the middle is in both
    textures = [plain(50, FRONT), plain(200, FRONT)]
    merged = merge_textures(textures, [pixels_per_texel(upper), pixels_per_texel(lower)])[part_table() == FRONT]
    assert merged.min() == 50
    assert merged.max() == 200
    assert len(np.unique(merged)) > 10


def test_surfaces_know_what_any_picture_shows():
    maps = [view(100, FRONT), view(100, FRONT)]
    maps[0][55:, :, 0], maps[1][:45, :, 0] = 0, 0
    colours = [np.full((100, 60, 3), grey, np.uint8) for grey in (50, 200)]
    surfaces = [surface_of(colour, iuv) for colour, iuv in zip(colours, maps, strict=True)]
    density = [pixels_per_texel(iuv) for iuv in maps]
    merged = merge_surfaces(surfaces, density)
    known = [surface[:, 512:, 0] for surface in (*surfaces, merged)]

    assert merge_surfaces(surfaces[:1], density[:1]) is surfaces[0]
    np.testing.assert_array_equal(known[2], np.maximum(known[0], known[1]))
    assert (known[0][part_table() == FRONT] == FILLED).any()
    assert (known[2][part_table() == FRONT] == SEEN).mean() > 0.95
    assert not known[2][part_table() == BACK].any()


def test_the_same_picture_again_changes_nothing():
    half, smaller = view(100, FRONT, BACK), view(40, FRONT)
    half[55:100, :, 0], smaller[16:, :, 0] = 0, 0  # a hole to fill, beside what both see
    colours = np.random.default_rng(0).integers(1, 256, (200, 60, 3), dtype=np.uint8)
    surface, less = surface_of(colours, half), surface_of(colours[:40], smaller)
    density = [pixels_per_texel(iuv) for iuv in (half, half)]
    np.testing.assert_array_equal(merge_surfaces([surface, surface], density), surface)
    textures = [surface[:, :512] for _ in density]
    np.testing.assert_array_equal(merge_textures(textures, density), textures[0])
    # nor does a picture that shows nothing best
    density[1] = pixels_per_texel(smaller) / 100
    np.testing.assert_array_equal(merge_surfaces([surface, less], density), surface)
    np.testing.assert_array_equal(merge_surfaces([less, surface], density[::-1]), surface)


@pytest.mark.slow
def test_three_pictures_of_a_drawn_person_come_closer_to_the_truth():
    """The promise: what the first picture does not show is at least 30 % nearer to the truth at three pictures."""
    scenes = views_of(3, 0, 3, 176 / 256)  # from the front, from a side, from behind
    atlas = person_atlas(dress(scenes[0].identity, scenes[0].outfit))[0]
    truth = TextureMapper().texture(texture_charts(atlas)).astype(float)
    pictures = [draw(scene, 256, 176) for scene in scenes]
    surfaces = [surface_of(picture.rgb, picture.iuv) for picture in pictures]
    density = [pixels_per_texel(picture.iuv) for picture in pictures]
    unseen = (part_table() > 0) & (surfaces[0][:, 512:, 0] != SEEN)
    errors = [
        np.abs(merge_surfaces(surfaces[:number], density[:number])[:, :512][unseen] - truth[unseen]).mean()
        for number in (1, 2, 3)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.7 * errors[0]
