"""``pgpis synth`` from the command line: what it answers to wrong words, and contact sheets."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pgpis.cli import main
from pgpis.files import write_bytes, writing
from pgpis.synth.files.formats import json_line, link
from pgpis.synth.files.manifest import Entry
from pgpis.synth.files.sheet import sample_people
from pgpis.synth.scene.overlay import OVERLAYS, draw_overlay

HEIGHT, WIDTH, MARGIN = 256, 176, 22


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    root = tmp_path_factory.mktemp("manifest")
    entries = [entry for views in sample_people(3, 2, 3, (HEIGHT, WIDTH)) for entry in views]
    (root / "manifest.jsonl").write_bytes(b"".join(json_line(entry.to_json()) for entry in entries))
    return root


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--people", "2"], ["--out"]),
        (["--out", "d"], ["--people"]),
        (["--out", "d", "--people", "0"], ["--people is 0", "from 2"]),
        (["--out", "d", "--people", "many"], ["--people", "'many'"]),
        (["--out", "d", "--people", "2", "--views", "1"], ["--views is 1", "from 2 to 100"]),
        (["--out", "d", "--people", "2", "--size", "300x200"], ["--size", "300x200", "256x176", "512x352"]),
        (["--out", "d", "--people", "2", "--layout", "lip"], ["--layout", "lip", "phoenix"]),
        (["--out", "d", "--people", "2", "--layout", "phoenix"], ["--people is 2", "at least 3", "--layout phoenix"]),
        (["--out", "d", "--people", "2", "--layout", "both"], ["--people is 2", "at least 3", "--layout both"]),
        (["--out", "d", "--people", "2", "--seed", "-1"], ["--seed is -1"]),
        (["--out", "d", "--people", "2", "--workers", "0"], ["--workers is 0"]),
        (["--out", "d", "--people", "2", "--test-share", "0.9"], ["--test-share 0.9"]),
        (["--out", "d", "--people", "2", "--frames", "0"], ["--frames is 0"]),
        (["--out", "d", "--people", "2", "--colour"], ["--colour"]),
        (["--out", "file/below", "--people", "2"], ["cannot write file/below", "hint"]),
        (["edti"], ["edti", "did you mean 'edit'?"]),
        (["edit", "--out", "d", "--kind", "pose"], ["--from"]),
        (["edit", "--from", "nowhere", "--out", "d", "--kind", "pose"], ["manifest not found: nowhere"]),
        (["edit", "--from", "nowhere", "--out", "d", "--kind", "hat"], ["--kind", "hat", "outfit"]),
        (["edit", "--from", "nowhere", "--out", "d", "--kind", "pose", "--pictures", "0"], ["--pictures is 0"]),
        (["sheet", "--out", "s.jpg", "--from", "nowhere"], ["manifest not found: nowhere"]),
        (["sheet", "--out", "s.jpg", "--people", "0"], ["--people is 0"]),
        (["sheet", "--out", "s.jpg", "--overlay", "depth"], ["--overlay", "depth", "iuv"]),
        (["sheet", "--out", "s.jpg", "--from", "d", "--seed", "1"], ["--from", "--seed"]),
        (["sheet", "--out", "s.gif", "--people", "1", "--views", "1"], ["s.gif", ".png"]),
        (["sheet", "--out", "s.jpg", "--people", "1", "--views", "1", "--zoom", "400"], ["too large", "--people"]),
        (["sheet", "--out", "s.jpg", "--people", "1", "--views", "1", "--zoom", "90"], ["too large", "--people"]),
        (["sheet", "--out", "file/s.jpg", "--people", "1", "--views", "1"], ["cannot write file/s.jpg"]),
    ],
)
def test_wrong_words_are_one_message(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    assert main(["synth", *words]) == 2
    message = capsys.readouterr().err
    assert "pgpis: error:" in message
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) <= 2
    assert all(part in message for part in expected), message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda text: text[: text.index("\n") + 40], "line 2 is damaged"),
        (lambda text: text.replace('"name"', '"nom"', 1), "line 1 is damaged (KeyError('name'))"),
        (lambda text: text[:0], "is empty"),
        (lambda text: text.replace('"size":[', '"size":[6', 1), "line 1 is damaged (ValueError('its size is [6"),
        (lambda text: text.replace('"size":[', '"size":[1', 1), "a sheet shows pictures of one size"),
    ],
)
def test_a_damaged_manifest_is_told_with_its_line(manifest, tmp_path, capsys, damage, expected):
    text = (manifest / "manifest.jsonl").read_text()
    (tmp_path / "manifest.jsonl").write_text(damage(text))
    assert main(["synth", "sheet", "--from", str(tmp_path), "--out", str(tmp_path / "s.png")]) == 2
    assert expected in capsys.readouterr().err


def test_one_person_alone_cannot_be_edited(manifest, tmp_path, capsys):
    words = ["synth", "edit", "--from", str(manifest), "--out", str(tmp_path / "e"), "--kind", "pose"]
    assert main([*words, "--split", "test"]) == 2
    assert "--split all" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("words", [[], ["edit"], ["sheet"]])
def test_help(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(["synth", *words, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: pgpis synth", *words]))
    assert "--out OUT" in text


def test_help_loads_neither_torch_nor_numba():
    code = (
        "import sys; from pgpis.cli.options import parser_of; from pgpis.cli.synth import synth; "
        "parser_of(synth, 'pgpis synth'); "
        "sys.exit(bool({'torch', 'numba', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sheet_of_a_data_set_shows_its_pictures(manifest, tmp_path):
    out = tmp_path / "sheet.png"
    words = ["--people", "2", "--views", "2", "--overlay", "none", "iuv"]
    assert main(["synth", "sheet", "--from", str(manifest), "--out", str(out), *words]) == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * HEIGHT, MARGIN + 2 * 2 * WIDTH, 3)
    second_view = sample_people(3, 2, 2, (HEIGHT, WIDTH))[1][1].draw()
    left = MARGIN + 2 * WIDTH
    assert np.array_equal(sheet[HEIGHT:, left : left + WIDTH], second_view.rgb)
    overlaid = sheet[HEIGHT:, left + WIDTH : left + 2 * WIDTH]
    person = second_view.iuv[..., 0] > 0
    assert np.array_equal(overlaid[~person], second_view.rgb[~person])
    assert (overlaid != second_view.rgb).any(axis=-1)[person].mean() > 0.9


def test_sheet_without_a_data_set_lays_people_beside_each_other(tmp_path):
    out = tmp_path / "sheet.jpg"
    words = ["--seed", "3", "--people", "3", "--views", "1", "--across", "2", "--zoom", "2"]
    assert main(["synth", "sheet", "--out", str(out), *words]) == 0
    assert Image.open(out).size == (2 * (MARGIN + 2 * WIDTH), 2 * 2 * HEIGHT)


@pytest.fixture(scope="module")
def picture():
    return sample_people(3, 1, 1, (HEIGHT, WIDTH))[0][0].draw()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_drawn_where_their_labels_are(picture, overlay):
    shown = draw_overlay(picture, overlay, zoom=3)
    plain = draw_overlay(picture, "none", zoom=3)
    assert shown.shape == (3 * HEIGHT, 3 * WIDTH, 3)
    differs = (shown != plain).any(axis=-1)
    assert differs.any() == (overlay != "none")
    if overlay == "keypoints":
        x, y = (3 * picture.coco17[0, :2]).astype(int)  # the nose
        assert picture.coco17[0, 2] == 2
        assert differs[y - 1 : y + 2, x - 1 : x + 2].all()
    if overlay == "face":
        rows, columns = np.nonzero(differs)
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / 3
        assert np.abs(box - picture.face_box).max() < 1


def test_files_replace_or_stay(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file.txt"
    write_bytes(path, b"first")
    with pytest.raises(TypeError), writing(path) as file:
        file.writelines([b"half", None])
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]
    link(path, tmp_path / "b" / "linked.txt")
    assert (tmp_path / "b" / "linked.txt").stat().st_ino == path.stat().st_ino

    def refuse(*names):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link(path, tmp_path / "b" / "linked.txt")
    assert (tmp_path / "b" / "linked.txt").stat().st_ino != path.stat().st_ino
    assert (tmp_path / "b" / "linked.txt").read_bytes() == b"first"


def test_a_picture_that_cannot_be_drawn_is_grey_and_listed(tmp_path, monkeypatch, capsys):
    def odd(entry):
        if entry.view == 1:
            raise RecursionError("too deep")
        return draw(entry)

    draw = Entry.draw
    monkeypatch.setattr(Entry, "draw", odd)
    assert main(["synth", "sheet", "--people=1", "--views=2", f"--out={tmp_path / 'sheet.png'}"]) == 1
    assert "RecursionError: too deep" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet[:, -176:] == 200).all()
    assert not (sheet[:, -352:-176] == 200).all()
