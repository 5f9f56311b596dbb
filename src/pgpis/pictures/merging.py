"""One texture, or surface, of several pictures of a person: each texel from the picture that shows it best.

DensePose's map has no normals, so that the angle to the camera's axis is not known. What is known is how many pixels
of a picture lie on a piece of a chart, as a share of all its pixels, which grow in number by mere enlarging. That share
falls with the cosine of the angle, and rises as the camera comes closer.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects

from pgpis.pictures.iuv import PARTS
from pgpis.pictures.surface import FILLED, SEEN
from pgpis.pictures.uv_texture import CHART_SIZE, part_table, texel_places, texel_table

AROUND = 5.0
"""Texels of a chart: standard deviation of the window in which pixels are counted."""
SEAM = 3.0
"""Texels of the texture: standard deviation of the weights where two pictures meet."""
HARDLY = 1e-6
"""Pixels per texel, or shares of pictures, that are as good as none."""
PICTURE = 256 * 176
"""Pixels of the picture that counts are told of."""
NOBODY = -1
"""Whose a texel is that no picture shows, so that nobody has a share beside it."""

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


def pixels_per_texel(iuv: Bytes) -> Floats:
    """Return how many pixels of a picture lie on each texel of the texture, as a mean around it, ``(512, 512)``.

    They are counted as if the picture had 256 x 176 pixels, whatever its size.

    Args:
        iuv: Map of the picture, ``(H, W, 3)`` of part, U, V.
    """
    texels, _ = texel_places(iuv)
    counts = np.bincount(texels, minlength=PARTS * CHART_SIZE**2).reshape(PARTS, CHART_SIZE, CHART_SIZE)
    means = np.ravel([cv2.GaussianBlur(chart.astype(np.float32), (0, 0), AROUND) for chart in counts])
    shown = np.where(means > HARDLY, means, 0).astype(np.float64)  # in float32, scaling would make equal what is not
    return np.take(np.concatenate([np.zeros(1), shown * (PICTURE / iuv[..., 0].size)]), texel_table())


def merge_textures(textures: Sequence[Bytes], density: Sequence[Floats]) -> Bytes:
    """Merge the textures of one person.

    Args:
        textures: ``(512, 512, 3)`` each; black where a picture shows nothing.
        density: :func:`pixels_per_texel` of each.

    Returns:
        ``(512, 512, 3)``; of a single texture, itself.
    """
    if len(textures) == 1:
        return textures[0]
    shown = [each.max(axis=2) > 0 for each in textures]
    return _blended(textures, _best(density, shown), shown)


def merge_surfaces(surfaces: Sequence[Bytes], density: Sequence[Floats]) -> Bytes:
    """Merge the surfaces of one person, see :mod:`pgpis.pictures.surface`.

    A texel that no picture shows takes the colour of the nearest one of its part that is shown by any. A picture that
    shows no texel best adds nothing: beside such ones, the same picture again say, a surface stays as it is.

    Args:
        surfaces: ``(512, 1024, 3)`` each.
        density: :func:`pixels_per_texel` of each.

    Returns:
        ``(512, 1024, 3)``; of a single surface, itself.
    """
    if len(surfaces) == 1:
        return surfaces[0]
    colours, known = zip(*(np.split(surface, 2, axis=1) for surface in surfaces), strict=True)
    shown = [each[..., 0] == SEEN for each in known]
    best = _best(density, shown)
    taken = np.unique(best[best != NOBODY])
    if len(taken) == 1:
        return surfaces[taken[0]]
    merged = _blended(colours, best, shown)
    state = np.max(known, axis=0)
    _fill(merged, np.any(shown, axis=0), state[..., 0] == FILLED)
    return np.concatenate([merged, state], axis=1)


def _best(density: Sequence[Floats], shown: Sequence[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Return which picture shows each texel with most pixels, ``(512, 512)``; with none is better than not at all."""
    best = np.where(shown, density, -1).argmax(axis=0)
    return np.where(np.any(shown, axis=0), best, NOBODY)


def _blended(pictures: Sequence[Bytes], best: NDArray[np.int64], shown: Sequence[NDArray[np.bool_]]) -> Bytes:
    """Take each texel from the picture that shows it best, with soft seams; black where none does."""
    own = [cv2.GaussianBlur((best == number).astype(np.float32), (0, 0), SEAM) for number in range(len(pictures))]
    shares = np.where(shown, own, 0)
    # where only a picture that is best nowhere near shows a texel, its share would be nothing
    total = shares.sum(axis=0)
    is_alone = total < HARDLY
    shares[:, is_alone] = np.arange(len(pictures))[:, None] == best[is_alone]
    shares /= np.where(is_alone, 1, total)
    return np.einsum("nhw,nhwc->hwc", shares, np.stack(pictures)).round().astype(np.uint8)


def _fill(texture: Bytes, shown: NDArray[np.bool_], holes: NDArray[np.bool_]) -> None:
    """Give the holes of each part the colour of the nearest texel of the part that is shown, in place."""
    parts = part_table()
    for part, box in enumerate(find_objects(parts, PARTS), 1):
        is_known = shown[box] & (parts[box] == part)
        is_hole = holes[box] & (parts[box] == part)
        if is_known.any() and is_hole.any():
            rows, columns = distance_transform_edt(~is_known, return_distances=False, return_indices=True)
            texture[box][is_hole] = texture[box][rows[is_hole], columns[is_hole]]
