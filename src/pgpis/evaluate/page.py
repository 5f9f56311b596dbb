"""Pages of results, from one template: sections with text, tables, pictures and histograms; every text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.picture_store import read_picture
from pgpis.pictures.sheet import tile

THUMBNAIL = 192
BINS = 30
BAR_WIDTH, BAR_HEIGHT = 12, 120


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


@dataclass(frozen=True)
class Histogram:
    """How the finite ones of some values are distributed: a bar a bin, and the ends of the axis."""

    bars: Sequence[Mapping[str, str]]
    first: str
    last: str

    width, height = BINS * BAR_WIDTH, BAR_HEIGHT


def histograms(values: NDArray[np.float64]) -> list[Histogram]:
    """Return the histogram of some values; none where no value is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    counts, edges = np.histogram(finite, BINS)
    heights = BAR_HEIGHT * counts / max(1, int(counts.max()))
    bars = [
        {
            "left": str(number * BAR_WIDTH),
            "top": f"{BAR_HEIGHT - height:.1f}",
            "width": str(BAR_WIDTH - 1),
            "height": f"{height:.1f}",
            "label": f"{edges[number]:.4g} to {edges[number + 1]:.4g}: {counts[number]}",
        }
        for number, height in enumerate(heights)
    ]
    return [Histogram(bars, f"{edges[0]:.4g}", f"{edges[-1]:.4g}")]


@dataclass(frozen=True)
class Figure:
    """Pictures side by side, or histograms, over a caption."""

    caption: str
    pictures: Sequence[str] = ()
    histograms: Sequence[Histogram] = ()


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
    return _template().render(title=title, sections=sections)


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pgpis.evaluate", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")


def embedded(path: Path) -> str:
    """Return a small copy of a picture as the source of an image; a grey one if it cannot be read."""
    try:
        image = read_picture(path)
    except Exception:  # noqa: BLE001  a page shows what it can, and the list of failures says the rest
        image = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "grey")
    file = io.BytesIO()
    tile(image, THUMBNAIL, 4 * THUMBNAIL).save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
