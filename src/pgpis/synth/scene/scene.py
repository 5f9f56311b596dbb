"""What a synthetic picture is made of: a described person, before a camera, in some light.

The camera looks along +Y. Lengths on the picture are fractions of its height, so that a scene does not depend on the
size at which it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgpis.synth.figure.description import Identity, Outfit, Pose, Triple


@dataclass(frozen=True)
class Camera:
    """A pinhole camera looking along +Y.

    ``focal``: focal length as a multiple of the picture's height. ``distance``: metres from the plane Y = 0.
    ``center``: where the optical axis meets the picture, as fractions of its *height* from its left and top edges.
    ``target``: the X and Z that the axis meets.
    """

    focal: float
    distance: float
    center: tuple[float, float]
    target: tuple[float, float]


@dataclass(frozen=True)
class Light:
    """A key light with ambient and frontal fill; ``direction`` points from the person to the light (unit)."""

    direction: Triple
    ambient: float
    key: float
    fill: float
    tint: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Backdrop:
    """A seamless studio backdrop: ``falloff`` says how much darker it gets to floor and edges; ``floor``: shadowed."""

    color: Triple
    falloff: float
    floor: bool


@dataclass(frozen=True)
class Covering:
    """A photograph that covers a wall or a floor, again and again in mirror images.

    ``photograph``: one of :data:`~pgpis.synth.figure.photographs.PHOTOGRAPHS`. ``place``: where its corner lies, and
    ``width``: how wide it is, metres. ``share``: how much of the plane's own colour it hides.
    """

    photograph: str
    place: tuple[float, float]
    width: float
    share: float


@dataclass(frozen=True)
class Room:
    """A wall and a floor instead of a seamless backdrop.

    ``distance``: metres from the person to the wall. ``level``: Z of the floor. ``edge``: metres over which the wall
    bends into the floor. ``floor_color``: RGB; the wall has the backdrop's. ``shadow``: how much darker it gets around
    the feet and, past the person, on the wall. ``blur``: metres over which the lens blurs the wall.
    """

    distance: float
    level: float
    edge: float
    floor_color: Triple
    shadow: float
    blur: float
    wall: Covering | None = None
    floor: Covering | None = None


@dataclass(frozen=True)
class Film:
    """What a camera and its file make of light.

    ``exposure``: factor of the light. ``balance``: factors of red, green, blue. ``contrast``: slope at the middle.
    ``slope``: how much lighter it gets to the right and to the bottom edge. ``noise``: standard deviation at white,
    levels of 255. ``blur``: pixels of a picture of 256 rows; negative ones sharpen by that share. ``quality``: of the
    JPEG. ``seed``: of the noise.
    """

    exposure: float
    balance: Triple
    contrast: float
    slope: tuple[float, float]
    noise: float
    blur: float
    quality: int
    seed: int


@dataclass(frozen=True)
class Scene:
    """One picture.

    ``occlusion``: darken creases in screen space; off for edits of geometry (see ``edit.py``). ``room`` and ``film``:
    of pictures that are to look photographed.
    """

    identity: Identity
    outfit: Outfit
    pose: Pose
    camera: Camera
    light: Light
    backdrop: Backdrop
    occlusion: bool = True
    room: Room | None = None
    film: Film | None = None
