"""The rotations that bring a body into a pose."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import Body, Shape
from pgpis.synth.figure.description import Pose

Vector = npt.NDArray[np.float64]
SIDES = (("L", 1.0), ("R", -1.0))
ZERO = (0.0, 0.0, 0.0)


def bone_rotations(body: Body, shape: Shape, pose: Pose) -> Vector:
    """Return the rotation of each bone relative to its parent ``(B, 3, 3)``, such that limbs point where the pose says.

    Hanging arms are held as far out as this body's hips need. Wrists roll half with the forearm; feet stay level.
    """
    result = np.repeat(np.eye(3)[None], len(body.bones), axis=0)
    joints = dict(zip(body.bones, shape.joints.astype(np.float64), strict=True))
    for part, bones in (("spine", ("spine04", "spine02", "spine01")), ("head", ("neck01", "neck03", "head"))):
        for bone in bones:
            result[body.bone[bone]] = _matrix(np.array(pose.rotations.get(part, ZERO), float) / 3)
    hips = _half_hips(body, shape)
    for side, sign in SIDES:
        turns = _arm(joints, pose, side, sign, hips) | _fingers(joints, side, sign, pose.fingers[side])
        for bone, turn in (turns | _leg(joints, pose, side)).items():
            result[body.bone[f"{bone}.{side}"]] = turn
    return result


def _half_hips(body: Body, shape: Shape) -> float:
    """Half of the widest extent of hips and thighs, metres."""
    last = body.parts["body"].vertices[1]
    z = body.canonical[:last, 2]
    near = (body.arm[:last] < 0.05) & (z < 0.05) & (z > -0.22)
    return float(np.abs(shape.vertices[:last][near, 0]).max())


def _arm(joints: dict[str, Vector], pose: Pose, side: str, sign: float, hips: float) -> dict[str, Vector]:
    shoulder, elbow, wrist = (joints[f"{bone}.{side}"] for bone in ("upperarm01", "lowerarm01", "wrist"))
    upper, lower = (np.array(pose.directions[f"{bone}.{side}"], float) for bone in ("upperarm", "lowerarm"))
    upper, lower = upper / np.linalg.norm(upper), lower / np.linalg.norm(lower)
    if upper[2] <= -0.85 and lower[2] <= -0.8:  # swing a hanging arm outwards until the hand passes the hip
        lengths = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
        for _ in range(12):
            hand = shoulder + upper * lengths[0] + lower * (lengths[1] + 0.08)
            if sign * hand[0] > hips + 0.035:
                break
            swing = _matrix(np.array([0, -sign * 0.03, 0]))
            upper, lower = swing @ upper, swing @ lower
    lift = max(0.0, float((upper / np.linalg.norm(upper))[2]) + 0.25)  # a raised arm takes the shoulder with it
    clavicle = _matrix(np.array([0, -sign * 0.35 * lift, 0]))  # directions are relative to the trunk
    first = _between(elbow - shoulder, clavicle.T @ upper)
    turns = {
        "clavicle": clavicle,
        "upperarm01": first,
        "lowerarm01": _between(wrist - elbow, (clavicle @ first).T @ lower),
        "wrist": np.eye(3),
    }
    roll = pose.rotations.get(f"forearm.{side}", ZERO)[0]
    if roll:
        axis = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        turns["lowerarm02"] = turns["wrist"] = _matrix(axis * roll / 2)
    bend = pose.rotations.get(f"wrist.{side}")
    if bend is not None:
        turns["wrist"] = turns["wrist"] @ _matrix(np.array(bend, float))
    return turns


def _leg(joints: dict[str, Vector], pose: Pose, side: str) -> dict[str, Vector]:
    hip, knee, ankle = (joints[f"{bone}.{side}"] for bone in ("upperleg01", "lowerleg01", "foot"))
    upper, lower = (np.array(pose.directions[f"{bone}.{side}"], float) for bone in ("upperleg", "lowerleg"))
    thigh = _between(knee - hip, upper)
    shin = _between(ankle - knee, thigh.T @ lower)
    tilt = cv2.Rodrigues((thigh @ shin).T)[0][:, 0]
    level = 0.95 if lower[1] / abs(lower[2]) < 0.3 else 0.45  # the heel of the leg behind is off the floor
    return {"upperleg01": thigh, "lowerleg01": shin, "foot": _matrix(tilt * level)}


def _fingers(joints: dict[str, Vector], side: str, sign: float, curls: tuple[float, ...]) -> dict[str, Vector]:
    wrist, *knuckles = (joints[f"{bone}.{side}"] for bone in ("wrist", "finger2-1", "finger3-1", "finger5-1"))
    index, middle, little = knuckles
    along = (middle - wrist) / np.linalg.norm(middle - wrist)
    across = (index - little) / np.linalg.norm(index - little)
    palm = np.cross(along, across) * sign
    turns = {}
    for finger in range(2, 6):
        spread = curls[5] * 0.35 * (3.5 - finger) / 1.5
        for joint, share in ((1, 0.9), (2, 1.15), (3, 0.75)):
            turn = -across * sign * curls[finger - 1] * share * 1.45
            turns[f"finger{finger}-{joint}"] = _matrix(turn - palm * spread if joint == 1 else turn)
    for joint, share in ((1, 0.25), (2, 0.8), (3, 0.9)):
        turns[f"finger1-{joint}"] = _matrix(np.cross(across, along) * curls[0] * share * 0.8)
    return turns


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
