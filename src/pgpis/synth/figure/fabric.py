"""Procedural cloth: the colour of a garment at points of the canonical body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Fabric, Layer
from pgpis.synth.figure.mesh import Float, Surface, mix, smoothstep
from pgpis.synth.figure.noise import grain, value_noise
from pgpis.synth.figure.photographs import PHOTOGRAPHS, look_up

SOLE = -0.838  # the sole is below this height, metres
TEXEL = 0.002  # details of printed photographs that are kept, metres
INK = np.float32(0.94)  # how much of a print hides the cloth
Draw = Callable[["Cloth"], None]


@dataclass(frozen=True)
class Cloth:
    """A garment's points while they are coloured: ``color`` ``(N, 3)`` is changed in place.

    ``across`` and ``along`` ``(N,)`` are metres on the cloth; ``colors`` ``(3, 3)`` those of the fabric.
    """

    fabric: Fabric
    surface: Surface
    across: Float
    along: Float
    colors: Float
    color: Float

    def mix(self, amount: npt.NDArray[np.generic], other: Float) -> None:
        """Move the colours towards another one by an amount ``(N,)`` in 0..1."""
        mix(self.color, amount, other)

    def shade(self, amount: npt.NDArray[np.floating]) -> None:
        """Make the colours lighter or darker by a factor ``(N,)``."""
        self.color[:] *= amount.astype(np.float32)[:, None]


def fabric_color(fabric: Fabric, layer: Layer, surface: Surface) -> Float:
    """Return the unlit colours ``(N, 3)`` of cloth, 0..255; trousers have a fly and pockets, shoes a sole.

    Raises:
        KeyError: The pattern is none of :data:`PATTERNS`, or the logo is unknown.
    """
    position = surface.position
    first, second, third = colors = np.array(fabric.colors, np.float32)
    color = np.repeat(first[None], len(position), axis=0)
    cloth = Cloth(fabric, surface, *cloth_coordinates(layer, surface), colors, color)
    PATTERNS[fabric.pattern](cloth)
    if layer == Layer.SHOES:
        cloth.mix(smoothstep(-position[:, 2], -SOLE, -SOLE + 0.004), second)
        cloth.shade(1 + np.float32(0.03) * grain(position, 200))
        return color
    on_chest = (position[:, 1] < -0.02) & (surface.arm < 0.5)
    if fabric.logo in PHOTOGRAPHS:
        _print_photograph(cloth, on_chest)
    elif fabric.logo is not None:
        _print_logo(cloth, on_chest)
    if fabric.placket:
        x, z = position[:, 0], position[:, 2]
        cloth.mix(0.5 * (on_chest & (np.abs(np.abs(x) - 0.014) < 0.0016)), first * 0.55)
        cloth.mix(0.9 * (on_chest & (np.hypot(x, ((z / 0.075) % 1 - 0.5) * 0.075) < 0.0055)), third)
    if layer == Layer.TROUSERS:
        _seams(cloth)
    stitching = smoothstep(-np.abs(surface.hem - np.float32(0.017)), -0.0022, -0.0008)
    cloth.shade(1 - np.float32(0.18) * stitching)
    cloth.shade(1 + np.float32(0.03) * grain(position, 420))
    return color


def cloth_coordinates(layer: Layer, surface: Surface) -> tuple[Float, Float]:
    """Return coordinates across and along the cloth ``(N,)``, metres: around a limb or the trunk, and down it."""
    x, y, z = surface.position[:, 0], surface.position[:, 1], surface.position[:, 2]
    sleeve = surface.arm > 0.5
    along = np.where(sleeve, surface.along_arm * np.float32(0.27), z)
    trunk = np.arctan2(x, -(y - np.float32(0.005)) * np.float32(1.25)) * np.float32(0.135)
    around = trunk
    if layer == Layer.TROUSERS:
        middle = np.interp(z, [-0.8, -0.4, 0.0], [0.170, 0.133, 0.102]).astype(np.float32) * np.sign(x)
        leg = middle * np.float32(0.8) + np.arctan2(x - middle, -(y + np.float32(0.01))) * np.float32(0.07)
        around = np.where(z < -0.02, leg, trunk)
    if sleeve.any():
        shoulder, wrist = (load_body().joint(bone) for bone in ("upperarm01.L", "wrist.L"))
        axis = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
        outward = (np.abs(x) - shoulder[0]) * -axis[2] + (z - shoulder[2]) * axis[0]
        around = np.where(sleeve, np.arctan2(y - shoulder[1], outward) * np.float32(0.042), around)
    return around.astype(np.float32), along.astype(np.float32)


def _saw(x: Float, period: float) -> Float:
    """A triangle wave of the given period: 1 at its multiples, 0 half-way between."""
    return np.abs((x / np.float32(period)) % 1 - np.float32(0.5)) * 2


def _stripes(*stripes: tuple[str, float, float, float, float, float, int]) -> Draw:
    """Return what draws stripes, one after the other.

    Each has the coordinate across which it runs, a shift in metres, its period in scales of the fabric, how much of the
    period is free before and after its edge, an amount, and the number of its colour.
    """

    def draw(cloth: Cloth) -> None:
        for coordinate, shift, period, low, high, amount, color in stripes:
            wave = _saw(getattr(cloth, coordinate) + np.float32(shift), cloth.fabric.scale * period)
            cloth.mix(amount * smoothstep(wave, low, high), cloth.colors[color])

    return draw


def _dots(cloth: Cloth) -> None:
    size = np.float32(cloth.fabric.scale * 0.7)
    u, v = cloth.across / size, cloth.along / size
    radius = np.hypot(u % 1 - 0.5, (v + 0.5 * (np.floor(u) % 2)) % 1 - 0.5)
    cloth.mix(smoothstep(-radius, -0.28, -0.22), cloth.colors[1])


def _floral(cloth: Cloth) -> None:
    size = np.float32(cloth.fabric.scale * 0.9)
    _, second, third = cloth.colors
    u, v = cloth.across / size, cloth.along / size
    u = u + 0.5 * (np.floor(v) % 2)
    x, y = u % 1 - 0.5, v % 1 - 0.5
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    petals = 0.20 + 0.08 * np.cos(5 * angle + 2 * np.floor(u))
    cloth.mix(smoothstep(petals - radius, -0.02, 0.03), second)
    cloth.mix(0.8 * smoothstep(-radius, -0.08, -0.05), third * 0.5 + second * 0.5)
    x, y = (u + 0.5) % 1 - 0.5, (v + 0.42) % 1 - 0.5
    cloth.mix(0.5 * smoothstep(-np.hypot(x * 2.2, y), -0.13, -0.09), third)


def _block(cloth: Cloth) -> None:
    height = np.float32(cloth.fabric.details.get("height", 0.27))
    cloth.mix(cloth.surface.position[:, 2] > height, cloth.colors[1])


def _camouflage(cloth: Cloth) -> None:
    for channel, color in enumerate(cloth.colors[1:]):
        blobs = value_noise(cloth.surface.position, 1.1 / cloth.fabric.scale, channel)
        cloth.mix(smoothstep(blobs, 0.08 + 0.1 * channel, 0.13 + 0.1 * channel), color)


def _denim(cloth: Cloth) -> None:
    cloth.shade(1 + np.float32(0.07) * grain(cloth.surface.position, 260))
    fade = value_noise(cloth.surface.position, 9) + 0.25 - np.abs(cloth.surface.along_leg - np.float32(0.55))
    cloth.mix(0.3 * smoothstep(fade, 0.1, 0.6), np.minimum(cloth.colors[0] + 42, 255))


def _knit(cloth: Cloth) -> None:
    cloth.shade(np.float32(0.93) + np.float32(0.1) * _saw(cloth.across, 0.012) * _saw(cloth.along, 0.016))


def _ribbed(cloth: Cloth) -> None:
    cloth.shade(np.float32(0.90) + np.float32(0.12) * _saw(cloth.across, 0.010))


def _herringbone(cloth: Cloth) -> None:
    zigzag = cloth.along + np.abs((cloth.across / np.float32(0.03)) % 1 - np.float32(0.5)) * np.float32(0.03)
    cloth.mix(0.18 * smoothstep(_saw(zigzag, 0.012), 0.35, 0.65), cloth.colors[1])


def _photographic(cloth: Cloth) -> None:
    """Print a photograph all over, in its own colours or between two of the fabric's."""
    fabric = cloth.fabric
    across, down = cloth.across + np.float32(fabric.details["x"]), np.float32(fabric.details["y"]) - cloth.along
    colors = look_up(fabric.pattern, fabric.scale, TEXEL, across, down)
    if fabric.details["two_tone"]:
        light = smoothstep(colors.mean(axis=1), 30, 225)[:, None]
        colors = cloth.colors[0] * (1 - light) + cloth.colors[1] * light
    cloth.color[:] = colors


BOTH = ("along", "across")
PATTERNS: dict[str, Draw] = {
    "plain": _stripes(),
    "horizontal": _stripes(("along", 0, 1, 0.46, 0.54, 1, 1)),
    "vertical": _stripes(("across", 0, 0.6, 0.74, 0.82, 1, 1)),
    "check": _stripes(*((coordinate, 0, 0.7, 0.45, 0.55, 0.5, 1) for coordinate in BOTH)),
    "plaid": _stripes(
        *((coordinate, 0, 1.6, 0.5, 0.56, 0.45, 1) for coordinate in BOTH),
        *((coordinate, 0.01, 1.6, 0.91, 0.95, 0.6, 2) for coordinate in BOTH),
    ),
    **{
        pattern.__name__[1:]: pattern
        for pattern in (_dots, _floral, _block, _camouflage, _denim, _knit, _ribbed, _herringbone)
    },
    **dict.fromkeys(PHOTOGRAPHS, _photographic),
}
LOGO_TEXTS = ("NOVA", "87", "OX", "SUN", "K9", "PACE")
LOGO_SHAPES = ("ring", "star", "triangle", "bars")
LOGOS = (*LOGO_TEXTS, *LOGO_SHAPES)


def _print_logo(cloth: Cloth, on_chest: npt.NDArray[np.bool_]) -> None:
    fabric, position = cloth.fabric, cloth.surface.position
    picture = logo_mask(str(fabric.logo))
    rows, columns = picture.shape
    size = fabric.logo_size
    u = position[:, 0] / np.float32(size) + np.float32(0.5)
    height = np.float32(fabric.details.get("logo_height", 0.30))
    v = np.float32(0.5) - (position[:, 2] - height) / np.float32(size * rows / columns)
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1) & on_chest
    amount = np.zeros(len(position), np.float32)
    amount[inside] = picture[(v[inside] * rows).astype(int), (u[inside] * columns).astype(int)] / np.float32(255)
    cloth.mix(amount, cloth.colors[2])


def _print_photograph(cloth: Cloth, on_chest: npt.NDArray[np.bool_]) -> None:
    """Print a cut of a photograph on the chest, as a rectangle or an ellipse."""
    fabric, position, details = cloth.fabric, cloth.surface.position, cloth.fabric.details
    size = np.float32(fabric.logo_size)
    u = position[:, 0] / size
    v = (np.float32(details["logo_height"]) - position[:, 2]) / np.float32(size * details["shape"])
    edge = np.hypot(u, v) if details["round"] else np.maximum(np.abs(u), np.abs(v))
    inside = np.flatnonzero((edge < 0.5) & on_chest)
    metres = float(size / details["share"])
    across = np.float32(details["x"] * metres) + (u[inside] + np.float32(0.5)) * size
    down = np.float32(details["y"] * metres) + (v[inside] + np.float32(0.5)) * np.float32(size * details["shape"])
    colors = look_up(str(fabric.logo), metres, TEXEL, across, down)
    cloth.color[inside] += (colors - cloth.color[inside]) * (INK * smoothstep(-edge[inside], -0.5, -0.47))[:, None]


@lru_cache(maxsize=len(LOGOS))
def logo_mask(name: str) -> npt.NDArray[np.uint8]:
    """Return a print as a mask ``(H, W)``, 0..255; KeyError: the name is none of :data:`LOGOS`."""
    if name in LOGO_TEXTS:
        picture = np.zeros((120, 280), np.uint8)
        (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_DUPLEX, 2.6, 7)
        origin = ((280 - width) // 2, (120 + height) // 2)
        cv2.putText(picture, name, origin, cv2.FONT_HERSHEY_DUPLEX, 2.6, 255, 7, cv2.LINE_AA)
        return picture
    picture = np.zeros((160, 160), np.uint8)
    if name == "ring":
        cv2.circle(picture, (80, 80), 62, 255, -1, cv2.LINE_AA)
        cv2.circle(picture, (80, 80), 40, 0, -1, cv2.LINE_AA)
    elif name == "star":
        turns = np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2 == 0, 72, 30)
        corners = np.stack([80 + radius * np.sin(turns), 80 - radius * np.cos(turns)], axis=1)
        cv2.fillPoly(picture, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    elif name == "triangle":
        cv2.fillPoly(picture, [np.array([[80, 15], [145, 130], [15, 130]], np.int32)], 255, cv2.LINE_AA)
    elif name == "bars":
        for row in range(20, 150, 30):
            cv2.rectangle(picture, (15, row), (145, row + 14), 255, -1)
    else:
        raise KeyError(f"unknown logo '{name}'")
    return picture


def _seams(cloth: Cloth) -> None:
    """The fly and the edges of the pockets."""
    position, color = cloth.surface.position, cloth.colors[0] * 0.45
    x, y, z = np.abs(position[:, 0]), position[:, 1], position[:, 2]
    cloth.mix(0.4 * ((y < 0) & (x < 0.0016) & (z > -0.06) & (z < 0.09)), color)
    pocket = 0.085 - 0.35 * np.maximum(x - 0.1, 0)
    cloth.mix(0.35 * ((np.abs(z - pocket) < 0.002) & (y < 0)), color)
