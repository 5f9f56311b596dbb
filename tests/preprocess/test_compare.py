"""How far the lifter and DensePose's net agree: here with random weights, through the official nets' interface."""

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from pgpis.cli import main
from pgpis.preprocess.compare import agreement


def square(part, u=0, v=0, columns=slice(0, 4)):
    iuv = np.zeros((4, 8, 3), np.uint8)
    iuv[:, columns] = part, u, v
    return iuv


def test_maps_agree_as_far_as_silhouettes_parts_and_places_do():
    ours = square(2, 51, 102)
    same = agreement(ours, ours)
    assert (same.silhouette, same.parts, same.u, same.v) == (1, 1, 0, 0)
    beside = agreement(ours, square(2, 102, 0, columns=slice(2, 6)))
    assert (beside.silhouette, beside.parts) == (pytest.approx(1 / 3), 1)
    assert (beside.u, beside.v) == (pytest.approx(0.2), pytest.approx(0.4))
    half = ours.copy()
    half[:2, :, 0] = np.where(half[:2, :, 0] > 0, 1, 0)  # another part, whose places mean nothing beside these
    half[:2, :, 1] = 255
    other = agreement(ours, half)
    assert (other.silhouette, other.parts, other.u, other.v) == (1, 0.5, 0, 0)
    apart = agreement(ours, square(2, columns=slice(6, 8)))
    assert apart.silhouette == 0
    assert np.isnan([apart.parts, apart.u, apart.v]).all()


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "collins.png")
    Image.new("RGB", (60, 80), "white").save(folder / "nobody.png")
    return folder


@pytest.mark.slow
def test_the_command_compares_both_maps_of_each_picture(photographs, weights, capsys):
    assert main(["prepare", str(photographs), "--compare", "--weights", str(weights)]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| lifter against r101-dl | silhouette | parts | u | v |"
    cells = {row.split(" | ")[0].strip("| "): row.strip("| ").split(" | ")[1:] for row in rows}
    assert list(cells) == ["collins.png", "nobody.png", "mean"]
    assert cells["nobody.png"] == ["nobody found"] * 4
    assert cells["mean"] == cells["collins.png"]
    assert all(0 <= float(value) <= 1 for value in cells["mean"][:2])
    assert [path.name for path in photographs.parent.iterdir()] == ["photographs"]


def test_a_picture_with_fewer_people_than_person_counts_ends_nothing(photographs, weights, capsys):
    assert main(["prepare", str(photographs), "--compare", "--person", "1", "--weights", str(weights)]) == 1
    assert capsys.readouterr().out.count("nobody found") == 2 * 4


def test_a_damaged_picture_is_listed_at_the_end(photographs, weights, capsys):
    (photographs / "a.png").write_bytes(b"no picture")
    assert main(["prepare", str(photographs), "--compare", "--weights", str(weights)]) == 1
    told = capsys.readouterr()
    assert "| collins.png | 0." in told.out
    assert "| mean |" in told.out
    assert "1 cannot be read:\n  a.png: cannot read picture" in told.err


def test_without_densepose_weights_the_command_that_gets_them_is_told(photographs, tmp_path, capsys):
    assert main(["prepare", str(photographs), "--compare", "--weights", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "weights 'densepose-r101-dl'" in message
    assert "pgpis weights fetch densepose-r101-dl" in message


@pytest.mark.parametrize(
    "words", [("--conditions", "pose"), ("--again",), ("--preview",), ("--runner", "ray"), ("--workers", "2")]
)
def test_options_that_would_do_nothing_are_refused(words, photographs, capsys):
    assert main(["prepare", str(photographs), "--compare", *words]) == 2
    assert f"so that {words[0]} would do nothing" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["-1", "0"])
def test_a_preview_shows_pictures(count, photographs, capsys):
    assert main(["prepare", str(photographs), "--preview", count]) == 2
    assert "--preview" in capsys.readouterr().err
