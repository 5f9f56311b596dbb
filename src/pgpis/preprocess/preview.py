"""Sheets that show at a glance whether key points, DensePose maps, textures and faces are right."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pgpis.files import printable
from pgpis.jobs import parts, reason_of
from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.images import IMAGE_SUFFIXES, read_image, save_image
from pgpis.pictures.iuv import PARTS, part_u_v
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame
from pgpis.pictures.sheet import grid, strip, tile
from pgpis.preprocess.record import Record
from pgpis.preprocess.settings import PictureFiles

TILE = 256
"""Height of a picture on a sheet, in pixels."""
MOST_WIDTH = 4 * TILE
LARGEST = 4 * TILE
"""Longer side of the picture that conditions are laid over; what is larger costs memory and is not seen."""
ROWS = 8
STRENGTH = 0.6
"""Of the overlaid map."""


def write_previews(
    files: Sequence[PictureFiles], conditions: Sequence[str], record: Record, folder: Path, most: int = 48
) -> list[Path]:
    """Write sheets of the first pictures: the picture, and each condition laid over it or beside it.

    Args:
        files: The pictures.
        conditions: What to show.
        record: Knows where people and faces were found.
        folder: Sheets are called ``sheet-0001.jpg`` and so on.
        most: Pictures in all.
    """
    sheets = []
    for number, part in enumerate(parts(files[:most], ROWS), 1):
        rows = [_row(file, conditions, record) for file in part]
        cell = (rows[0].height, max(row.width for row in rows))
        sheets.append(folder / f"sheet-{number:04d}.jpg")
        save_image(grid(rows, len(rows), cell), sheets[-1])
    return sheets


def _row(files: PictureFiles, conditions: Sequence[str], record: Record) -> Image.Image:
    try:
        picture = read_image(files.picture)
        scale = min(1.0, LARGEST / max(picture.size))
        small = picture if scale == 1 else picture.resize([max(1, round(side * scale)) for side in picture.size])
        layers = [small, *(_layer(small, scale, files, condition, record) for condition in conditions)]
    except Exception:  # noqa: BLE001  libraries raise anything on odd files, and the sheet shows the others
        layers = [_note("unreadable")]
    return strip([tile(layer, TILE, MOST_WIDTH) for layer in layers], caption=files.name)


def _layer(picture: Image.Image, scale: float, files: PictureFiles, condition: str, record: Record) -> Image.Image:
    path = files.path(condition)
    outcome = record.outcomes.get((files.name, condition))
    if not path.is_file():
        return _note(f"no {condition}" if outcome is None else str(outcome.reason))
    try:
        layer = _overlay(picture, path, condition)
    except Exception as error:  # noqa: BLE001  as above
        return _note(reason_of(error))
    if outcome is not None and outcome.box is not None and condition != "pose":
        box, width = [side * scale for side in outcome.box], max(1, picture.height // 200)
        ImageDraw.Draw(layer).rectangle(box, outline=(255, 0, 0), width=width)
    return layer


def _overlay(picture: Image.Image, path: Path, condition: str) -> Image.Image:
    if condition == "pose":
        points = read_keypoints(path)
        skeleton = draw_pose(points.to(Frame(picture.height, picture.width)), picture.height, picture.width)
        return _blend(picture, skeleton, skeleton.max(axis=-1) > 0, 0.85)
    if condition == "densepose":
        parts = part_u_v(read_image(path).resize(picture.size, Image.Resampling.NEAREST))[..., 0]
        return _blend(picture, part_palette()[parts.clip(0, PARTS)], parts > 0, STRENGTH)
    if condition == "face_mask":
        mask = np.asarray(read_image(path).convert("L").resize(picture.size, Image.Resampling.NEAREST)) > 0
        return _blend(picture, np.full((*mask.shape, 3), (255, 0, 0), np.uint8), mask, STRENGTH)
    return read_image(path) if path.suffix in IMAGE_SUFFIXES else picture.copy()


def _blend(picture: Image.Image, colours: NDArray[np.uint8], where: NDArray[np.bool_], strength: float) -> Image.Image:
    values = np.asarray(picture).astype(np.float32)
    values[where] = (1 - strength) * values[where] + strength * colours[where]
    return Image.fromarray(values.round().astype(np.uint8))


def part_palette() -> NDArray[np.uint8]:
    """Return ``(25, 3)``: black for background, and a colour of its own for each part."""
    hues = [colorsys.hsv_to_rgb((part * 7 % PARTS) / PARTS, 0.9, 1.0) for part in range(PARTS)]
    return np.array([(0, 0, 0), *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in hues)], np.uint8)


def _note(text: str) -> Image.Image:
    note = Image.new("RGB", (TILE // 2, TILE), (230, 230, 230))
    draw = ImageDraw.Draw(note)
    for line in range(0, min(len(text), 120), 20):
        draw.text((4, 8 + line * 0.7), printable(text[line : line + 20]), fill="black")
    return note
