"""The contact sheet of ``pgpis predict``: a row per pair, for the first pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.images import read_image, save_image
from pgpis.pictures.sheet import grid, strip, tile

ROWS = 60
TILE_HEIGHT = 192
WIDEST = 4 * TILE_HEIGHT
GAP = 4
MOST_RESULTS = 16


Read = Callable[[Path], Image.Image]


def draw_contact_sheet(rows: Iterable[Sequence[Path]], path: Path, read_source: Read = read_image) -> None:
    """Draw source | pose | results side by side.

    Args:
        rows: Source, pose and results of each pair, of which the first are taken; what cannot be read becomes a grey
            tile.
        path: Where the sheet goes.
        read_source: Reads a source, which may be in a pack.

    Raises:
        PgpisError: It cannot be written.
    """
    strips = [_strip(row[: 2 + MOST_RESULTS], read_source) for row in islice(rows, ROWS)]
    if strips:
        width = max(image.width for image in strips)
        save_image(grid(strips, len(strips), (TILE_HEIGHT + GAP, width)), path)


def _strip(row: Sequence[Path], read_source: Read) -> Image.Image:
    source, (pose, *results) = _read(row[0], read_source), (_read(path, read_image) for path in row[1:])
    pose = pose.resize(results[0].size)  # as it was drawn for them, whatever its canvas
    return strip([tile(picture, TILE_HEIGHT, WIDEST) for picture in (source, pose, *results)], GAP)


def _read(path: Path, read: Read) -> Image.Image:
    try:
        return read(path)
    except (PgpisError, OSError):
        return Image.new("RGB", (TILE_HEIGHT, TILE_HEIGHT), "gray")
