"""What a person looks like: plain values that go to JSON and back, so that any picture can be drawn again.

Conventions: metres; the person stands on Z = 0 level with Z up and faces -Y, the person's left is +X. Colours are RGB
in 0..255.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass
from enum import IntEnum
from importlib.resources import files
from typing import Any, TypeVar, get_type_hints

import numpy as np

Triple = tuple[float, float, float]
T = TypeVar("T")


def triple(values: Iterable[float]) -> Triple:
    """Return three numbers, of whatever kind, as what JSON holds."""
    first, second, third = (float(value) for value in values)
    return first, second, third


def choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """Draw one of the names, each with its share."""
    weights = np.array(list(shares.values()))
    return list(shares)[rng.choice(len(shares), p=weights / weights.sum())]


class Layer(IntEnum):
    """What is seen at a pixel; the background is -1."""

    SKIN = 0
    EYES = 1
    TROUSERS = 2
    TOP = 3
    SKIRT = 4
    SHOES = 5
    HAIR = 6
    JACKET = 7


GARMENTS = (Layer.TROUSERS, Layer.TOP, Layer.SKIRT, Layer.SHOES, Layer.JACKET)
PERSON = (Layer.SKIN, Layer.EYES, Layer.HAIR)


@dataclass(frozen=True)
class Identity:
    """Who the person is: body shape, face, colours of skin, hair and eyes.

    ``shape`` holds phenotypes (:data:`pgpis.synth.figure.body.PHENOTYPES`), ``face`` the strengths of face shapes
    (:attr:`pgpis.synth.figure.body.Body.face_shapes`), ``paint`` the numbers of the face paint (see ``skin.py``).
    """

    female: bool
    shape: dict[str, float]
    face: dict[str, float]
    skin: Triple
    hair: str
    hair_color: Triple
    eye_color: Triple
    paint: dict[str, float]
    lip_color: Triple = (190.0, 90.0, 90.0)


@dataclass(frozen=True)
class Fabric:
    """A cloth: its kind of pattern (``fabric.PATTERNS``), up to three colours, and the pattern's size in metres."""

    pattern: str
    colors: tuple[Triple, Triple, Triple]
    scale: float = 0.05
    logo: str | None = None
    logo_size: float = 0.15
    placket: bool = False
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outfit:
    """What the person wears. ``cut`` holds the lengths and widths of the garments (see ``garments.py``)."""

    top: Fabric
    bottom: Fabric
    skirt: Fabric | None
    jacket: Fabric | None
    shoes: Fabric
    neckline: str
    dress: bool
    tucked: bool
    cut: dict[str, float]


@dataclass(frozen=True)
class Pose:
    """A pose, independent of the body that takes it.

    ``directions``: where limbs point, as vectors in the body's frame (``upperarm.L``, ``lowerarm.L``, ``upperleg.L``,
    ``lowerleg.L``, and ``.R``; a foot or hand may be given too). ``rotations``: rotation vectors (radians) of bones
    about the body's axes (spine, neck, head, wrists, clavicles). ``fingers``: for ``L`` and ``R`` five curls 0..1
    (thumb first), then the spread. ``turn`` rotates the whole person about Z; 0 faces the camera.
    """

    directions: dict[str, Triple]
    rotations: dict[str, Triple]
    fingers: dict[str, tuple[float, ...]]
    turn: float = 0.0
    expression: dict[str, float] = field(default_factory=dict)


def from_json(kind: type[T], value: Any) -> T:
    """Return what ``json`` wrote of ``dataclasses.asdict`` as a ``kind`` again.

    Raises:
        TypeError: A field without a default is missing, or there is one that ``kind`` does not have.
    """
    result: Any = value
    owner = next((option for option in (kind, *getattr(kind, "__args__", ())) if is_dataclass(option)), None)
    if owner is not None and value is not None:
        hints = get_type_hints(owner)
        result = owner(**{key: from_json(hints[key], item) for key, item in value.items()})  # type: ignore[operator]
    elif isinstance(value, list):
        result = tuple(from_json(list, item) if isinstance(item, list) else item for item in value)
    elif isinstance(value, dict):
        result = {key: from_json(object, item) for key, item in value.items()}
    return result


LOOKS: dict[str, Any] = from_json(dict, tomllib.loads((files("pgpis.synth") / "assets/looks.toml").read_text("utf-8")))
"""Palettes, shares, poses of arms and hands: what people are drawn from, by the tables of the file."""
