"""A signer's motion: hands move between places of articulation, shape and turn on the way, and rest in between."""

from __future__ import annotations

import numpy as np

from pgpis.synth.figure.description import LOOKS, Pose, Triple
from pgpis.synth.scene.poses import interpolate, jittered

HAND_SHAPES: dict[str, tuple[float, ...]] = LOOKS["signs"]["hands"]
PLACES: dict[str, tuple[Triple, Triple]] = LOOKS["signs"]["places"]
FPS = 25.0
MOUTHS = ("mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthSmileLeft")
BROWS = ("browInnerUp", "browDownLeft", "browOuterUpLeft")


def sign_sequence(rng: np.random.Generator, frames: int) -> list[Pose]:
    """Draw a sequence of signing, one pose a frame: strokes last 0.28 to 0.6 s, holds 0.08 to 0.35 s.

    Hands begin at rest.
    """
    keys = [(0.0, _posture(rng, "rest", "rest", "bent"))]
    time = float(rng.uniform(0.1, 0.3))
    keys.append((time, keys[0][1]))
    while time < frames / FPS:
        right = str(rng.choice([place for place in PLACES if place != "rest"]))
        both = rng.random() < 0.55
        left = right if both else "rest"
        posture = _posture(rng, left, right, str(rng.choice(list(HAND_SHAPES))), same_hand=both and rng.random() < 0.7)
        time += float(rng.uniform(0.28, 0.60))
        keys.append((time, posture))
        time += float(rng.uniform(0.08, 0.35))
        keys.append((time, _held(rng, posture)))
    times = np.array([key[0] for key in keys])
    poses = []
    blinks = np.cumsum(rng.uniform(1.5, 4.0, size=max(1, int(frames / FPS) + 1)))
    for frame in range(frames):
        now = frame / FPS
        last = int(np.clip(np.searchsorted(times, now, side="right") - 1, 0, len(keys) - 2))
        share = (now - times[last]) / (times[last + 1] - times[last])
        pose = interpolate(keys[last][1], keys[last + 1][1], minimum_jerk(float(np.clip(share, 0, 1))))
        closed = float(np.exp(-(((now - blinks) / 0.06) ** 2)).max())
        pose.expression["eyeBlinkLeft"] = pose.expression["eyeBlinkRight"] = 0.75 * closed
        poses.append(pose)
    return poses


def minimum_jerk(share: float) -> float:
    """Return how far a reaching hand is after a share of its time (Flash and Hogan, 1985)."""
    return share**3 * (10 - 15 * share + 6 * share * share)


def _posture(rng: np.random.Generator, left: str, right: str, hand: str, same_hand: bool = True) -> Pose:
    directions: dict[str, Triple] = {}
    rotations = {"spine": jittered(rng, (0, 0, 0), 0.025), "head": jittered(rng, (0.03, 0, 0), 0.07)}
    fingers = {}
    for side, sign, place in (("L", 1.0, left), ("R", -1.0, right)):
        spread = 0.03 if place == "rest" else 0.09
        for bone, direction in zip(("upperarm", "lowerarm"), PLACES[place], strict=True):
            directions[f"{bone}.{side}"] = jittered(rng, direction, spread, sign)
        for bone, direction in (("upperleg", (0.02, -0.02, -1.0)), ("lowerleg", (0.01, 0.04, -1.0))):
            directions[f"{bone}.{side}"] = (sign * direction[0], direction[1], direction[2])
        roll = 0.0 if place == "rest" else float(rng.uniform(-0.9, 0.7))
        rotations[f"forearm.{side}"] = (sign * roll, 0.0, 0.0)
        rotations[f"wrist.{side}"] = jittered(rng, (0, 0, 0), 0.03 if place == "rest" else 0.18)
        shape = hand if side == "R" or same_hand else str(rng.choice(list(HAND_SHAPES)))
        fingers[side] = HAND_SHAPES["bent" if place == "rest" else shape]
    rights = ("browDownRight", "browOuterUpRight", "mouthStretchRight", "mouthSmileRight")
    expression = dict.fromkeys((*MOUTHS, *BROWS, *rights), 0.0)
    for names in (MOUTHS, BROWS):
        name = str(rng.choice(names))
        strength = float(rng.uniform(0, 0.6))
        expression[name] = strength
        if name.endswith("Left"):
            expression[name.removesuffix("Left") + "Right"] = strength
    return Pose(directions, rotations, fingers, expression=expression)


def _held(rng: np.random.Generator, pose: Pose) -> Pose:
    """A hand that holds still still moves a little."""
    directions = {name: jittered(rng, value, 0.008) for name, value in pose.directions.items()}
    return Pose(directions, pose.rotations, pose.fingers, pose.turn, dict(pose.expression))
