"""Hair: a thick shell on the scalp, and for long styles a closed curtain that falls from inside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import Body, Shape
from pgpis.synth.figure.description import Identity, Layer
from pgpis.synth.figure.mesh import Float, Index, Shell, adjacency, nearest, smooth_points, smoothstep, vertex_normals
from pgpis.synth.figure.noise import value_noise

STYLES = ("bald", "buzz", "crop", "short", "quiff", "afro", "bob", "long", "wavy", "bun", "ponytail")
THICKNESS = {
    "crop": 0.008, "short": 0.016, "quiff": 0.014, "afro": 0.040, "bob": 0.018, "long": 0.016, "wavy": 0.019,
    "bun": 0.010, "ponytail": 0.010,
}  # fmt: skip
# the hairline: metres above the eyes, from the back of the head (left) to the forehead by the canonical y
LINE_Y = (-0.15, -0.105, -0.085, -0.066, -0.052, -0.03, 0.0, 0.04)
LINE_Z = (0.085, 0.072, 0.055, 0.012, -0.002, 0.012, -0.035, -0.055)
# how far long hair hangs below the eyes, metres, and the angle from behind at which the curtain ends
CURTAINS = {"bob": (0.115, 1.95), "long": (0.27, 1.80), "wavy": (0.24, 1.85)}
COLUMNS, ROWS = 44, 22
# half sizes of what is tied, where its middle is behind and above the skull's back, metres, and how much it droops
BALLS = {
    "bun": ((0.043, 0.036, 0.043), (0.014, 0.050), 0.0),
    "ponytail": ((0.027, 0.025, 0.095), (0.022, -0.085), 0.20),
}


def hairline(body: Body) -> Float:
    """Return how far vertices are above the hairline, ``(V,)`` metres on the canonical body; negative off the scalp."""
    eye = body.joint("eye.L")[2]
    above, y = body.canonical[:, 2] - eye, body.canonical[:, 1]
    line = np.interp(y, LINE_Y, LINE_Z)
    return np.where(body.head > 0.2, above - line, -0.1).astype(np.float32)


def hair_shells(body: Body, shape: Shape, identity: Identity) -> list[Shell]:
    """Return the sheets of a hair style around the body at rest; KeyError: it is none of :data:`STYLES`."""
    style = identity.hair
    if style in {"bald", "buzz"}:
        return []
    shells = [_cap(body, shape, identity)]
    if style in CURTAINS:
        shells.append(_curtain(body, shape, identity))
    if style in BALLS:
        shells.append(_ball(body, shape, identity))
    return shells


def _cap(body: Body, shape: Shape, identity: Identity) -> Shell:
    """The scalp, smoothed and lifted; thicker on top, thinning out to the hairline."""
    part = body.parts["body"]
    chosen = np.flatnonzero((body.head[part.faces] > 0.2).all(axis=1) & (part.part >= 23))
    used, corner = np.unique(part.faces[chosen], return_inverse=True)
    faces = corner.reshape(-1, 3).astype(np.int32)
    line = hairline(body)[used]
    canonical = body.canonical[used]
    above = canonical[:, 2] - body.joint("eye.L")[2]
    rest = shape.vertices[used]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    smooth = smooth_points(rest, *adjacency(edges, len(used)), 1.0, 4)
    normals = vertex_normals(smooth, faces)
    thickness = THICKNESS[identity.hair] * identity.paint["hair_volume"]
    lift = 0.0015 + thickness * smoothstep(line, -0.002, 0.035) * (1 + 0.45 * smoothstep(above, 0.05, 0.11))
    lift = lift * (1 + 0.18 * value_noise(canonical, 55))
    if identity.hair == "quiff":
        lift = lift + 0.022 * smoothstep(above, 0.06, 0.10) * smoothstep(-canonical[:, 1], 0.02, 0.09)
    if identity.hair == "short" and identity.paint["parting"]:
        side = canonical[:, 0] * identity.paint["parting"]
        lift = lift * (1 - 0.5 * np.exp(-(((side - 0.030) / 0.006) ** 2)) * smoothstep(above, 0.06, 0.09))
    if identity.hair == "afro":
        lift = lift * (1 + 0.12 * value_noise(canonical, 130, 1))
    moved = rest * 0.4 + smooth * 0.6 + normals * lift.astype(np.float32)[:, None]
    x, y = np.abs(canonical[:, 0]), canonical[:, 1]
    ear = (x > 0.0715) & (y > -0.055) & (y < 0.0) & (above < 0.03) & (above > -0.06)
    clip = np.where(ear, -0.02, line).astype(np.float32)
    source, moved = used.astype(np.int32), moved.astype(np.float32)
    return Shell(Layer.HAIR, source, moved, faces, part.part[chosen], part.chart_uv[chosen], clip)


def _head_frame(body: Body, shape: Shape) -> tuple[Float, Float, int]:
    """Return the middle of the skull, its half sizes (x, y, z), and a vertex that moves with the head alone."""
    last = body.parts["body"].vertices[1]
    skull = np.flatnonzero((body.head[:last] > 0.9) & (body.canonical[:last, 2] > body.joint("eye.L")[2]))
    points = shape.vertices[skull]
    low, high = points.min(axis=0), points.max(axis=0)
    rigid = int(skull[np.argmax(body.canonical[skull, 2])])
    return (low + high) / 2, (high - low) / 2, rigid


def _curtain(body: Body, shape: Shape, identity: Identity) -> Shell:
    """A sheet around the back and sides of the head that begins under the cap and hangs to the shoulders.

    Its upper rows follow the head; below the chin they follow the upper spine, so that hair lies on the shoulders when
    the head turns. It stands off neck and back everywhere.
    """
    length, reach = CURTAINS[identity.hair]
    length *= 0.85 + 0.3 * identity.paint["hair_length"]
    center, half, rigid = _head_frame(body, shape)
    eye = shape.joints[body.bone["eye.L"]]
    volume = identity.paint["hair_volume"]
    top = eye[2] + 0.055
    bottom = eye[2] - length * 1.18
    angle, down = np.meshgrid(np.linspace(-reach, reach, COLUMNS), np.linspace(0, 1, ROWS))  # angle 0 is behind
    fall = down.astype(np.float32)
    z = top + (bottom - top) * down
    ends = np.abs(angle) / reach
    z = z + 0.035 * ends**4 * down  # shorter towards the face
    radius_x = half[0] * (1.02 + 0.06 * volume) + 0.006 * np.sin(np.pi * np.clip(down * 1.4, 0, 1))
    radius_y = half[1] * (0.98 + 0.05 * volume)
    # the first rows lie inside the cap
    radius_x, radius_y = (radius * (0.86 + 0.14 * smoothstep(fall, 0.02, 0.22)) for radius in (radius_x, radius_y))
    taper = 1 - 0.10 * smoothstep(fall, 0.45, 1.0) * (1 - 0.5 * ends)
    x = center[0] + radius_x * taper * np.sin(angle)
    y = center[1] + radius_y * taper * np.cos(angle)
    if identity.hair == "wavy":
        wave = np.sin(down * 26 + 1.5 * np.sin(angle * 3)) * 0.006 * smoothstep(fall, 0.15, 0.5)
        x, y = x + wave * np.sin(angle), y + wave * np.cos(angle)
    strands = 0.0025 * np.sin(angle * 21 + 2 * np.sin(angle * 7))
    x, y = x + strands * np.sin(angle), y + strands * np.cos(angle)
    points = np.stack([x, y, z], axis=-1).astype(np.float32).reshape(-1, 3)
    points = _stand_off(points, body, shape)
    source = _hang_from(points, body, shape, rigid)
    faces = _grid_faces(ROWS, COLUMNS)
    part, chart_uv = _charts_of(points, faces, body, shape)
    canonical = points - center + body.canonical[rigid] - (shape.vertices[rigid] - center)
    jagged = 0.006 * np.sin(angle * 37) * (0.5 + 0.5 * np.sin(angle * 11))
    clip = ((1 - down) * length + jagged * 0.5 + 0.004).astype(np.float32).reshape(-1)
    return Shell(Layer.HAIR, source, points, faces, part, chart_uv, clip, canonical.astype(np.float32))


def _grid_faces(rows: int, columns: int, *, inverted: bool = False) -> Index:
    """Return the triangles of a grid of vertices, first all upper halves of its quads; ``inverted`` turns them over."""
    number = np.arange(rows * columns).reshape(rows, columns)
    corners = [number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]]
    quads = np.stack(corners[:1] + corners[:0:-1] if inverted else corners, axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def _stand_off(points: Float, body: Body, shape: Shape) -> Float:
    """Push points out of the body, away from the neck's axis: close on the neck, past a garment on the shoulders."""
    last = body.parts["body"].vertices[1]
    near = np.flatnonzero((body.canonical[:last, 2] > 0.25) & (body.arm[:last] < 0.5))
    skin = shape.vertices[near]
    neck = shape.joints[body.bone["neck01"]]
    result = points.copy()
    around = np.arctan2(skin[:, 0] - neck[0], skin[:, 1] - neck[1])
    radius = np.hypot(skin[:, 0] - neck[0], skin[:, 1] - neck[1])
    for number, point in enumerate(points):
        offset = point[:2] - neck[:2]
        angle, reach = np.arctan2(offset[0], offset[1]), float(np.hypot(*offset))
        level = np.flatnonzero(np.abs(skin[:, 2] - point[2]) < 0.018)
        beside = level[np.abs((around[level] - angle + np.pi) % (2 * np.pi) - np.pi) < 0.22]
        if not beside.size:
            continue
        distance = 0.012 if point[2] > neck[2] + 0.01 else 0.040
        needed = min(float(radius[beside].max()) + distance, reach + 0.08)
        if needed > reach:
            result[number, :2] = neck[:2] + offset / max(reach, 1e-6) * needed
    return result


def _hang_from(points: Float, body: Body, shape: Shape, rigid: int) -> Index:
    """Return the vertex that each point moves with: the head's, and below the chin those of neck and back."""
    last = body.parts["body"].vertices[1]
    candidates = np.flatnonzero((body.canonical[:last, 2] > 0.30) & (body.arm[:last] < 0.02))
    skin = shape.vertices[candidates]
    chin = shape.joints[body.bone["head"]][2] - 0.02
    source = np.full(len(points), rigid, np.int32)
    below = np.flatnonzero(points[:, 2] < chin)
    source[below] = candidates[nearest(points[below], skin)]
    return source


def _charts_of(points: Float, faces: Index, body: Body, shape: Shape) -> tuple[npt.NDArray[np.uint8], Float]:
    """Return part and chart coordinates of the nearest scalp of the same half of the head."""
    part = body.parts["body"]
    half = len(faces) // 2
    middle = points[faces].mean(axis=1)
    right = np.tile((middle[:half, 0] + middle[half:, 0]) < 0, 2)  # both halves of a quad together
    numbers = np.where(right, 23, 24).astype(np.uint8)
    uv = np.zeros((len(faces), 3, 2), np.float32)
    for number in (23, 24):
        mine = np.flatnonzero(numbers == number)
        scalp = np.flatnonzero(part.part == number)
        corners = shape.vertices[part.faces[scalp]].reshape(-1, 3)
        coordinates = part.chart_uv[scalp].reshape(-1, 2)
        used, inverse = np.unique(faces[mine], return_inverse=True)
        uv[mine] = coordinates[nearest(points[used], corners)][inverse.reshape(-1, 3)]
    return numbers, uv


def _ball(body: Body, shape: Shape, identity: Identity) -> Shell:
    """A bun or a pony tail: an ellipsoid behind the skull."""
    radii, place, droop = BALLS[identity.hair]
    center, half, rigid = _head_frame(body, shape)
    around, down = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0.01, np.pi - 0.01, 13))
    sphere = np.stack([np.sin(down) * np.sin(around), np.sin(down) * np.cos(around), np.cos(down)], axis=-1)
    points = sphere.reshape(-1, 3) * np.array(radii) * identity.paint["hair_volume"]
    points[:, 1] += droop * np.maximum(0, -points[:, 2]) * 0.15 + 0.012 * np.sin(points[:, 2] * 25) * bool(droop)
    points += np.array([center[0], center[1] + half[1] + place[0] - 0.012, center[2] + place[1]])
    faces = _grid_faces(13, 25, inverted=True)
    points = points.astype(np.float32)
    part, chart_uv = _charts_of(points, faces, body, shape)
    canonical = (points - shape.vertices[rigid] + body.canonical[rigid]).astype(np.float32)
    source, clip = np.full(len(points), rigid, np.int32), np.ones(len(points), np.float32)
    return Shell(Layer.HAIR, source, points, faces, part, chart_uv, clip, canonical)
