"""The texture of a whole person: 24 charts of DensePose, 4 rows by 6 columns, with nothing hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Layer
from pgpis.synth.figure.mesh import Float, Index, Surface, UInt8
from pgpis.synth.figure.person import DressedPerson, surface_columns
from pgpis.synth.figure.raster import interpolate, rasterize

ROWS, COLUMNS = 4, 6
# from the skin outwards: the last that covers a texel is the one seen
ORDER = (Layer.TROUSERS, Layer.TOP, Layer.SHOES, Layer.HAIR, Layer.SKIRT, Layer.JACKET)


@dataclass(frozen=True)
class Texels:
    """The texels that charts cover: ``row`` and ``column`` in the atlas, the body's ``faces`` and ``weights`` there."""

    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    faces: Index
    triangle: Index
    weights: Float
    eyes: npt.NDArray[np.bool_]


@lru_cache(maxsize=2)
def texels(size: int) -> Texels:
    """Return what lies at each texel of charts of ``size`` x ``size``; row 0 is V = 0, column 0 is U = 0."""
    body = load_body()
    parts = [body.parts["body"], body.parts["eyes"]]
    faces = np.concatenate([part.faces for part in parts])
    chart = np.concatenate([part.part for part in parts])
    uv = np.concatenate([part.chart_uv for part in parts])
    covered = []
    for number in range(1, 25):
        own = np.flatnonzero(chart == number)
        corners = np.zeros((3 * len(own), 3), np.float32)
        corners[:, :2] = uv[own].reshape(-1, 2) * size
        flat = np.arange(3 * len(own), dtype=np.int32).reshape(-1, 3)
        triangle, weights, _ = rasterize(corners, flat, np.zeros(len(corners), np.float32), size, size)
        row, column = np.nonzero(triangle >= 0)
        second_third = weights[row, column]
        weights = np.concatenate([1 - second_third.sum(axis=1, keepdims=True), second_third], axis=1)
        block_row, block_column = divmod(number - 1, COLUMNS)
        place = (row + block_row * size, column + block_column * size)
        covered.append((*place, own[triangle[row, column]], weights))
    row, column, triangle, weights = (np.concatenate(items) for items in zip(*covered, strict=True))
    eyes = triangle >= len(parts[0].faces)
    return Texels(row, column, faces, triangle.astype(np.int32), weights.astype(np.float32), eyes)


def person_atlas(person: DressedPerson, size: int = 200) -> tuple[UInt8, npt.NDArray[np.int8]]:
    """Paint the outermost layer of every texel; charts have ``size`` x ``size`` of them, 200 with DensePose's tools.

    Returns:
        ``(4·size, 6·size, 3)`` RGB, black where no chart is, and ``(4·size, 6·size)`` layers, -1 there.
    """
    grid = texels(size)
    worn = [layer for layer in ORDER if layer in person.fields]
    columns = [surface_columns(person.body, person.hairline), *(person.fields[layer] for layer in worn)]
    values = interpolate(np.column_stack(columns), grid.faces, grid.triangle, grid.weights)
    fields = values[:, Surface.COLUMNS :]
    layer = np.full(len(grid.row), Layer.SKIN, np.int8)
    hem = np.zeros(len(grid.row), np.float32)
    for number, garment in enumerate(worn):
        over = (fields[:, number] > 0) & ~grid.eyes
        layer[over] = garment
        hem[over] = fields[over, number]
    layer[grid.eyes] = Layer.EYES
    values[:, Surface.HEM] = hem
    picture = np.zeros((ROWS * size, COLUMNS * size, 3), np.uint8)
    layers = np.full((ROWS * size, COLUMNS * size), -1, np.int8)
    picture[grid.row, grid.column] = np.round(person.color(layer, Surface.of(values)))
    layers[grid.row, grid.column] = layer
    return picture, layers


def texture_charts(atlas: UInt8) -> UInt8:
    """Rearrange an atlas of :func:`person_atlas` as :class:`pgpis.pictures.uv_texture.TextureMapper` takes charts.

    Returns:
        ``(24, size, size, 3)``, rows from V = 1 to V = 0. Texels that no face covers take the nearest colour, so that
        no black line shows where charts meet.
    """
    size = atlas.shape[0] // ROWS
    filled = atlas.reshape(-1, 3)[_nearest_covered(size)]
    charts = filled.reshape(ROWS, size, COLUMNS, size, 3).transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3)
    return np.ascontiguousarray(charts[:, ::-1])


@lru_cache(maxsize=2)
def _nearest_covered(size: int) -> npt.NDArray[np.int64]:
    """Return for each texel of the atlas the number of the nearest one of its chart that a face covers."""
    grid = texels(size)
    covered = np.zeros((ROWS * size, COLUMNS * size), bool)
    covered[grid.row, grid.column] = True
    numbers = np.arange(covered.size).reshape(covered.shape)
    result = np.empty_like(numbers)
    for number in range(ROWS * COLUMNS):
        row, column = divmod(number, COLUMNS)
        block = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
        free = np.uint8(~covered[block])
        _, label = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        nearest = np.zeros(int(label.max()) + 1, np.int64)
        nearest[label[covered[block]]] = numbers[block][covered[block]]
        result[block] = nearest[label]
    return result.reshape(-1)
