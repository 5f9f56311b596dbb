"""A part as a disc with a labelled border: DensePose's chart, and our part cut open alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.signal import find_peaks
from scipy.sparse import csgraph

from tools.body.cuts import cut_path
from tools.body.geometry import (
    PARTS,
    ChartMesh,
    DensePoseCharts,
    Floats,
    Integers,
    boundary_loops,
    directed_edges,
)

# Vertices of SMPL's topology that DensePose's charts refer to (0-based).
HEEL, SMALL_TOE, EYE = {"L": 3387, "R": 6787}, {"L": 3226, "R": 6624}, {"L": 2800, "R": 6260}
NOSE = 332


@dataclass(frozen=True)
class Patch:
    """A part as a disc.

    ``points`` (N, 2 or 3); ``faces`` (M, 3) into them; ``body``: the vertex of the closed body of each point.
    ``border``: the loop of border vertices, from a change of label on; ``labels``: the part beyond each border edge,
    the own number at a cut. ``anchors``: positions on the border that name the same place on DensePose's patch and on
    ours, besides those where two labels meet.
    """

    points: Floats
    faces: Integers
    body: Integers
    border: list[int]
    labels: list[int]
    anchors: dict[str, int]


def _neighbours(part: Integers, faces: Integers) -> dict[tuple[int, int], int]:
    """Return the part of the face on the left of each directed edge."""
    edges = directed_edges(faces)
    return {(int(a), int(b)): int(number) for (a, b), number in zip(edges, np.tile(part, 3), strict=True)}


def _bordered(points: Floats, faces: Integers, body: Integers, beyond: dict[tuple[int, int], int], own: int) -> Patch:
    """Make a patch; ``body`` holds the vertex of the closed body of each point."""
    loops = boundary_loops(faces)
    if len(loops) != 1:
        raise ValueError(
            f"part {own} is not a disc: it has {len(loops)} borders of {[len(loop) for loop in loops]} edges"
        )
    border = loops[0]
    after = border[1:] + border[:1]
    # DensePose's feet lack a few faces beside the little toe, on the line of the cut.
    labels = [beyond.get((int(body[b]), int(body[a])), own) for a, b in zip(border, after, strict=True)]
    start = next(i for i in range(len(labels)) if labels[i] != labels[i - 1])
    return Patch(points, faces, body, border[start:] + border[:start], labels[start:] + labels[:start], {})


def densepose_patch(charts: DensePoseCharts, number: int) -> Patch:
    """Take one of DensePose's charts; its anchors are known vertices and the tips and webs of the fingers."""
    used, faces = np.unique(charts.faces[charts.part == number], return_inverse=True)
    body = charts.body[used]
    patch = _bordered(
        charts.uv[used], faces.reshape(-1, 3), body, _neighbours(charts.part, charts.body[charts.faces]), number
    )
    names: dict[int, str] = {}
    part = PARTS[number]
    if part.name == "foot":
        names = {HEEL[part.side]: "heel", SMALL_TOE[part.side]: "small toe"}
    elif part.name == "head":
        names = {NOSE: "nose"}
    anchors = _named_anchors(patch, body, names)
    if part.name == "hand":
        anchors |= _finger_anchors(patch, body)
    return replace(patch, anchors=anchors)


def _fold(patch: Patch, body: Integers) -> int | None:
    """Return the position of the inner end of the cut: the two sides of the cut meet there."""
    vertices = body[patch.border]
    ends = np.flatnonzero(np.roll(vertices, 1) == np.roll(vertices, -1))
    return int(ends[0]) if len(ends) else None


def _named_anchors(patch: Patch, body: Integers, names: dict[int, str]) -> dict[str, int]:
    """Return the end of the cut, and for each named body vertex its positions before and behind that end."""
    fold = _fold(patch, body)
    anchors = {} if fold is None else {"fold": fold}
    for vertex, name in names.items():
        positions = np.flatnonzero(body[patch.border] == vertex)
        if len(positions) == 1:
            anchors[name] = int(positions[0])
        else:
            before, behind = positions
            anchors |= {f"{name} before": int(before), f"{name} behind": int(behind)}
    return anchors


def _finger_anchors(patch: Patch, body: Integers) -> dict[str, int]:
    """Return tips of fingers and webs between them: where the distance from the wrist along the cut peaks and dips."""
    fold = _fold(patch, body)
    assert fold is not None
    labels = np.array(patch.labels)
    wrist = np.array(patch.border)[np.flatnonzero(labels != np.bincount(labels).argmax())]
    size = body.max() + 1
    edges = directed_edges(patch.faces)
    length = np.linalg.norm(patch.points[edges[:, 0]] - patch.points[edges[:, 1]], axis=1)
    welded = np.sort(body[edges], axis=1)
    unique, inverse = np.unique(welded, axis=0, return_inverse=True)
    shortest = np.full(len(unique), np.inf)
    np.minimum.at(shortest, inverse.ravel(), length)
    graph = sparse.coo_matrix((shortest, (unique[:, 0], unique[:, 1])), (size, size)).tocsr()
    distance = csgraph.dijkstra(graph, directed=False, indices=np.unique(body[wrist]), min_only=True)
    along = distance[body[patch.border]]
    own = np.flatnonzero(labels == np.bincount(labels).argmax())
    start, stop = int(own[0]), int(own[-1]) + 1
    anchors: dict[str, int] = {}
    for side, positions in (("before", np.arange(start, fold)), ("behind", np.arange(stop, fold, -1) % len(along))):
        values, spread = along[positions], np.ptp(along)
        tips, _ = find_peaks(values, prominence=0.1 * spread)
        webs, _ = find_peaks(-values, prominence=0.1 * spread)
        if len(tips) != 4 or len(webs) != 4:
            raise ValueError(
                f"expected four tips and webs along the cut of a hand, there are {len(tips)} and {len(webs)}"
            )
        anchors |= {f"tip {i} {side}": int(positions[k]) for i, k in enumerate(tips)}
        anchors |= {f"web {i} {side}": int(positions[k]) for i, k in enumerate(webs)}
    return anchors


def body_patch(mesh: ChartMesh, part: Integers, number: int) -> Patch:
    """Take one part out of our body, cut open as DensePose's is."""
    own = mesh.faces[part == number]
    path, names = cut_path(mesh, part, number)
    opened, copies = cut_open(own, path, len(mesh.vertices))
    body_of = np.concatenate([np.arange(len(mesh.vertices)), copies])
    used, faces = np.unique(opened, return_inverse=True)
    body = body_of[used]
    patch = _bordered(mesh.vertices[body], faces.reshape(-1, 3), body, _neighbours(part, mesh.faces), number)
    anchors = _named_anchors(patch, body, names)
    if PARTS[number].name == "hand":
        anchors |= _finger_anchors(patch, body)
    return replace(patch, anchors=anchors)


def cut_open(faces: Integers, path: Sequence[int], size: int) -> tuple[Integers, Integers]:
    """Cut faces along a path of vertices that starts on their border and ends inside.

    Returns:
        The faces, those on the right of the path with new vertices from ``size`` on, and what these are copies of.
    """
    if not path:
        return faces, np.zeros(0, dtype=np.int64)
    result = faces.copy()
    directed = {
        (int(f[i]), int(f[(i + 1) % 3])): (k, int(f[(i + 2) % 3])) for k, f in enumerate(faces) for i in range(3)
    }
    copies = list(path[:-1])
    for index, vertex in enumerate(copies):
        # walk round the vertex over the faces on the right, from the edge to the next vertex to the one before
        spoke = path[index + 1]
        before = path[index - 1] if index else None
        while spoke != before and (spoke, vertex) in directed:
            face, spoke = directed[spoke, vertex]
            result[face][faces[face] == vertex] = size + index
    return result, np.array(copies, dtype=np.int64)
