"""Where the person stands, what the camera sees of them, the light, and what is behind them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.description import triple
from pgpis.synth.figure.mesh import Float, smoothstep
from pgpis.synth.scene.scene import Backdrop, Camera, Light

DISTANCE = 5.0  # metres; far enough for the flat look of catalogue pictures
BACKDROPS = ((240, 240, 240), (246, 245, 243), (232, 232, 234), (238, 234, 228), (228, 231, 234))
CHIN = 8  # among iBUG's 68 points
SLIM = 0.13  # metres from the middle to the edge of a person seen from the side
CLOSEST = 0.5  # metres from the upper to the lower edge of a picture
Points = dict[str, npt.NDArray[np.float32]]
Studio = tuple[Light, Backdrop]


def place_person(points: npt.NDArray[np.floating], turn: float) -> Float:
    """Turn points ``(N, 3)`` about Z by ``turn`` radians; positive turns a person who faces us to our right."""
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return (points @ matrix.T).astype(np.float32)


def project(camera: Camera, points: Float, height: int) -> Float:
    """Project points ``(N, 3)`` in metres onto a picture of ``height`` rows.

    Returns:
        ``(N, 3)``: x and y in pixels, the centre of the first pixel at 0.5, and -1000 / distance from the camera's
        plane, which is linear on the screen and smaller for what is nearer.
    """
    distance = np.float32(camera.distance) + points[:, 1]
    scale = np.float32(camera.focal * height) / distance
    x = np.float32(camera.center[0] * height) + (points[:, 0] - np.float32(camera.target[0])) * scale
    y = np.float32(camera.center[1] * height) - (points[:, 2] - np.float32(camera.target[1])) * scale
    return np.stack([x, y, np.float32(-1000) / distance], axis=1)


def frame_person(vertices: Float, points: Points, rng: np.random.Generator, kind: str, aspect: float) -> Camera:
    """Return a camera that frames a person before it; margins vary a little.

    Args:
        vertices: ``(V, 3)`` everything that is drawn.
        points: Key points by name, ``(1, 3)`` or ``(K, 3)`` each.
        rng: Source of randomness.
        kind: ``full`` from head to feet, ``three_quarter`` to the knees, ``upper`` to the hips, ``signer`` the
            framing of weather-forecast interpreters: to the hips with room for the arms.
        aspect: Width of the picture as a share of its height.

    Raises:
        ValueError: There is no such framing.
    """
    top, hips, knees = vertices[:, 2].max(), _level(points, "hip"), _level(points, "knee")
    lowest = {
        "full": vertices[:, 2].min(),
        "three_quarter": knees + rng.uniform(-0.02, 0.14),
        "upper": hips - rng.uniform(0.06, 0.24),
        "signer": hips - 0.10,
    }
    if kind not in lowest:
        raise ValueError(f"unknown framing '{kind}'; expected one of {', '.join(lowest)}")
    bottom = lowest[kind]
    fill = rng.uniform(0.86, 0.93) if kind == "full" else rng.uniform(0.88, 0.94)
    if kind == "signer":
        fill = 0.80
    seen = vertices[vertices[:, 2] > bottom]
    # nearer points look larger: take the extent on the plane that they are projected to
    scale = DISTANCE / (DISTANCE + seen[:, 1])
    left, right = (seen[:, 0] * scale).min(), (seen[:, 0] * scale).max()
    focal = fill / (top - bottom) * DISTANCE
    focal = min(focal, 0.94 * aspect / (right - left) * DISTANCE)
    if kind == "full":
        height = (top + bottom) / 2
    else:  # the head keeps its place under the upper edge
        margin = 0.5 * (1 - fill) + (0.06 if kind == "signer" else 0.0)
        height = top - (0.5 - margin) / focal * DISTANCE
    return Camera(float(focal), DISTANCE, (float(aspect / 2), 0.5), (float((left + right) / 2), float(height)))


def cut_frame(camera: Camera, points: Points, rng: np.random.Generator, aspect: float) -> Camera:
    """Return the camera closer to the person or beside them, so that the frame cuts them as in a shop's pictures.

    It cuts the head at forehead or chin, the legs at thighs, knees or shins, or one side with its shoulder.
    """
    eyes, hips, knees = (_level(points, joint) for joint in ("eye", "hip", "knee"))
    chin = float(points["face"][CHIN, 2])
    rows = camera.distance / camera.focal  # metres from the upper to the lower edge
    top, x = camera.target[1] + camera.center[1] * rows, camera.target[0]
    bottom = top - rows
    lower = (hips - rng.uniform(0.05, 0.25), knees + rng.uniform(-0.05, 0.20), knees - rng.uniform(0.10, 0.30), bottom)
    kind = rng.choice(["head", "legs", "side"])
    if kind == "head":
        top = rng.choice([eyes + rng.uniform(0.03, 0.09), chin + rng.uniform(-0.03, 0.05)])
        bottom = max(bottom, lower[rng.integers(4)])
    elif kind == "legs":
        bottom = max(bottom, lower[rng.integers(3)])
    else:
        bottom = max(bottom, hips - rng.uniform(-0.05, 0.25))
        left, right = sorted(float(points[f"{side}_shoulder"][..., 0].mean()) for side in ("left", "right"))
        way = rng.choice([-1.0, 1.0])
        edge = (left + right) / 2 + way * max((right - left) / 2, SLIM) * rng.uniform(0.65, 1.05)
        x = edge - way * aspect * (top - bottom) / 2
    return _framed(camera, x, top, bottom)


def misaligned_frame(camera: Camera, points: Points, rng: np.random.Generator, aspect: float) -> Camera:
    """Return another camera than the one that frames the person as pictures of their kind do.

    It shows half a body, stands nearer at any part above the knees or farther, or cuts as :func:`cut_frame` does.
    """
    kind = rng.choice(["half", "near", "far", "cut"])
    if kind == "cut":
        return cut_frame(camera, points, rng, aspect)
    eyes, hips, knees = (_level(points, joint) for joint in ("eye", "hip", "knee"))
    rows = camera.distance / camera.focal  # metres from the upper to the lower edge
    top, x = camera.target[1] + camera.center[1] * rows, camera.target[0]
    if kind == "half":
        return _framed(camera, x, top, hips - rng.uniform(-0.05, 0.20))
    middle = top - rows / 2 if kind == "far" else rng.uniform(knees, eyes)
    rows = rows / (rng.uniform(0.45, 0.75) if kind == "far" else rng.uniform(1.3, 2.0))
    x += rng.uniform(-0.12, 0.12) * aspect * rows
    return _framed(camera, x, middle + rows / 2, middle - rows / 2)


def _framed(camera: Camera, x: float, top: float, bottom: float) -> Camera:
    """Return the camera, from the same distance, with the frame between two levels."""
    focal = camera.distance / max(top - bottom, CLOSEST)
    height = top - camera.center[1] * camera.distance / focal
    return Camera(float(focal), camera.distance, camera.center, (float(x), float(height)))


def _level(points: Points, joint: str) -> float:
    return float(np.mean([points[f"{side}_{joint}"][..., 2].mean() for side in ("left", "right")]))


def sample_studio(rng: np.random.Generator) -> Studio:
    """Draw soft light from the front, from either side, and the near-white backdrop of a catalogue."""
    direction = np.array([rng.uniform(-0.7, 0.7), -1.0, rng.uniform(0.5, 1.1)])
    direction /= np.linalg.norm(direction)
    tint = 1 + rng.normal(0, 0.012, 3)
    ambient, key = float(rng.uniform(0.54, 0.62)), float(rng.uniform(0.36, 0.46))
    color = np.array(BACKDROPS[rng.integers(len(BACKDROPS))]) + rng.normal(0, 3) + rng.normal(0, 1, 3)
    backdrop = Backdrop(triple(np.clip(color, 0, 252)), float(rng.uniform(0, 14)), True)
    return Light(triple(direction), ambient, key, 0.09, triple(tint)), backdrop


def signer_studio(rng: np.random.Generator) -> Studio:
    """Draw the even light and the grey backdrop of a television studio."""
    light = Light((float(rng.uniform(-0.25, 0.25)), -0.87, 0.45), 0.62, 0.34, 0.10)
    grey = float(rng.uniform(150, 176))
    return light, Backdrop((grey, grey + 2, grey + 5), float(rng.uniform(6, 14)), False)


def paint_backdrop(backdrop: Backdrop, camera: Camera, vertices: Float, height: int, width: int) -> Float:
    """Return what is behind a person ``(H, W, 3)``; with a floor, the shadow around the feet."""
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)[None]
    shade = np.float32(backdrop.falloff) * (smoothstep(y, 0.5, 1.0) + np.float32(0.5) * x * x)
    light = foot_shadow(camera, vertices, height, width) if backdrop.floor else np.ones((height, width), np.float32)
    return ((np.array(backdrop.color, np.float32) - shade[..., None]) * light[..., None]).astype(np.float32)


def foot_shadow(camera: Camera, vertices: Float, height: int, width: int, depth: float = 0.24) -> Float:
    """Return how much light reaches the floor around the feet of a person, ``(H, W)`` 0..1."""
    light = np.ones((height, width), np.float32)
    floor = vertices[:, 2].min()
    soles = vertices[vertices[:, 2] < floor + 0.04]
    # where each foot stands: the shadow is the sum of one soft ellipse under each
    for side in (soles[:, 0] < np.median(soles[:, 0]), soles[:, 0] >= np.median(soles[:, 0])):
        if not side.any():
            continue
        foot = project(camera, soles[side].mean(axis=0, keepdims=True), height)[0]
        metre = camera.focal * height / camera.distance
        column = (np.arange(width, dtype=np.float32) + 0.5 - foot[0]) / (0.24 * metre)
        row = (np.arange(height, dtype=np.float32) + 0.5 - foot[1]) / (0.045 * metre)
        light *= 1 - np.float32(depth) * np.exp(-1.3 * (column[None] ** 2 + row[:, None] ** 2)).astype(np.float32)
    return light
