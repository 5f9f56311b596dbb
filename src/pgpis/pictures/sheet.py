"""Contact sheets: pictures as tiles of one height, side by side in rows, and rows in a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

from pgpis.files import printable

CAPTION = 16
"""Height of the line of text over a row."""
CONTACT_SHEET = "contact_sheet.jpg"
"""Name of the sheet that lies among the results of ``pgpis predict``."""


def tile(image: Image.Image, height: int, most_width: int) -> Image.Image:
    """Scale a picture to the height of a row; one that would be too wide is centred on white.

    Args:
        image: Any RGB picture, of whatever aspect ratio.
        height: Rows of the tile.
        most_width: Columns that it has at most.
    """
    scale = min(height / image.height, most_width / image.width)
    scaled = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if scaled.height == height:
        return scaled
    canvas = Image.new("RGB", (scaled.width, height), "white")
    canvas.paste(scaled, (0, (height - scaled.height) // 2))
    return canvas


def strip(tiles: Sequence[Image.Image], gap: int = 0, caption: str = "") -> Image.Image:
    """Lay tiles of one height side by side.

    Args:
        tiles: At least one.
        gap: White columns after each.
        caption: Text over them; what a picture cannot hold of a name is shown as escapes.
    """
    top = CAPTION if caption else 0
    canvas = Image.new("RGB", (sum(image.width + gap for image in tiles), top + tiles[0].height), "white")
    if caption:
        ImageDraw.Draw(canvas).text((2, 2), printable(caption), fill="black")
    left = 0
    for image in tiles:
        canvas.paste(image, (left, top))
        left += image.width + gap
    return canvas


def grid(
    strips: Iterable[Image.Image], count: int, cell: tuple[int, int], across: int = 1, gap: int = 0
) -> Image.Image:
    """Lay strips out from left to right and from top to bottom, on white.

    Args:
        strips: They may be drawn one after the other.
        count: How many there are.
        cell: Height and width that each gets.
        across: Strips beside each other.
        gap: White columns between them.
    """
    height, width = cell
    canvas = Image.new("RGB", (across * (width + gap) - gap, -(-count // across) * height), "white")
    for number, image in enumerate(strips):
        row, column = divmod(number, across)
        canvas.paste(image, (column * (width + gap), row * height))
    return canvas
