"""The contact sheet of ``pgpis predict``: a row per pair, for the first pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.images import read_image, save_image, tile

ROWS = 60
TILE_HEIGHT = 192
WIDEST = 4 * TILE_HEIGHT
GAP = 4
MOST_RESULTS = 16


def draw_contact_sheet(rows: Sequence[Sequence[Path]], path: Path) -> None:
    """Draw source | pose | results side by side.

    Args:
        rows: Source, pose and results of each pair; what cannot be read becomes a grey tile.
        path: Where the sheet goes.

    Raises:
        PgpisError: It cannot be written.
    """
    strips = [_strip(row[: 2 + MOST_RESULTS]) for row in rows[:ROWS]]
    if not strips:
        return
    sheet = Image.new("RGB", (max(strip.width for strip in strips), (TILE_HEIGHT + GAP) * len(strips)), "white")
    for position, strip in enumerate(strips):
        sheet.paste(strip, (0, position * (TILE_HEIGHT + GAP)))
    save_image(sheet, path)


def _strip(row: Sequence[Path]) -> Image.Image:
    source, pose, *results = (_read(path) for path in row)
    pose = pose.resize(results[0].size)  # as it was drawn for them, whatever its canvas
    tiles = [tile(picture, TILE_HEIGHT, WIDEST) for picture in (source, pose, *results)]
    strip = Image.new("RGB", (sum(picture.width + GAP for picture in tiles), TILE_HEIGHT), "white")
    left = 0
    for picture in tiles:
        strip.paste(picture, (left, 0))
        left += picture.width + GAP
    return strip


def _read(path: Path) -> Image.Image:
    try:
        return read_image(path)
    except (PgpisError, OSError):
        return Image.new("RGB", (TILE_HEIGHT, TILE_HEIGHT), "gray")
