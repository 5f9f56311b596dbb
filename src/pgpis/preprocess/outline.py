"""The silhouette of a person of whom only key points are known: a body of average build is drawn around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError

STYLE = "average 2"
"""Part of the names of maps that are kept; to be changed with what is drawn, or with the lifter's weights."""

Places = NDArray[np.float64]
"""``(N, 2)`` or ``(2,)`` x, y in pixels; NaN where they are unknown, or follow from what is unknown."""
Mask = NDArray[np.bool_]
Shape = Sequence[tuple[Places, float]]
"""Circles by centre and radius, in trunks; they are filled, and what lies between them."""

NOSE, NECK = 0, 1
SHOULDERS, HIPS, EAR_POINTS = [2, 5], [8, 11], [16, 17]
ARMS = ((2, 3, 4, [24, 25]), (5, 6, 7, [22, 23]))
"""Shoulder, elbow, wrist, and knuckles of the hand."""
LEGS = ((8, 9, 10, [20, 21]), (11, 12, 13, [18, 19]))
"""Hip, knee, ankle, and toe and heel."""

# Lengths in trunks, which reach from the middle of the shoulders to that of the hips: means of drawn people
HIPS_PER_SHOULDERS = 0.56
UPPER_ARM, FOREARM, THIGH, SHIN = 0.53, 0.46, 0.8, 0.8
BONES = {
    (2, 5): 0.66, (8, 11): 0.37, (1, 0): 0.44,
    (2, 3): UPPER_ARM, (3, 4): FOREARM, (5, 6): UPPER_ARM, (6, 7): FOREARM,
    (8, 9): THIGH, (9, 10): SHIN, (11, 12): THIGH, (12, 13): SHIN,
}  # fmt: skip
# Radii, and what lies beyond the joints, in trunks: so silhouettes overlap most with those of 64 drawn pictures
SHOULDER, ELBOW, WRIST, FINGERTIP = 0.12, 0.1, 0.065, 0.04
BELLY, HIP, GROIN, KNEE, ANKLE = 0.25, 0.1, 0.215, 0.145, 0.085
THROAT, SKULL = 0.14, 0.175
HAND, SOLE, TOE = 0.18, 0.17, 0.24
"""From wrist to fingertip; below the ankle; ahead of it, where the person is seen from the side."""
EARS, CROWN, NOSE_AHEAD = 0.45, 0.11, 0.3
"""Above the neck; of the crown's circle above the ears; ahead of the neck, where seen from the side."""

TINY = 1e-6
"""Pixels; no length that divides is less."""
RIM = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)
SHIFT = 4
"""Bits of a pixel to which corners are exact."""
FARTHEST = 30_000
"""Pixels beyond which corners are brought in, which OpenCV could not draw."""


def silhouette_of(points: Places, size: tuple[int, int]) -> Mask:
    """Draw a person of average build.

    A limb with an unknown end is left out, unless it would reach beyond the picture from its known end: then it is the
    picture that ends there. A trunk of which only the shoulders or only the hips are known is upright.

    Args:
        points: ``(26, 2)``, those of :class:`pgpis.models.lifter.SurfaceLifter`.
        size: Rows and columns of the picture.

    Returns:
        ``(rows, columns)``; nothing where the whole person is outside.

    Raises:
        PgpisError: Neither both shoulders, nor both hips, nor one of each are known.
    """
    joints = points.copy()
    for unknown, known in (SHOULDERS, SHOULDERS[::-1]):
        if np.isnan(joints[unknown]).any():
            joints[unknown] = 2 * joints[NECK] - joints[known]
    _pair(joints, SHOULDERS, HIPS, 1 / HIPS_PER_SHOULDERS)
    _pair(joints, HIPS, SHOULDERS, HIPS_PER_SHOULDERS)
    trunk = max(_trunk_length(joints, points), TINY)
    _opposite(joints, HIPS, SHOULDERS, HIPS_PER_SHOULDERS, trunk)
    _opposite(joints, SHOULDERS, HIPS, 1 / HIPS_PER_SHOULDERS, -trunk)
    if np.isnan(joints[NECK]).any():
        joints[NECK] = joints[SHOULDERS].mean(axis=0)
    _reach_out(joints, trunk, size)
    mask = np.zeros(size, np.uint8)
    for shape in (*_trunk_and_head(joints, trunk), *_arms(joints, trunk), *_legs(joints, trunk)):
        _fill(mask, np.array([centre for centre, _ in shape]), np.array([radius for _, radius in shape]) * trunk)
    return mask > 0


def _pair(joints: Places, pair: list[int], other: list[int], ratio: float) -> None:
    """Place the unknown one of two shoulders or hips as the other two are to each other, else behind the known one."""
    for unknown, known, far, near in zip(pair, pair[::-1], other, other[::-1], strict=True):
        if np.isnan(joints[unknown]).any():
            joints[unknown] = joints[known] + np.nan_to_num(joints[far] - joints[near]) * ratio


def _trunk_length(joints: Places, points: Places) -> float:
    """Return how long the trunk is, or would be if it did not lean towards the camera, in pixels.

    A picture shortens lengths and never stretches them, so that the longest of several guesses counts. Limbs are asked
    only where the trunk is not known: those of a pose that somebody drew may be of any length.
    """
    trunk = float(np.linalg.norm(joints[SHOULDERS].mean(axis=0) - joints[HIPS].mean(axis=0)))
    guesses = {bone: float(np.linalg.norm(np.subtract(*points[list(bone)]))) / share for bone, share in BONES.items()}
    if np.isfinite(trunk):
        return float(np.fmax(trunk, guesses[2, 5]))
    if np.isnan([guesses[2, 5], guesses[8, 11]]).all():
        needed = "both shoulders (points 2 and 5 of 18, counted from 0), both hips (8 and 11) or one of each"
        raise PgpisError(f"the trunk is unknown: {needed} are needed")
    return float(np.nanmax(list(guesses.values())))


def _opposite(joints: Places, pair: list[int], other: list[int], ratio: float, down: float) -> None:
    """Place both hips below the shoulders, or both shoulders above the hips, where neither is known."""
    if np.isnan(joints[pair]).any():
        middle = joints[other].mean(axis=0)
        joints[pair] = middle + (joints[other] - middle) * ratio + [0.0, down]


def _reach_out(joints: Places, trunk: float, size: tuple[int, int]) -> None:
    """Place unknown knees below the hips, unknown wrists and ankles on a straight limb, if that is outside."""
    down = _way(joints[SHOULDERS].mean(axis=0), joints[HIPS].mean(axis=0))
    bent = [(elbow, wrist, shoulder, FOREARM) for shoulder, elbow, wrist, _ in ARMS]
    bent += [(knee, ankle, hip, SHIN) for hip, knee, ankle, _ in LEGS]
    straight = [(hip, knee, None, THIGH) for hip, knee, *_ in LEGS]
    for start, end, before, length in (*straight, *bent):
        if np.isnan(joints[end]).any():
            place = joints[start] + (down if before is None else _way(joints[before], joints[start])) * length * trunk
            if (place < 0).any() or (place >= size[::-1]).any():
                joints[end] = place


def _trunk_and_head(joints: Places, trunk: float) -> Iterator[Shape]:
    shoulders, hips, neck = joints[SHOULDERS], joints[HIPS], joints[NECK]
    middle = (shoulders + hips).mean(axis=0) / 2
    yield [*((place, SHOULDER) for place in shoulders), *((place, HIP) for place in hips), (middle, BELLY)]
    seen = [place for place in joints[EAR_POINTS] if np.isfinite(place).all()] or [joints[NOSE]]
    head = np.mean(seen, axis=0)
    if np.isnan(head).any():
        head = neck + _way(hips.mean(axis=0), shoulders.mean(axis=0)) * EARS * trunk
    yield [(neck, THROAT), (head, THROAT)]
    yield [(head, SKULL), (head + _way(neck, head) * CROWN * trunk, SKULL)]


def _arms(joints: Places, trunk: float) -> Iterator[Shape]:
    for shoulder, elbow, wrist, knuckles in ARMS:
        yield [(joints[shoulder], SHOULDER), (joints[elbow], ELBOW)]
        yield [(joints[elbow], ELBOW), (joints[wrist], WRIST)]
        way = _way(joints[wrist], joints[knuckles].mean(axis=0))
        way = _way(joints[elbow], joints[wrist]) if np.isnan(way).any() else way
        yield [(joints[wrist], WRIST), (joints[wrist] + way * HAND * trunk, FINGERTIP)]


def _legs(joints: Places, trunk: float) -> Iterator[Shape]:
    shoulders, hips = joints[SHOULDERS].mean(axis=0), joints[HIPS].mean(axis=0)
    ahead = (joints[NOSE] - joints[NECK]) @ _across(hips, shoulders) / (NOSE_AHEAD * trunk)
    ahead = np.nan_to_num(ahead).clip(-1, 1)
    for hip, knee, ankle, foot in LEGS:
        yield [(joints[hip], GROIN), (joints[knee], KNEE)]
        yield [(joints[knee], KNEE), (joints[ankle], ANKLE)]
        heel = joints[ankle] + _way(joints[knee], joints[ankle]) * SOLE * trunk
        toe = heel + _across(joints[ankle], joints[knee]) * ahead * TOE * trunk
        ends = joints[foot] if np.isfinite(joints[foot]).all() else [heel, toe]
        yield [(joints[ankle], ANKLE), *((end, ANKLE) for end in ends)]


def _way(start: Places, end: Places) -> Places:
    """Return the direction, of length 1."""
    return np.asarray((end - start) / max(float(np.linalg.norm(end - start)), TINY))


def _across(low: Places, high: Places) -> Places:
    """Return the direction to the right of somebody who looks from the one end of a bone up to the other."""
    x, y = _way(low, high)
    return np.array([-y, x])


def _fill(mask: NDArray[np.uint8], centres: Places, radii: NDArray[np.float64]) -> None:
    """Fill the hull of some circles; nothing if a place is unknown."""
    if np.isfinite(centres).all():
        corners = (centres[:, None] + radii[:, None, None] * RIM - 0.5).clip(-FARTHEST, FARTHEST)
        hull = cv2.convexHull((corners.reshape(-1, 2) * 2**SHIFT).round().astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1, shift=SHIFT)
