"""A pose on another body: the directions of one person's limbs, the proportions of another's."""

from __future__ import annotations

import numpy as np

from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import Keypoints

BONES = (
    (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""Parent and child of OpenPose's 18 points, from the neck outwards."""
TWINS = {
    (1, 2): (1, 5), (2, 3): (5, 6), (3, 4): (6, 7),
    (1, 8): (1, 11), (8, 9): (11, 12), (9, 10): (12, 13),
    (0, 14): (0, 15), (14, 16): (15, 17),
}  # fmt: skip
"""The same bone of the right and of the left side."""
LARGEST_RATIO = 2.0
"""Proportions of people differ less; more means that a limb points at the camera."""

Lengths = dict[tuple[int, int], float]


def retarget(driving: Keypoints, source: Keypoints) -> Keypoints:
    """Give the driving pose the limb lengths of the source.

    Each limb keeps its direction. Its length is multiplied by how long that limb is in the source compared with the
    driving person, both measured against the person's other limbs, so that the person stays as large as in the driving
    picture. Of a left and a right limb the longer one counts, because in a picture limbs only ever look too short. The
    neck stays where it is; what is seen in one picture only keeps its length.

    Args:
        driving: Whose pose; body-18.
        source: Whose proportions; body-18, in a frame of its own.

    Returns:
        Body-18 in the driving frame.

    Raises:
        PgpisError: Other skeletons, or no limb is seen in both pictures.
    """
    for points in (driving, source):
        if points.skeleton != "body18":
            raise PgpisError(f"retargeting works on 18 body points, not on {points.skeleton}")
    ratios = _ratios(_lengths(driving), _lengths(source))
    seen, moved = driving.seen, driving.points.copy()
    for parent, child in BONES:
        if seen[child] and seen[parent]:
            bone = driving.points[child] - driving.points[parent]
            moved[child] = moved[parent] + bone * ratios.get((parent, child), 1.0)
    return Keypoints.from_visible(moved, driving.visible, driving.frame, "body18")


def _lengths(points: Keypoints) -> Lengths:
    """Return the lengths of the limbs that are seen, the same for both sides."""
    lengths = {
        (parent, child): float(np.linalg.norm(points.points[child] - points.points[parent]))
        for parent, child in BONES
        if points.seen[[parent, child]].all()
    }
    for right, left in TWINS.items():
        longest = max(lengths.get(right, 0.0), lengths.get(left, 0.0))
        lengths |= {bone: longest for bone in (right, left) if longest}
    return {bone: length for bone, length in lengths.items() if length}


def _ratios(driving: Lengths, source: Lengths) -> Lengths:
    common = driving.keys() & source.keys()
    if not common:
        raise PgpisError("no limb is seen both in the driving picture and in the source", hint="leave --retarget out")
    scale = sum(driving[bone] for bone in common) / sum(source[bone] for bone in common)
    return {
        bone: float(np.clip(source[bone] / driving[bone] * scale, 1 / LARGEST_RATIO, LARGEST_RATIO)) for bone in common
    }
