"""Rooms that people are photographed in: a wall and a floor, plain as a shop's studio or covered with a photograph.

Wall and floor have places in metres, so that a person's views share them: a camera that comes closer sees them larger.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from pgpis.synth.figure.description import triple
from pgpis.synth.figure.mesh import Float, smoothstep
from pgpis.synth.figure.photographs import PHOTOGRAPHS, halvings_for, photograph
from pgpis.synth.scene.camera import Studio, foot_shadow
from pgpis.synth.scene.scene import Backdrop, Camera, Covering, Light, Room

PHOTOGRAPHIC = 1 / 3
"""Share of the rooms whose wall is a photograph."""
WALLS = ((250, 250, 250), (243, 243, 244), (232, 232, 234), (222, 222, 224), (240, 234, 226), (229, 222, 212),
         (208, 210, 212), (172, 174, 178), (214, 222, 228), (232, 218, 214))  # fmt: skip
FLOORS = ((214, 206, 196), (170, 150, 126), (196, 196, 198), (120, 116, 112), (236, 234, 230))
REFLECT = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REFLECT}
HORIZON = 4  # rows from the horizon to the farthest floor that is drawn


def sample_room(rng: np.random.Generator) -> tuple[Studio, Room]:
    """Draw light, colours and a room for all views of a person; :func:`stand_in` puts them into it."""
    direction = np.array([rng.uniform(-1.1, 1.1), -1.0, rng.uniform(0.3, 1.1)])
    ambient = rng.uniform(0.46, 0.66)
    key = float(rng.uniform(0.96, 1.04) - ambient)
    tint = triple(1 + rng.normal(0, 0.012, 3))
    light = Light(triple(direction / np.linalg.norm(direction)), float(ambient), key, 0.09, tint)
    color = np.array(WALLS[rng.integers(len(WALLS))]) + rng.normal(0, 3) + rng.normal(0, 1, 3)
    seamless = rng.random() < 0.5
    floor_color = color * rng.uniform(0.93, 1.02) if seamless else np.array(FLOORS[rng.integers(len(FLOORS))])
    room = Room(
        distance=float(rng.uniform(0.4, 1.8)),
        level=0.0,
        edge=float(rng.uniform(0.2, 0.6) if seamless else rng.uniform(0.004, 0.03)),
        floor_color=triple(np.clip(floor_color, 0, 252)),
        shadow=float(rng.uniform(0.10, 0.38)),
        blur=float(rng.uniform(0.0, 0.01)),
    )
    covered, outdoors = _sample_coverings(rng, room)
    if outdoors:
        color = rng.uniform(60, 200) * (1 + rng.normal(0, 0.08, 3))
        room = covered
    backdrop = Backdrop(triple(np.clip(color, 0, 252)), float(rng.uniform(0, 22)), True)
    return (light, backdrop), room


def _sample_coverings(rng: np.random.Generator, room: Room) -> tuple[Room, bool]:
    """Return the room with photographs on its wall and perhaps its floor, and whether it is to have them."""
    names = list(PHOTOGRAPHS)
    textures = [name for name in names if PHOTOGRAPHS[name].texture]
    name = str(rng.choice(names))
    narrow, wide = (1.5, 5.0) if PHOTOGRAPHS[name].texture else (4.0, 9.0)  # metres; not again and again in a picture
    wall = _sample_covering(rng, name, narrow, wide)
    floor = _sample_covering(rng, str(rng.choice(textures)), 0.8, 2.5)
    sharpest, softest = (0.003, 0.02) if PHOTOGRAPHS[name].texture else (0.01, 0.06)
    blur = float(rng.uniform(sharpest, softest))
    distance = float(rng.uniform(0.6, 5.0))
    paved = rng.random() < 0.6
    covered = replace(room, distance=distance, blur=blur, wall=wall, floor=floor if paved else None, edge=0.02)
    return covered, bool(rng.random() < PHOTOGRAPHIC)


def _sample_covering(rng: np.random.Generator, name: str, narrow: float, wide: float) -> Covering:
    x, y = rng.uniform(0, 8, 2)
    width = np.exp(rng.uniform(np.log(narrow), np.log(wide)))
    return Covering(name, (float(x), float(y)), float(width), float(rng.uniform(0.45, 1.0)))


def paint_room(room: Room, backdrop: Backdrop, camera: Camera, vertices: Float, height: int, width: int) -> Float:
    """Return what is behind a person ``(H, W, 3)``; where the backdrop has a floor, with the shadow around the feet."""
    wall, floor = (np.array(color, np.float32) for color in (backdrop.color, room.floor_color))
    scale = camera.focal * height / (camera.distance + room.distance)  # pixels a metre on the wall
    rows = np.arange(height, dtype=np.float32) + np.float32(0.5)
    edge = camera.center[1] * height + (camera.target[1] - room.level) * scale
    on_floor = smoothstep(rows, edge - 0.5 - room.edge * scale / 2, edge + 0.5 + room.edge * scale / 2)[:, None, None]
    result = np.broadcast_to(wall, (height, width, 3))
    if room.wall is not None:
        result = _covered(room.wall, wall, _wall_map(room.wall, camera, scale, height), 1 / scale, (width, height))
    result = np.ascontiguousarray(result + (floor - result) * on_floor, np.float32)
    first = max(0, int(edge - room.edge * scale / 2) - 1)
    if room.floor is not None and camera.center[1] * height + HORIZON < first < height:
        # only where floor is seen: towards the horizon OpenCV would count its mirror images one by one
        ground = _floor_map(room.floor, camera, camera.target[1] - room.level, height)
        ground = ground @ np.array([[1, 0, 0], [0, 1, first], [0, 0, 1]])
        texel = 2 * camera.distance / (camera.focal * height)  # it is seen from the side
        seen = _covered(room.floor, floor, ground, texel, (width, height - first))
        result[first:] += (seen - result[first:]) * on_floor[first:]
    if room.blur * scale > 0.3:
        result = cv2.GaussianBlur(result, (0, 0), room.blur * scale)
    y, x = rows[:, None] / height, (np.arange(width, dtype=np.float32)[None] + np.float32(0.5)) / width * 2 - 1
    shade = np.float32(backdrop.falloff) * (smoothstep(y, 0.5, 1.0) + np.float32(0.5) * x * x)
    light = 1 - shade / np.float32(255)
    if backdrop.floor:
        light = light * foot_shadow(camera, vertices, height, width, 1.3 * room.shadow)
    return (result * light[..., None]).astype(np.float32)


def wall_shadow(room: Room, light: Light, camera: Camera, person: Float) -> Float:
    """Return how much light reaches the wall past a person, whose share of each pixel is ``(H, W)``; 0..1."""
    height, width = person.shape
    scale = camera.focal * height / (camera.distance + room.distance)
    x, y, z = light.direction
    across, down = (room.distance * way / -y * scale for way in (x, z))
    shrink = max(1, height // 64)
    small = cv2.resize(person, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    move = np.array([[1, 0, across / shrink], [0, 1, down / shrink]], np.float32)
    moved = cv2.warpAffine(small, move, small.shape[::-1], flags=cv2.INTER_LINEAR)  # the light is opposite
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.6, (0.03 + 0.13 * room.distance) * scale / shrink))
    return 1 - np.float32(room.shadow) * cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def _covered(covering: Covering, color: Float, inverse: Float, texel: float, size: tuple[int, int]) -> Float:
    """Return a plane ``(H, W, 3)``; ``inverse`` ``(3, 3)`` takes pixels to metres on the photograph."""
    halvings = halvings_for(covering.photograph, covering.width, texel)
    picture = photograph(covering.photograph, halvings)
    density = picture.shape[1] / covering.width
    matrix = np.diag([density, density, 1.0]) @ inverse
    seen = cv2.warpPerspective(picture, matrix, size, **REFLECT).astype(np.float32)
    # the photograph keeps its own light where it hides the plane, and takes the plane's where it lets it through
    return seen * np.float32(covering.share) + color * np.float32(1 - covering.share)


def _wall_map(covering: Covering, camera: Camera, scale: float, height: int) -> Float:
    left = camera.target[0] - camera.center[0] * height / scale + covering.place[0]
    top = covering.place[1] - camera.target[1] - camera.center[1] * height / scale
    return np.array([[1 / scale, 0, left], [0, 1 / scale, top], [0, 0, 1]])


def _floor_map(covering: Covering, camera: Camera, above: float, height: int) -> Float:
    """Map pixels to the floor ``above`` metres under the optical axis: across, and away from the camera."""
    column, row = (center * height for center in camera.center)
    left, away = covering.place
    x = camera.target[0] + left
    return np.array(
        [[above, x, -above * column - x * row], [0, away, camera.focal * height * above - away * row], [0, 1, -row]]
    )
