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
class Scene:
    """One picture. ``occlusion``: darken creases in screen space; off for edits of geometry (see ``edit.py``)."""

    identity: Identity
    outfit: Outfit
    pose: Pose
    camera: Camera
    light: Light
    backdrop: Backdrop
    occlusion: bool = True
