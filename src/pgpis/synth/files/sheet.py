"""Contact sheets: people in rows, their views side by side, labels laid over them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from pgpis.errors import PgpisError
from pgpis.jobs import Failure, reason_of
from pgpis.pictures.decoding import MOST_PIXELS
from pgpis.pictures.sheet import grid, strip
from pgpis.synth.figure.mesh import UInt8
from pgpis.synth.files.formats import SETTINGS, write_image
from pgpis.synth.files.manifest import Entry, plain, read_manifest
from pgpis.synth.files.options import Look, is_photographed
from pgpis.synth.scene.overlay import Overlay, draw_overlay
from pgpis.synth.scene.sampling import views_of

MARGIN = 22
"""Pixels left of each person, for their number."""
LARGEST_SIDE = 65_000
"""JPEG ends at 65,535 pixels."""


def write_sheet(
    path: Path, people: Sequence[Sequence[Entry]], overlays: Sequence[Overlay], across: int = 1, zoom: int = 1
) -> list[Failure]:
    """Draw people again and lay them out, each picture once with each overlay.

    Args:
        path: ``.jpg`` or ``.png``.
        people: The pictures of each.
        overlays: What is laid over them.
        across: People beside each other.
        zoom: Enlargement of every picture.

    Returns:
        The pictures that could not be drawn; they are grey.

    Raises:
        PgpisError: The path has another suffix or cannot be written, or the sheet would be too large or show
            pictures of several sizes.
    """
    if path.suffix.lower() not in SETTINGS:
        raise PgpisError(f"--out {path}: expected a file that ends in .jpg or .png")
    sizes = {entry.size for views in people for entry in views}
    if len(sizes) > 1:
        raise PgpisError(f"a sheet shows pictures of one size; these have {sorted(sizes)} (height, width)")
    height, width = sizes.pop()
    most_views = max(map(len, people))
    cell_height, cell_width = height * zoom, MARGIN + width * zoom * most_views * len(overlays)
    rows = -(-len(people) // across)
    sides = (rows * cell_height, across * cell_width)
    if max(sides) > LARGEST_SIDE or sides[0] * sides[1] > MOST_PIXELS:
        raise PgpisError(
            f"a sheet of {across * cell_width} x {rows * cell_height} pixels is too large",
            hint=f"show fewer --people, or set --across (now {across}) so that it is about as wide as high",
        )
    failures: list[Failure] = []

    def strips() -> Iterator[Image.Image]:
        for views in track(people, "drawing people", console=Console(file=sys.stderr), transient=True):
            label = np.full((cell_height, MARGIN, 3), 255, np.uint8)
            number = str(views[0].person)
            cv2.putText(label, number, (1, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (90, 90, 90), 1, cv2.LINE_AA)
            tiles = [tile for entry in views for tile in _tiles(entry, overlays, zoom, failures)]
            yield strip([Image.fromarray(pixels) for pixels in (label, *tiles)])

    write_image(path, np.asarray(grid(strips(), len(people), (cell_height, cell_width), across)))
    return failures


def _tiles(entry: Entry, overlays: Sequence[Overlay], zoom: int, failures: list[Failure]) -> list[UInt8]:
    try:
        picture = entry.draw()
        return [draw_overlay(picture, overlay, zoom) for overlay in overlays]
    except Exception as error:  # noqa: BLE001  a damaged scene raises anything, and the sheet shows the others
        failures.append(Failure(entry.name, reason_of(error)))
    height, width = entry.size
    return [np.full((height * zoom, width * zoom, 3), 200, np.uint8)] * len(overlays)


def people_of(root: Path, people: int, views: int) -> list[list[Entry]]:
    """Return the first views of the first people of a data set.

    Raises:
        PgpisError: Its manifest is missing or damaged.
    """
    entries = read_manifest(root)
    layout = entries[0].layout
    pictures: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.layout == layout and (entry.person in pictures or len(pictures) < people):
            pictures.setdefault(entry.person, []).append(entry)
    return [own[:views] for own in pictures.values()]


def sample_people(seed: int, people: int, views: int, size: tuple[int, int], look: Look = "drawn") -> list[list[Entry]]:
    """Return people of a seed as a data set would hold them, without one."""
    height, width = size

    def views_of_person(person: int) -> list[Entry]:
        photographed = is_photographed(look, person)
        scenes = views_of(seed, person, views, width / height, photographed=photographed)
        return [
            Entry(f"{person}-{view}.png", "deepfashion", "train", person, view, size, plain(scene))
            for view, scene in enumerate(scenes)
        ]

    return [views_of_person(person) for person in range(people)]
