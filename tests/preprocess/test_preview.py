"""Preview sheets: a row for each picture, a tile for each condition, a note where something is missing."""

import numpy as np
import pytest
from PIL import Image

from pgpis.pictures.arrays import write_array
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.preview import part_palette, write_previews
from pgpis.preprocess.record import Record
from pgpis.preprocess.settings import Outcome

CONDITIONS = ("pose", "densepose", "texture", "face", "face_mask")
ROW = 256 + 16
"""Height of a row: the picture and its name."""
SIZE = (64, 128)
"""Width and height; a tile is then 128 wide."""
GREY = (230, 230, 230)


@pytest.fixture
def photos(tmp_path):
    """A grey picture with every condition, and a folder for more."""
    root = tmp_path / "photos"
    root.mkdir()
    Image.new("RGB", SIZE, (90, 90, 90)).save(root / "a.png")
    (files,) = find_pictures(root, CONDITIONS)
    for path in (path for _, path in files.outputs):
        path.parent.mkdir()
    points = np.stack([np.linspace(10, 50, 18), np.linspace(10, 110, 18)], axis=1)
    write_keypoints(files.path("pose"), Keypoints.from_visible(points, points > 0, Frame(128, 64), "body18"))
    parts = np.zeros((128, 64, 3), np.uint8)
    parts[40:80, 20:40, 2] = 7
    Image.fromarray(parts).save(files.path("densepose"))
    Image.new("RGB", (512, 512), (0, 200, 0)).save(files.path("texture"))
    write_array(files.path("face"), np.ones(512, np.float32))
    mask = np.zeros((128, 64), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(files.path("face_mask"))
    return root


@pytest.fixture
def sheets(photos, tmp_path):
    """Write sheets with a record of these outcomes, and return them as arrays."""

    def sheets(*conditions, outcomes=(), **options):
        record = Record(tmp_path / "record.jsonl")
        with record:
            record.add(outcomes)
        paths = write_previews(find_pictures(photos, CONDITIONS), conditions, record, tmp_path / "preview", **options)
        assert sorted((tmp_path / "preview").iterdir()) == paths
        return [np.asarray(Image.open(path)).astype(int) for path in paths]

    return sheets


def tile(sheet, column, row=0, width=128):
    return sheet[row * ROW + 16 : (row + 1) * ROW, column * width : (column + 1) * width]


def near(pixel, colour, tolerance=25):
    return np.abs(np.asarray(pixel) - colour).max() <= tolerance


def test_every_condition_has_its_tile(sheets):
    boxes = [Outcome("a.png", "face", box=(20.0, 10.0, 40.0, 30.0))]
    (sheet,) = sheets(*CONDITIONS, outcomes=boxes)
    # the picture, four tiles of its shape and the square texture between
    assert sheet.shape == (ROW, 5 * 128 + 256, 3)
    assert (sheet[:16] < 128).any()  # the name
    picture, pose, densepose = (tile(sheet, column) for column in range(3))
    face, face_mask = (sheet[16:, start : start + 128] for start in (640, 768))
    assert near(picture.reshape(-1, 3).mean(axis=0), (90, 90, 90), 3)
    colours = pose.reshape(-1, 3)
    assert (colours.max(axis=1) - colours.min(axis=1) > 60).mean() > 0.03  # limbs
    # a part lies where its map has it, twice as large: in its colour, which lets the picture through
    expected = 0.4 * 90 + 0.6 * part_palette()[7].astype(float)
    assert near(densepose[120, 60], expected)
    assert near(densepose[20, 20], (90, 90, 90), 5)
    assert near(sheet[128, 512], (0, 200, 0), 5)
    assert near(face[20, 60], (255, 0, 0), 110)
    assert face[20, 60, 0] - face[20, 60, 1] > 80  # the box
    assert near(face[40, 60], (90, 90, 90), 10)
    assert near(face_mask[40, 60], (0.4 * 90 + 0.6 * 255, 36, 36))
    assert near(face_mask[100, 60], (90, 90, 90), 5)


def test_all_rows_on_sheets_of_eight(photos, sheets):
    for number in range(10):
        Image.new("RGB", SIZE, (20 * number, 0, 0)).save(photos / f"b{number}.png")
    first, second = sheets("texture", "face")
    assert first.shape[0] == 8 * ROW
    assert second.shape[0] == 3 * ROW
    rows = [tile(first, 0, row) for row in range(8)] + [tile(second, 0, row) for row in range(3)]
    expected = [(90, 90, 90), *((20 * number, 0, 0) for number in range(10))]
    for row, colour in zip(rows, expected, strict=True):
        assert near(row.reshape(-1, 3).mean(axis=0), colour, 4)


@pytest.mark.parametrize(("most", "rows"), [(1, [1]), (2, [2]), (9, [8, 1]), (48, [8, 3])])
def test_no_more_than_asked(most, rows, photos, sheets):
    for number in range(10):
        Image.new("RGB", SIZE).save(photos / f"b{number}.png")
    assert [sheet.shape[0] for sheet in sheets("pose", most=most)] == [count * ROW for count in rows]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_missing_or_damaged_file_is_a_note(condition, photos, sheets):
    (files,) = find_pictures(photos, CONDITIONS)
    tiles = []
    for damage in ("missing", "told", "damaged"):
        files.path(condition).unlink(missing_ok=True)
        if damage == "damaged" and condition != "face":  # nothing of an embedding is shown but its box
            files.path(condition).write_bytes(b"damaged")
        outcomes = [Outcome("a.png", condition, "no people found", found=False)] if damage == "told" else []
        (sheet,) = sheets(condition, outcomes=outcomes)
        assert sheet.shape == (ROW, 256, 3)
        note = tile(sheet, 1)
        assert near(np.median(note.reshape(-1, 3), axis=0), GREY, 3)
        assert (note < 100).all(axis=-1).any()  # words on it
        tiles.append(note)
    assert not np.array_equal(tiles[0], tiles[1])


def test_an_unreadable_picture_is_a_note(photos, sheets):
    (photos / "b.png").write_bytes(b"no picture")
    (sheet,) = sheets("pose", "face")
    assert sheet.shape[0] == 2 * ROW
    note = tile(sheet, 0, row=1)
    assert near(np.median(note.reshape(-1, 3), axis=0), GREY, 3)
    assert near(tile(sheet, 0).reshape(-1, 3).mean(axis=0), (90, 90, 90), 3)


def test_maps_of_another_size_are_fitted(photos, sheets):
    (files,) = find_pictures(photos, CONDITIONS)
    parts = np.zeros((64, 32, 3), np.uint8)
    parts[20:40, 10:20, 2] = 7
    Image.fromarray(parts).save(files.path("densepose"))
    Image.fromarray(parts[..., 2] // 7 * 255).save(files.path("face_mask"))
    (sheet,) = sheets("densepose", "face_mask")
    assert near(tile(sheet, 1)[120, 60], 0.4 * 90 + 0.6 * part_palette()[7].astype(float))
    assert near(tile(sheet, 2)[120, 60], (189, 36, 36))


def test_a_part_that_does_not_exist_is_no_crash(photos, sheets):
    (files,) = find_pictures(photos, CONDITIONS)
    Image.new("RGB", SIZE, (0, 0, 255)).save(files.path("densepose"))
    assert len(sheets("densepose")) == 1


@pytest.mark.parametrize("size", [(3000, 100), (100, 3000), (2000, 2000)])
def test_long_and_large_pictures_do_not_blow_up_a_sheet(size, photos, sheets):
    Image.new("RGB", size, (90, 90, 90)).save(photos / "a.png")
    corner = size[0] // 2, size[1] // 2
    boxes = [Outcome("a.png", "face", box=(corner[0] * 0.5, corner[1] * 0.5, *map(float, corner)))]
    (sheet,) = sheets(*CONDITIONS, outcomes=boxes)
    assert sheet.shape[0] == ROW
    assert sheet.shape[1] <= 6 * 4 * 256
    if size == (2000, 2000):  # the box lies where it did
        face = sheet[16:, 4 * 256 : 5 * 256]
        red = np.argwhere(face[..., 0] - face[..., 1] > 60)
        assert np.abs(red.min(axis=0) - 64).max() <= 2
        assert np.abs(red.max(axis=0) - 128).max() <= 2


def test_colours_of_parts_differ():
    assert len({tuple(colour) for colour in part_palette().tolist()}) == 25
    assert (part_palette()[0] == 0).all()
