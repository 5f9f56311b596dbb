"""A z-buffer for triangles, and attributes interpolated over what it shows.

``tests/synth/reference_raster.py`` is the same in plain numpy; a test compares the two.
"""

from __future__ import annotations

import numba
import numpy as np

from pgpis.synth.figure.mesh import Float, Index


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def rasterize(points: Float, faces: Index, clip: Float, height: int, width: int) -> tuple[Index, Float, Float]:
    """Draw triangles into a z-buffer; the smallest third coordinate wins, the first triangle on a tie.

    Args:
        points: ``(V, 3)`` x and y in pixels (pixel centres at +0.5) and a depth that is linear on the screen.
        faces: ``(F, 3)`` corners; both sides are drawn.
        clip: ``(V,)`` where its screen-space interpolation is negative nothing is drawn.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        ``(H, W)`` number of the nearest triangle, -1 where there is none; ``(H, W, 2)`` screen-space weights of its
        second and third corner at the pixel's centre; ``(H, W)`` its interpolated third coordinate, else infinite.
    """
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ci, cj, ck = np.float64(clip[i]), np.float64(clip[j]), np.float64(clip[k])
        if ci < 0 and cj < 0 and ck < 0:
            continue
        ax, ay, az = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        bx, by, bz = np.float64(points[j, 0]), np.float64(points[j, 1]), np.float64(points[j, 2])
        cx, cy, cz = np.float64(points[k, 0]), np.float64(points[k, 1]), np.float64(points[k, 2])
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        first_x = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        last_x = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        first_y = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        last_y = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        inverse = 1.0 / area
        for y in range(first_y, last_y + 1):
            py = y + 0.5
            for x in range(first_x, last_x + 1):
                px = x + 0.5
                w1 = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) * inverse
                if w1 < 0:
                    continue
                w2 = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * inverse
                w0 = 1.0 - w1 - w2
                if w2 < 0 or w0 < 0 or w0 * ci + w1 * cj + w2 * ck < 0:
                    continue
                z = np.float32(w0 * az + w1 * bz + w2 * cz)
                if z < depth[y, x]:
                    depth[y, x] = z
                    triangle[y, x] = f
                    weights[y, x, 0] = w1
                    weights[y, x, 1] = w2
    return triangle, weights, depth


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def correct_weights(points: Float, faces: Index, triangle: Index, weights: Float) -> Float:
    """Return perspective-correct weights ``(N, 3)`` of fragments.

    The third coordinate of ``points`` ``(V, 3)`` is -1/distance, up to a factor; ``triangle`` ``(N,)`` and ``weights``
    ``(N, 2)`` are what :func:`rasterize` found.
    """
    result = np.empty((len(triangle), 3), np.float32)
    for n in range(len(triangle)):
        t = triangle[n]
        w1, w2 = weights[n, 0], weights[n, 1]
        a = (np.float32(1) - w1 - w2) * points[faces[t, 0], 2]
        b = w1 * points[faces[t, 1], 2]
        c = w2 * points[faces[t, 2], 2]
        inverse = np.float32(1) / (a + b + c)
        result[n, 0], result[n, 1], result[n, 2] = a * inverse, b * inverse, c * inverse
    return result


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def interpolate(values: Float, faces: Index, triangle: Index, weights: Float) -> Float:
    """Interpolate vertex values ``(V, C)`` over fragments: ``(N, C)``."""
    channels = values.shape[1]
    result = np.empty((len(triangle), channels), np.float32)
    for n in range(len(triangle)):
        t = triangle[n]
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        w0, w1, w2 = weights[n, 0], weights[n, 1], weights[n, 2]
        for c in range(channels):
            result[n, c] = w0 * values[i, c] + w1 * values[j, c] + w2 * values[k, c]
    return result
