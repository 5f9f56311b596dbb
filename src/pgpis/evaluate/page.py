"""Pages of results, from one template: sections with text, tables, pictures and histograms; every text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.picture_store import read_picture
from pgpis.files import printable
from pgpis.pictures.sheet import tile

THUMBNAIL = 192
BINS = 30
TEMPLATES = Environment(
    loader=PackageLoader("pgpis.evaluate", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class ImageCell:
    """A cell that shows a picture: a file beside the page, or one that is :func:`embedded`."""

    source: str


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows, and rows that were measured here stand out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | ImageCell]]
    pictures: bool = False
    """Whether its cells are pictures, without lines between them."""


def histogram(values: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """Return how the finite ones of some values are distributed: from, to and count of each bin; none without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    low, high = finite.min(), finite.max()
    if np.isclose(low, high, rtol=1e-9, atol=1e-12):  # equal but for rounding, which is too little for so many bins
        room = max(0.5, 1e-9 * abs(low))
        low, high = low - room, high + room
    counts, edges = np.histogram(finite, BINS, (low, high))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Figure:
    """Pictures side by side, or a histogram, over a caption."""

    caption: str
    pictures: Sequence[str] = ()
    bins: Sequence[tuple[float, float, int]] = ()
    """Of a :func:`histogram`."""


@dataclass(frozen=True)
class Section:
    """A part of a page; what is left out is not shown."""

    title: str = ""
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    items: Sequence[str] = ()


def render_page(title: str, sections: Sequence[Section]) -> str:
    """Return a page as HTML that needs no other file but the pictures it names."""
    return printable(TEMPLATES.get_template("page.html.jinja").render(title=title, sections=sections))


def embedded(path: Path) -> str:
    """Return a small copy of a picture as the source of an image; a grey one if it cannot be read."""
    try:
        image = read_picture(path)
    except Exception:  # noqa: BLE001  a page shows what it can, and the list of failures says the rest
        image = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "grey")
    file = io.BytesIO()
    tile(image, THUMBNAIL, 4 * THUMBNAIL).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
