"""Natural poses for catalogue pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgpis.synth.figure.description import LOOKS, Pose, Triple, triple
from pgpis.synth.figure.skeleton import SIDES

ARMS: dict[str, tuple[Triple, Triple]] = LOOKS["poses"]["arms"]
ARM_PAIRS: dict[str, tuple[tuple[str, str], ...]] = LOOKS["poses"]["pairs"]
RELAXED = (0.25, 0.22, 0.28, 0.33, 0.38, 0.1)  # fingers of a hand at rest: thumb, index … little, spread


def sample_pose(rng: np.random.Generator, kind: str) -> Pose:
    """Draw a pose to ``stand``, ``walk``, ``casual`` or ``upper`` (for pictures to the hips); others are a KeyError."""
    pairs = ARM_PAIRS[kind]
    arms = pairs[rng.integers(len(pairs))]
    if rng.random() < 0.5:
        arms = (arms[1], arms[0])
    directions: dict[str, Triple] = {}
    for (side, sign), name in zip(SIDES, arms, strict=True):
        for bone, direction in zip(("upperarm", "lowerarm"), ARMS[name], strict=True):
            spread = 0.035 if name in {"down", "relaxed", "pocket"} else 0.06
            directions[f"{bone}.{side}"] = jittered(rng, direction, spread, sign)
    legs = "walk" if kind == "walk" else str(rng.choice(["stand", "contrapposto", "wide"], p=[0.4, 0.45, 0.15]))
    directions |= _legs(rng, legs)
    livelier = 2.0 if kind in {"casual", "upper"} else 1.0
    spine = rng.normal(0, [0.02, 0.02, 0.05]) * livelier
    head = np.clip(rng.normal(0, [0.05, 0.035, 0.13]) * livelier, -0.5, 0.5)
    fingers = {}
    for (side, _), name in zip(SIDES, arms, strict=True):
        curl = 0.18 if name in {"hip", "hair"} else rng.uniform(0.2, 0.5)
        noise = rng.normal(0, 0.04, 5)
        values = np.clip(np.array(RELAXED[:5]) * curl / 0.28 + noise, 0.02, 0.9)
        fingers[side] = (*(float(value) for value in values), 0.1)
    rotations = {"spine": triple(spine), "head": triple(head)}
    return Pose(directions, rotations, fingers)


def _legs(rng: np.random.Generator, stance: str) -> dict[str, Triple]:
    first, second = ("L", "R") if rng.random() < 0.5 else ("R", "L")
    if stance == "walk":
        stride = rng.uniform(0.22, 0.36)
        rules = {first: ((-0.01, -stride, -1), (-0.01, 0.02, -1)), second: ((-0.01, stride, -1), (-0.01, 0.55, -1))}
    elif stance == "contrapposto":
        rules = {first: ((0.03, 0.0, -1), (0.0, 0.04, -1)), second: ((0.10, -0.18, -1), (0.05, 0.20, -1))}
    else:
        width = 0.02 if stance == "stand" else 0.12
        rules = dict.fromkeys((first, second), ((width, -0.02, -1), (width, 0.04, -1)))
    result: dict[str, Triple] = {}
    for side, sign in SIDES:
        for bone, direction in zip(("upperleg", "lowerleg"), rules[side], strict=True):
            result[f"{bone}.{side}"] = jittered(rng, direction, 0.02, sign)
    return result


def jittered(rng: np.random.Generator, direction: Triple, spread: float, sign: float = 1.0) -> Triple:
    """Move a direction a little; ``sign`` -1 mirrors it to the right side."""
    x, y, z = np.array(direction, float) + rng.normal(0, spread, 3)
    return triple((sign * x, y, z))


def interpolate(first: Pose, second: Pose, share: float) -> Pose:
    """Return the pose ``share`` of the way between two that name the same bones; others are a KeyError."""

    def between(a: Any, b: Any) -> Any:
        if isinstance(a, dict):
            return {name: between(value, b[name]) for name, value in a.items()}
        if isinstance(a, tuple):
            return tuple(between(x, y) for x, y in zip(a, b, strict=True))
        return float(a + (b - a) * share)

    names = sorted(first.expression.keys() | second.expression.keys())
    faces = [{name: pose.expression.get(name, 0.0) for name in names} for pose in (first, second)]
    directions, rotations, fingers, turn = (
        between(getattr(first, name), getattr(second, name)) for name in ("directions", "rotations", "fingers", "turn")
    )
    return Pose(directions, rotations, fingers, turn, between(*faces))
