"""Natural poses for catalogue pictures, and the rotations that bring a body into them."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.body import Body, Shape
from pgpis.synth.scene import Pose, Triple

Vector = npt.NDArray[np.float64]
SIDES = (("L", 1.0), ("R", -1.0))
LIMBS = {"arm": ("upperarm01", "lowerarm01", "wrist"), "leg": ("upperleg01", "lowerleg01", "foot")}
# directions of upper arm and forearm; +x points away from the body, -y to the viewer
ARMS: dict[str, tuple[Triple, Triple]] = {
    "down": ((0.17, 0.02, -1.0), (0.08, -0.20, -1.0)),
    "relaxed": ((0.24, 0.10, -1.0), (0.06, -0.42, -0.95)),
    "hip": ((0.82, 0.26, -0.60), (-0.46, -0.30, -0.80)),
    "pocket": ((0.36, 0.22, -0.92), (-0.10, -0.30, -0.95)),
    "forward": ((0.15, -0.34, -0.92), (0.06, -0.62, -0.78)),
    "back": ((0.18, 0.32, -0.94), (0.10, 0.06, -1.0)),
    "front": ((0.26, -0.10, -0.95), (-0.42, -0.78, -0.15)),
    "chin": ((0.22, -0.42, -0.88), (-0.36, -0.42, 0.86)),
    "raised": ((0.70, -0.08, 0.66), (-0.22, -0.12, 1.0)),
    "side": ((1.0, -0.08, -0.28), (0.9, -0.30, 0.05)),
    "hair": ((0.78, -0.22, 0.42), (-0.72, 0.10, 0.60)),
}
ARM_PAIRS = {
    "stand": (
        ("down", "down"),
        ("down", "relaxed"),
        ("relaxed", "relaxed"),
        ("hip", "down"),
        ("pocket", "relaxed"),
        ("pocket", "pocket"),
        ("hip", "hip"),
    ),
    "walk": (("forward", "back"),),
    "casual": (
        ("hip", "relaxed"),
        ("pocket", "relaxed"),
        ("chin", "down"),
        ("hair", "hip"),
        ("front", "pocket"),
        ("raised", "hip"),
        ("hip", "hip"),
        ("side", "hip"),
    ),
    "upper": (
        ("hip", "down"),
        ("down", "down"),
        ("chin", "relaxed"),
        ("front", "relaxed"),
        ("hair", "relaxed"),
        ("pocket", "pocket"),
    ),
}
RELAXED = (0.25, 0.22, 0.28, 0.33, 0.38, 0.1)  # fingers of a hand at rest: thumb, index … little, spread


def sample_pose(rng: np.random.Generator, kind: str) -> Pose:
    """Draw a pose.

    Args:
        rng: Source of randomness.
        kind: ``stand``, ``walk``, ``casual`` or ``upper`` (for pictures to the hips).

    Raises:
        KeyError: There is no such kind.
    """
    pairs = ARM_PAIRS[kind]
    arms = pairs[rng.integers(len(pairs))]
    if rng.random() < 0.5:
        arms = (arms[1], arms[0])
    directions: dict[str, Triple] = {}
    for (side, sign), name in zip(SIDES, arms, strict=True):
        for bone, direction in zip(("upperarm", "lowerarm"), ARMS[name], strict=True):
            spread = 0.035 if name in {"down", "relaxed", "pocket"} else 0.06
            x, y, z = np.array(direction) + rng.normal(0, spread, 3)
            directions[f"{bone}.{side}"] = (float(sign * x), float(y), float(z))
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
    rotations = {"spine": _triple(spine), "head": _triple(head)}
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
            x, y, z = np.array(direction, float) + rng.normal(0, 0.02, 3)
            result[f"{bone}.{side}"] = (float(sign * x), float(y), float(z))
    return result


def interpolate(first: Pose, second: Pose, share: float) -> Pose:
    """Return the pose ``share`` of the way from one to the other; both must name the same bones.

    Raises:
        KeyError: They do not.
    """

    def between(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(x + (y - x) * share) for x, y in zip(a, b, strict=True))

    def table(a: dict[str, Triple], b: dict[str, Triple]) -> dict[str, Triple]:
        return {name: between(value, b[name]) for name, value in a.items()}  # type: ignore[misc]

    expressions = first.expression.keys() | second.expression.keys()
    return dataclasses.replace(
        first,
        directions=table(first.directions, second.directions),
        rotations=table(first.rotations, second.rotations),
        fingers={side: between(value, second.fingers[side]) for side, value in first.fingers.items()},
        turn=first.turn + (second.turn - first.turn) * share,
        expression={
            name: between((first.expression.get(name, 0.0),), (second.expression.get(name, 0.0),))[0]
            for name in sorted(expressions)
        },
    )


def bone_rotations(body: Body, shape: Shape, pose: Pose) -> Vector:
    """Return the rotation of each bone relative to its parent ``(B, 3, 3)``, such that limbs point where the pose says.

    Hanging arms are held as far out as this body's hips need. Wrists roll half with the forearm; feet stay level.
    """
    result = np.repeat(np.eye(3)[None], len(body.bones), axis=0)
    joints = shape.joints.astype(np.float64)

    def at(name: str) -> Vector:
        return joints[body.bone[name]]

    spine = np.array(pose.rotations.get("spine", (0, 0, 0)), float)
    head = np.array(pose.rotations.get("head", (0, 0, 0)), float)
    for bone in ("spine04", "spine02", "spine01"):
        result[body.bone[bone]] = _matrix(spine / 3)
    for bone in ("neck01", "neck03", "head"):
        result[body.bone[bone]] = _matrix(head / 3)

    hips = _half_hips(body, shape)
    for side, sign in SIDES:
        upper = np.array(pose.directions[f"upperarm.{side}"], float)
        lower = np.array(pose.directions[f"lowerarm.{side}"], float)
        upper, lower = _clear_hips(upper, lower, sign, at, side, hips)
        lift = max(0.0, float((upper / np.linalg.norm(upper))[2]) + 0.25)  # a raised arm takes the shoulder with it
        clavicle = _matrix(np.array([0, -sign * 0.35 * lift, 0]))
        result[body.bone[f"clavicle.{side}"]] = clavicle
        shoulder, elbow, wrist = (at(f"{bone}.{side}") for bone in LIMBS["arm"])
        world = clavicle  # directions are relative to the trunk
        first = _between(elbow - shoulder, world.T @ upper)
        second = _between(wrist - elbow, (world @ first).T @ lower)
        result[body.bone[f"upperarm01.{side}"]] = first
        result[body.bone[f"lowerarm01.{side}"]] = second
        roll = np.array(pose.rotations.get(f"forearm.{side}", (0, 0, 0)), float)[0]
        if roll:
            axis = (wrist - elbow) / np.linalg.norm(wrist - elbow)
            for bone in ("lowerarm02", "wrist"):
                result[body.bone[f"{bone}.{side}"]] = _matrix(axis * roll / 2)
        bend = pose.rotations.get(f"wrist.{side}")
        if bend is not None:
            result[body.bone[f"wrist.{side}"]] = result[body.bone[f"wrist.{side}"]] @ _matrix(np.array(bend, float))
        _close_hand(result, body, at, side, pose.fingers[side])

        hip, knee, ankle = (at(f"{bone}.{side}") for bone in LIMBS["leg"])
        thigh = _between(knee - hip, np.array(pose.directions[f"upperleg.{side}"], float))
        shin = _between(ankle - knee, thigh.T @ np.array(pose.directions[f"lowerleg.{side}"], float))
        result[body.bone[f"upperleg01.{side}"]] = thigh
        result[body.bone[f"lowerleg01.{side}"]] = shin
        tilt = cv2.Rodrigues((thigh @ shin).T)[0][:, 0]
        backward = pose.directions[f"lowerleg.{side}"][1] / abs(pose.directions[f"lowerleg.{side}"][2])
        level = 0.95 if backward < 0.3 else 0.45  # the heel of the leg behind is off the floor
        result[body.bone[f"foot.{side}"]] = _matrix(tilt * level)
    return result


def _half_hips(body: Body, shape: Shape) -> float:
    """Half of the widest extent of hips and thighs, metres."""
    last = body.parts["body"].vertices[1]
    z = body.canonical[:last, 2]
    near = (body.arm[:last] < 0.05) & (z < 0.05) & (z > -0.22)
    return float(np.abs(shape.vertices[:last][near, 0]).max())


def _clear_hips(upper: Vector, lower: Vector, sign: float, at: object, side: str, hips: float) -> tuple[Vector, Vector]:
    """Swing a hanging arm outwards until the hand passes the hip."""
    position = at  # the rest position of a joint, by its name
    shoulder, elbow, wrist = (position(f"{bone}.{side}") for bone in LIMBS["arm"])  # type: ignore[operator]
    upper, lower = upper / np.linalg.norm(upper), lower / np.linalg.norm(lower)
    if upper[2] > -0.85 or lower[2] > -0.8:
        return upper, lower
    first, second = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
    for _ in range(12):
        hand = shoulder + upper * first + lower * (second + 0.08)
        if sign * hand[0] > hips + 0.035:
            break
        swing = _matrix(np.array([0, -sign * 0.03, 0]))
        upper, lower = swing @ upper, swing @ lower
    return upper, lower


def _close_hand(result: Vector, body: Body, at: object, side: str, fingers: tuple[float, ...]) -> None:
    position = at
    wrist, middle = position(f"wrist.{side}"), position(f"finger3-1.{side}")  # type: ignore[operator]
    index, little = position(f"finger2-1.{side}"), position(f"finger5-1.{side}")  # type: ignore[operator]
    along = (middle - wrist) / np.linalg.norm(middle - wrist)
    across = (index - little) / np.linalg.norm(index - little)
    sign = 1.0 if side == "L" else -1.0
    palm = np.cross(along, across) * sign
    for finger in range(2, 6):
        curl = fingers[finger - 1]
        spread = fingers[5] * 0.35 * (3.5 - finger) / 1.5
        for joint, share in ((1, 0.9), (2, 1.15), (3, 0.75)):
            turn = -across * sign * curl * share * 1.45
            if joint == 1:
                turn = turn - palm * spread
            result[body.bone[f"finger{finger}-{joint}.{side}"]] = _matrix(turn)
    for joint, share in ((1, 0.25), (2, 0.8), (3, 0.9)):
        result[body.bone[f"finger1-{joint}.{side}"]] = _matrix(np.cross(across, along) * fingers[0] * share * 0.8)


def _between(source: Vector, target: Vector) -> Vector:
    """Return the smallest rotation that turns one direction into another."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    axis, cosine = np.cross(a, b), float(a @ b)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3) if cosine > 0 else _matrix(np.array([0, 0, np.pi]))
    return _matrix(axis / sine * np.arctan2(sine, cosine))


def _matrix(rotation: Vector) -> Vector:
    return cv2.Rodrigues(np.asarray(rotation, np.float64))[0]


def _triple(values: Vector) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
