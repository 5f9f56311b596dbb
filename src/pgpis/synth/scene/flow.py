"""Exact flow: where what one picture of a person shows is in another picture of the same person."""

from __future__ import annotations

import numpy as np

from pgpis.synth.figure.mesh import Float
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.raster import interpolate
from pgpis.synth.scene.camera import project
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.render import View
from pgpis.synth.scene.scene import Scene

BEHIND = 0.02
"""Metres behind the nearest surface from which a point is hidden: cloth lies so far from skin."""


def exact_flow(first: Scene, second: Scene, height: int, width: int) -> Float:
    """Return how far what each pixel of the first picture shows has moved in the second.

    Args:
        first: The first picture; what is behind the person stands still where both have one camera.
        second: The same person in the same clothes.
        height: Rows of both pictures.
        width: Columns of both.

    Returns:
        x and y in pixels, ``(H, W, 2)``; NaN where it is not seen in the second picture.
    """
    person = dress(first.identity, first.outfit)
    moved = stand(person, second.pose)[0]
    before = View(person, stand(person, first.pose)[0], first.camera, height, width)
    after = View(person, moved, second.camera, height, width)
    flow = np.full((height, width, 2), np.nan, np.float32)
    if first.camera == second.camera:
        flow[np.isinf(before.distance) & np.isinf(after.distance)] = 0
    points = interpolate(moved, person.faces, before.triangle, before.weights)  # (N, 3)
    image = project(second.camera, points, height)[:, :2]
    column, row = np.floor(image.T).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearest = after.distance[np.where(inside, row, 0), np.where(inside, column, 0)]
    seen = inside & np.isfinite(nearest) & (second.camera.distance + points[:, 1] <= nearest + BEHIND)
    rows, columns = (axis[seen] for axis in before.pixels)
    flow[rows, columns] = image[seen] - np.column_stack([columns, rows]) - np.float32(0.5)
    return flow
