"""What a picture shows of a body, and what lies behind it."""

import cv2
import numpy as np
import pytest

from pgpis.pictures.backdrop import backdrop_of, with_margin
from pgpis.pictures.surface import FILLED, SEEN, SURFACE_SIZE, fill_charts, paint, seen_charts, surface_of
from pgpis.pictures.uv_texture import part_table


@pytest.fixture
def person():
    """A picture and map of 60 x 40: the front of a torso in red, of a head in black, on grey."""
    picture = np.full((60, 40, 3), 120, np.uint8)
    iuv = np.zeros((60, 40, 3), np.uint8)
    for part, rows, colour in ((2, slice(20, 50), (200, 10, 10)), (23, slice(5, 20), (0, 0, 0))):
        picture[rows, 10:30] = colour
        count = rows.stop - rows.start
        iuv[rows, 10:30, 0] = part
        iuv[rows, 10:30, 1] = np.linspace(0, 255, 20)[None]
        iuv[rows, 10:30, 2] = np.linspace(255, 0, count)[:, None]
    return picture, iuv


def test_a_surface_is_colours_beside_what_is_known(person):
    surface = surface_of(*person)
    texture, known = surface[:, :512], surface[:, 512:]
    parts = part_table()

    assert surface.shape == (*SURFACE_SIZE, 3)
    assert set(np.unique(known)) <= {0, FILLED, SEEN}
    assert (known[parts == 1] == 0).all()  # nothing of the back
    assert (known[parts == 2] > 0).all()
    assert (known[parts == 2] == SEEN).mean() > 0.5
    assert (known[parts == 0] == 0).all()
    assert (texture[parts == 2] == [200, 10, 10]).all()


def test_black_hair_is_seen_too(person):
    surface = surface_of(*person)
    head = part_table() == 23

    assert (surface[:, :512][head] == 0).all()
    assert (surface[:, 512:][head] > 0).all()


def test_the_outline_is_not_taken(person):
    picture, iuv = person
    edge = (iuv[..., 0] > 0) & ~(cv2.erode((iuv[..., 0] > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    picture[edge] = (0, 255, 0)  # colours mixed with the background's

    assert not (surface_of(picture, iuv)[:, :512] == [0, 255, 0]).all(axis=2).any()


def test_filling_takes_the_nearest():
    charts = np.zeros((24, 200, 200, 3), np.uint8)
    seen = np.zeros((24, 200, 200), bool)
    for column, colour in ((20, 50), (180, 90)):
        charts[3, 100, column], seen[3, 100, column] = colour, True
    fill_charts(charts, seen)

    assert (charts[3, :, :100] == 50).all()
    assert (charts[3, :, 101:] == 90).all()
    assert not charts[4].any()


def test_the_source_painted_through_its_own_map_is_the_source(person):
    picture, iuv = person
    charts, seen = seen_charts(picture, iuv)
    fill_charts(charts, seen)
    shown = iuv[..., 0] > 0

    painted = np.full_like(picture, 7)
    paint(painted, charts, iuv)

    assert np.array_equal(painted[shown], picture[shown])
    assert (painted[~shown] == 7).all()


def test_a_backdrop_is_the_picture_around_a_person():
    gradient = np.repeat(np.linspace(40, 200, 90, dtype=np.float32)[:, None, None], 60, axis=1).repeat(3, axis=2)
    picture, person = gradient.astype(np.uint8), np.zeros((90, 60), bool)
    person[20:80, 20:40] = True
    picture[person] = (255, 0, 0)
    backdrop = backdrop_of(picture, person)

    assert np.array_equal(backdrop[:, :10], picture[:, :10])
    assert np.abs(backdrop.astype(int) - gradient).max() < 30
    assert np.array_equal(backdrop_of(picture, np.zeros_like(person))[5], picture[5])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (256, 176)])
def test_backdrops_of_odd_pictures(size):
    picture = np.full((*size, 3), 77, np.uint8)
    person = np.zeros(size, bool)
    person[0, 0] = True

    assert (backdrop_of(picture, person) == 77).all()
    assert (backdrop_of(picture, np.ones(size, bool)) == 77).all()


def test_the_margin_of_a_large_picture_is_that_of_a_small_one(monkeypatch):
    """A pixel of its outline may differ; the dilation that small pictures keep would take minutes of large ones."""
    noise = np.random.default_rng(0).random((12, 9)).astype(np.float32)
    person = cv2.resize(noise, (450, 600), interpolation=cv2.INTER_CUBIC) > 0.7
    dilated = with_margin(person)
    monkeypatch.setattr("pgpis.pictures.backdrop.DILATED", 0)
    near = with_margin(person)
    assert person.sum() < near.sum() < person.size
    assert not (near & ~dilated).any()
    assert not (dilated & ~cv2.dilate(near.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).any()
    assert not with_margin(np.zeros_like(person)).any()
    assert with_margin(np.ones_like(person)).all()
