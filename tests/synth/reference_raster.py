"""The z-buffer of ``pgpis.synth.figure.raster`` in plain numpy: slow, and easy to check by eye."""

from __future__ import annotations

import numpy as np


def rasterize(points, faces, clip, height, width):
    """Draw one triangle after the other, each as whole arrays over the picture's rows and columns that it may touch."""
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    points, clip = points.astype(np.float64), clip.astype(np.float64)
    for number, face in enumerate(faces):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[face]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (clip[face] < 0).all():
            continue
        xs = np.arange(max(int(np.floor(min(ax, bx, cx))) - 1, 0), min(int(np.ceil(max(ax, bx, cx))) + 1, width))
        ys = np.arange(max(int(np.floor(min(ay, by, cy))) - 1, 0), min(int(np.ceil(max(ay, by, cy))) + 1, height))
        x, y = np.meshgrid(xs + 0.5, ys + 0.5)
        second = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        third = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        first = 1 - second - third
        inside = (first >= 0) & (second >= 0) & (third >= 0)
        inside &= first * clip[face[0]] + second * clip[face[1]] + third * clip[face[2]] >= 0
        z = (first * az + second * bz + third * cz).astype(np.float32)
        if not inside.any():
            continue
        window = np.ix_(ys, xs)
        nearer = inside & (z < depth[window])
        depth[window] = np.where(nearer, z, depth[window])
        triangle[window] = np.where(nearer, number, triangle[window])
        weights[window] = np.where(nearer[..., None], np.stack([second, third], -1), weights[window])
    return triangle, weights, depth
