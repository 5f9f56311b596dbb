"""Chart coordinates of what is not the body's skin: eyeballs, and the shells of garments and hair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from tools.body.geometry import (
    FRONT,
    PARTS,
    ChartMesh,
    Floats,
    Integers,
    Mask,
    boundary_loops,
    cross,
    segment_distance,
)

# Angle from the pupil up to which an eyeball is charted; lids hide what lies beyond.
EYE_LIMIT = np.deg2rad(100)


def eye_charts(
    mesh: ChartMesh, part: Integers, chart_uv: Floats, vertices: Floats, faces: Integers
) -> tuple[Integers, Floats]:
    """Chart the eyeballs: each lies in the hole that its eye's opening leaves in its half of the head's charts.

    An eyeball is unrolled around its pupil: the direction on the chart is the direction from the pupil, as seen from
    the front; the distance grows with the angle from it, up to the rim of the hole. A face that reaches further back
    than ``EYE_LIMIT`` is never seen: it shrinks to a point on the rim.

    Args:
        mesh: The body.
        part: (F,) of the body.
        chart_uv: (F, 3, 2) of the body.
        vertices: (V, 3) in the body's pose.
        faces: (E, 3) faces of both eyeballs.

    Returns:
        ``part`` (E,), 23 or 24, and ``chart_uv`` (E, 3, 2).
    """
    eye_part = np.where(vertices[faces].mean(axis=1)[:, 0] > 0, 24, 23)
    eye_uv = np.zeros((len(faces), 3, 2))
    for number in (23, 24):
        own = eye_part == number
        corners = vertices[faces[own]]
        center = (corners.reshape(-1, 3).max(axis=0) + corners.reshape(-1, 3).min(axis=0)) / 2
        hole = min(
            boundary_loops(mesh.faces), key=lambda loop: np.linalg.norm(mesh.vertices[loop].mean(axis=0) - center)
        )
        outline = _hole_on_chart(mesh.faces, chart_uv, part == number, hole)
        middle = _innermost(outline)
        direction = corners - center
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        turn = np.arctan2(direction[..., 2], direction[..., 0])
        depth = np.arccos(np.clip(direction @ FRONT, -1, 1)) / EYE_LIMIT
        hidden = depth.max(axis=1) > 1
        depth[hidden], turn[hidden] = 1, turn[hidden][:, :1]
        reach = 0.9 * depth * _reach(outline - middle, turn)
        eye_uv[own] = middle + reach[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    return eye_part, eye_uv


def _hole_on_chart(faces: Integers, chart_uv: Floats, own: Mask, hole: Sequence[int]) -> Floats:
    """Return the chart coordinates of the vertices around a hole."""
    place = dict(zip(faces[own].ravel().tolist(), chart_uv[own].reshape(-1, 2), strict=True))
    return np.array([place[vertex] for vertex in hole])


def _reach(outline: Floats, turn: Floats) -> Floats:
    """Return how far it is from the origin to a polygon around it, in each direction ``turn`` (radians)."""
    ray = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[..., None, :]
    side = np.roll(outline, -1, axis=0) - outline
    crossing = cross(ray, side)
    crossing = np.where(np.abs(crossing) < 1e-15, 1e-15, crossing)
    distance, along = cross(outline, side) / crossing, cross(outline, ray) / crossing
    return np.where((distance > 0) & (along >= 0) & (along <= 1), distance, np.inf).min(axis=-1)


def _innermost(outline: Floats) -> Floats:
    """Return the point of a polygon that is farthest from its sides, on a grid of 1/100 of its size."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    grid = np.stack(np.meshgrid(*(np.linspace(low[i], high[i], 101) for i in range(2))), axis=-1).reshape(-1, 2)
    distance = np.full(len(grid), np.inf)
    crossings = np.zeros(len(grid), dtype=int)
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        distance = np.minimum(distance, np.linalg.norm(segment_distance(grid, start, end)[0], axis=1))
        if start[1] != end[1]:
            spans = (grid[:, 1] >= min(start[1], end[1])) & (grid[:, 1] < max(start[1], end[1]))
            meet = start[0] + (grid[:, 1] - start[1]) / (end[1] - start[1]) * (end[0] - start[0])
            crossings += spans & (grid[:, 0] < meet)
    distance[crossings % 2 == 0] = -1
    inner: Floats = grid[np.argmax(distance)]
    return inner


def transfer_charts(
    shell_vertices: Floats,
    shell_faces: Integers,
    vertices: Floats,
    faces: Integers,
    part: Integers,
    chart_uv: Floats,
    allowed: Iterable[int] = tuple(PARTS),
) -> tuple[Integers, Floats]:
    """Give the faces of a garment or of hair the chart coordinates of the body below.

    A face takes the part of the body point nearest to its middle, and its corners take the nearest points of that part,
    so that no face reaches over two charts. Where the shell's second half of faces completes the quads of the first
    half, the two halves of a quad take the same part.

    Args:
        shell_vertices: (S, 3) in the body's pose.
        shell_faces: (G, 3).
        vertices: (V, 3) of the body.
        faces: (F, 3) of the body.
        part: (F,) of the body.
        chart_uv: (F, 3, 2) of the body.
        allowed: The parts that the shell may lie on.

    Returns:
        ``part`` (G,) and ``chart_uv`` (G, 3, 2).
    """
    pool = np.flatnonzero(np.isin(part, list(allowed)))
    half = len(shell_faces) // 2
    center = shell_vertices[shell_faces].mean(axis=1)
    if len(shell_faces) % 2 == 0 and all(
        len(np.intersect1d(a, b)) == 2 for a, b in zip(shell_faces[:half], shell_faces[half:], strict=True)
    ):
        center = np.tile((center[:half] + center[half:]) / 2, (2, 1))
    nearest, _ = _closest(center, vertices, faces[pool])
    shell_part = part[pool[nearest]]
    shell_uv = np.zeros((len(shell_faces), 3, 2))
    for number in np.unique(shell_part):
        own, below = shell_part == number, np.flatnonzero(part == number)
        used, inverse = np.unique(shell_faces[own], return_inverse=True)
        face, weights = _closest(shell_vertices[used], vertices, faces[below])
        place = np.einsum("nk,nkd->nd", weights, chart_uv[below[face]])
        shell_uv[own] = place[inverse].reshape(-1, 3, 2)
    return shell_part, shell_uv


def _closest(points: Floats, vertices: Floats, faces: Integers, candidates: int = 24) -> tuple[Integers, Floats]:
    """Return the face nearest to each point, and the barycentric weights (N, 3) of the nearest point on it.

    Exact among the ``candidates`` faces whose middles are nearest.
    """
    corners = vertices[faces]
    count = min(candidates, len(faces))
    _, near = cKDTree(corners.mean(axis=1)).query(points, k=count)
    near = near.reshape(len(points), count)
    best, weights, face = (
        np.full(len(points), np.inf),
        np.zeros((len(points), 3)),
        np.zeros(len(points), dtype=np.int64),
    )
    for column in range(count):
        candidate = near[:, column]
        trial = _nearest_on_triangle(points, corners[candidate])
        distance = np.linalg.norm(np.einsum("nk,nkd->nd", trial, corners[candidate]) - points, axis=1)
        closer = distance < best
        best[closer], weights[closer], face[closer] = distance[closer], trial[closer], candidate[closer]
    return face, weights


def _nearest_on_triangle(points: Floats, corners: Floats) -> Floats:
    """Return the barycentric weights of the nearest point of each triangle: inside it, or on its nearest edge."""
    edge_1, edge_2, offset = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    a, b, c = (np.einsum("nd,nd->n", x, y) for x, y in ((edge_1, edge_1), (edge_1, edge_2), (edge_2, edge_2)))
    d, e = np.einsum("nd,nd->n", edge_1, offset), np.einsum("nd,nd->n", edge_2, offset)
    determinant = np.maximum(a * c - b * b, 1e-18)
    second, third = (c * d - b * e) / determinant, (a * e - b * d) / determinant
    weights = np.stack([1 - second - third, second, third], axis=1)
    outside = (weights < 0).any(axis=1)
    best = np.full(len(points), np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, j] - corners[:, i]
        square = np.maximum(np.einsum("nd,nd->n", edge, edge), 1e-18)
        along = np.clip(np.einsum("nd,nd->n", points - corners[:, i], edge) / square, 0, 1)
        distance = np.linalg.norm(points - corners[:, i] - along[:, None] * edge, axis=1)
        closer = outside & (distance < best)
        best[closer] = distance[closer]
        weights[closer] = 0
        weights[closer, i], weights[closer, j] = 1 - along[closer], along[closer]
    return weights
