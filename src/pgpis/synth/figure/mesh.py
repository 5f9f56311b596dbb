"""What the parts of a dressed person hand to each other: shells of triangles, and attributes of surface points."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.description import Layer

Float = npt.NDArray[np.float32]
Index = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
ALL = slice(None)


@dataclass(frozen=True)
class Shell:
    """A sheet of triangles that moves with the body.

    Attributes:
        layer: What it is.
        source: ``(N,)`` body vertex that each vertex is skinned like and takes its canonical attributes from.
        rest: ``(N, 3)`` positions in the person's rest pose, metres.
        faces: ``(F, 3)`` in numbers of this shell's vertices.
        part, chart_uv: ``(F,)`` and ``(F, 3, 2)`` DensePose's chart and coordinates of each face.
        clip: ``(N,)`` metres to the hem, measured on the cloth; where its interpolation is negative nothing is drawn.
        canonical: ``(N, 3)`` canonical positions where they are not those of ``source`` (a bun, a pony tail).
    """

    layer: Layer
    source: Index
    rest: Float
    faces: Index
    part: UInt8
    chart_uv: Float
    clip: Float
    canonical: Float | None = None


@dataclass(frozen=True)
class Surface:
    """Attributes of N points on a person, all taken on the canonical body, so that colours do not depend on the pose.

    ``position`` ``(N, 3)`` metres; ``along_arm`` and ``along_leg`` 0 shoulder/hip, 1 elbow/knee, 2 wrist/ankle;
    ``arm`` 0..1; ``hem`` metres from the hem of the garment that is drawn; ``hairline`` metres above the hairline;
    masks 0..1.
    """

    position: Float
    along_arm: Float
    along_leg: Float
    arm: Float
    hem: Float
    hairline: Float
    lips: Float
    lids: Float
    nails: Float

    COLUMNS = 11
    HEM = 6
    """Number of the column."""

    @classmethod
    def of(cls, values: Float) -> Surface:
        """Take columns ``(N, COLUMNS)`` apart: position, then the others in the order of the fields."""
        return cls(values[:, :3], *(values[:, k] for k in range(3, cls.COLUMNS)))

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Surface:
        """Return the chosen points."""
        return Surface(*(getattr(self, name)[chosen] for name in Surface.__dataclass_fields__))


def smoothstep(x: npt.NDArray[np.floating], low: float, high: float) -> Float:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32)
    return t * t * (3 - 2 * t)


def mix(
    color: Float, amount: npt.NDArray[np.generic], other: npt.ArrayLike, chosen: npt.NDArray[np.int64] | slice = ALL
) -> None:
    """Move the chosen rows of colours ``(N, 3)`` towards another one, by an amount of each in 0..1."""
    part = color[chosen]
    color[chosen] = part + (np.asarray(other, np.float32) - part) * np.clip(amount, 0, 1).astype(np.float32)[:, None]


def adjacency(edges: npt.NDArray[np.integer], count: int) -> tuple[Index, Index]:
    """Return CSR offsets ``(count + 1,)`` and the neighbours of vertices that edges ``(E, 2)`` join."""
    both = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    offsets = np.searchsorted(both[:, 0], np.arange(count + 1)).astype(np.int32)
    return offsets, np.ascontiguousarray(both[:, 1], dtype=np.int32)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def vertex_normals(vertices: Float, faces: Index) -> Float:
    """Return unit normals ``(N, 3)``: the mean of the faces' normals, weighted by area."""
    normals = np.zeros_like(vertices)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        e0, e1, e2 = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        g0, g1, g2 = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = e1 * g2 - e2 * g1, e2 * g0 - e0 * g2, e0 * g1 - e1 * g0
        for k in range(3):
            v = faces[f, k]
            normals[v, 0] += x
            normals[v, 1] += y
            normals[v, 2] += z
    for v in range(len(normals)):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            normals[v] /= length
    return normals


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def smooth_points(points: Float, offsets: Index, indices: Index, strength: float, rounds: int) -> Float:
    """Move each point ``strength`` of the way to the mean of its neighbours, ``rounds`` times."""
    current = points.copy()
    share = np.float32(strength)
    for _ in range(rounds):
        moved = current.copy()
        for n in range(len(points)):
            count = offsets[n + 1] - offsets[n]
            if count == 0:
                continue
            for axis in range(3):
                total = np.float32(0)
                for k in range(offsets[n], offsets[n + 1]):
                    total += current[indices[k], axis]
                moved[n, axis] += share * (total / np.float32(count) - moved[n, axis])
        current = moved
    return current


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def nearest(points: Float, places: Float) -> npt.NDArray[np.int64]:
    """Return the number of the place ``(M, 3)`` that is nearest to each point ``(N, 3)``, the first one on a tie."""
    numbers = np.zeros(len(points), np.int64)
    for n in range(len(points)):
        least = np.inf
        for m in range(len(places)):
            x, y, z = places[m, 0] - points[n, 0], places[m, 1] - points[n, 1], places[m, 2] - points[n, 2]
            distance = x * x + y * y + z * z
            if distance < least:
                least, numbers[n] = distance, m
    return numbers
