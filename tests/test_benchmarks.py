"""``make bench`` fails where a benchmark comes to less than its bound; here with figures in place of measurements."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import data, pairs, video

ROOT = Path(__file__).parents[1]


def words_of_make(name):
    """Return the options that ``make bench`` gives to a benchmark."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^BENCHMARKS := (.*)$", makefile, re.MULTILINE)
    (words,) = (word.split()[1:] for word in shlex.split(line) if word.split()[0] == name)
    return words


@pytest.mark.parametrize(("features", "code"), [((20.0, 20.0), 0), ((20.0, 11.0), 1), ((9.0, 20.0), 1)])
def test_loading_features_has_a_bound(features, code, monkeypatch):
    monkeypatch.setattr(data, "make_dataset", lambda *_: SimpleNamespace(failures=[]))
    monkeypatch.setattr(data, "DeepFashion", lambda *_: SimpleNamespace(setup=lambda: None, on_missing=OnMissing()))
    monkeypatch.setattr(data, "declared", lambda: {"FPDM": {}, "MCLD": {}})
    monkeypatch.setattr(data, "write_cache", lambda *_: None)
    monkeypatch.setattr(data, "PairTransform", lambda *_, **__: None)
    rates = iter([10.0, features[0], 10.0, features[1]])
    monkeypatch.setattr(data, "rate", lambda *_: next(rates))
    monkeypatch.setattr("sys.argv", ["data.py", *words_of_make("data")])
    assert data.main() == code


class OnMissing:
    def __init__(self, **_options):
        pass


@pytest.mark.parametrize(("cold", "code"), [((6.8, 5.0, 1260.0), 0), ((10.1, 5.0, 1260.0), 1), ((6.8, 5.0, 1301.0), 1)])
def test_a_table_of_a_million_pairs_has_bounds(cold, code, monkeypatch):
    figures = iter([(5.2, 4.0, 1100.0), cold, (8.2, 6.0, 1320.0)])
    monkeypatch.setattr(pairs, "make_folders", lambda *_: None)
    monkeypatch.setattr(pairs, "finish", lambda *_: None)
    monkeypatch.setattr(pairs, "first_picture", lambda *_: next(figures))
    monkeypatch.setattr("sys.argv", ["pairs.py", *words_of_make("pairs")])
    assert pairs.main() == code


def test_hands_are_as_far_off_in_films_of_any_size_and_a_film_without_any_does_not_count(monkeypatch):
    def see(picture):
        share = picture[0, 0, 0] / 256
        points = np.full((33, 3), share * len(picture))
        return SimpleNamespace(seen=np.full(33, share > 0), body=SimpleNamespace(points=points))

    def film(rows, colour):
        return [np.full((rows, rows, 3), colour, np.uint8)]

    monkeypatch.setattr(video, "see", see)
    truths = [SimpleNamespace(pictures=[SimpleNamespace(rgb=film(rows, 16)[0])]) for rows in (256, 512)]
    distances = [video.hand_distance(film(len(truth.pictures[0].rgb), 32), truth) for truth in truths]
    assert distances == pytest.approx([16 * 2**0.5] * 2)
    nobody = video.hand_distance(film(256, 0), truths[0])
    assert np.isnan(nobody)
    assert video.over_films([[1.0, nobody], [3.0, distances[0]]]) == [2.0, distances[0]]
