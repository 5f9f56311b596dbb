"""The contact sheet never stands in the way of the results."""

from PIL import Image

from pgpis.predictions.sheet import GAP, TILE_HEIGHT, draw_contact_sheet


def test_pictures_of_any_shape_and_none(tmp_path):
    for name, size in (("line", (1, 5000)), ("beam", (5000, 1)), ("usual", (48, 64))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"broken")
    names = [
        ("line", "usual", "usual"),
        ("beam", "gone", "usual"),
        ("usual", "broken", "gone"),
        ("usual", "usual", "line"),
    ]
    rows = [[tmp_path / f"{name}.png" for name in row] for row in names]
    draw_contact_sheet(rows, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").height == len(rows) * (TILE_HEIGHT + GAP)
    draw_contact_sheet([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
