"""Time pose drawing against the published algorithm, which blends the whole canvas once per limb.

Run ``python benchmarks/pose_drawing.py``. The slow version below is also the reference of ``tests/test_drawing.py``.
"""

from __future__ import annotations

import math
import sys
import timeit

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.pictures.drawing import POINT_RADIUS, STICK_WIDTH, colors_of, draw_pose, limbs_of
from pgpis.pictures.keypoints import POINT_COUNTS, Frame, Keypoints, Skeleton

CASES: tuple[tuple[Skeleton, int, int], ...] = (("body18", 1101, 750), ("wholebody133", 1080, 1920))


def draw_pose_slowly(
    points: npt.NDArray[np.float64], skeleton: Skeleton, height: int, width: int, stick_width: int
) -> npt.NDArray[np.uint8]:
    """Draw as published: copy the canvas, fill one limb, blend both canvases; again for each limb.

    Args:
        points: ``(N, 2)`` x and y in pixels of the canvas, -1 where missing.
        skeleton: Order of the points.
        height: Rows of the canvas.
        width: Columns of the canvas.
        stick_width: Half the thickness of a limb in pixels.

    Returns:
        uint8 RGB ``(height, width, 3)``.
    """
    limbs, colors = limbs_of(skeleton), colors_of(skeleton)
    canvas = np.zeros((height, width, 3), np.uint8)
    for number, (x, y) in enumerate(points):
        if -1 not in (x, y):
            cv2.circle(canvas, (int(x), int(y)), POINT_RADIUS[skeleton], colors[number], thickness=-1)
    for number, limb in enumerate(limbs):
        ends = points[np.array(limb) - 1]
        if (ends == -1).any():
            continue
        with_limb = canvas.copy()
        down, right = ends[0, 1] - ends[1, 1], ends[0, 0] - ends[1, 0]
        center = (int(np.mean(ends[:, 0])), int(np.mean(ends[:, 1])))
        axes = (int((down**2 + right**2) ** 0.5 / 2), stick_width)
        polygon = cv2.ellipse2Poly(center, axes, int(math.degrees(math.atan2(down, right))), 0, 360, 1)
        cv2.fillConvexPoly(with_limb, polygon, colors[number])
        canvas = cv2.addWeighted(canvas, 0.4, with_limb, 0.6, 0)
    return cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)


def standing_person(skeleton: Skeleton, height: int, width: int, seed: int = 0) -> Keypoints:
    """Return a full set of points in the proportions of a person who fills the height."""
    generator = np.random.default_rng(seed)
    frame = Frame(height, width)
    if skeleton == "body18":
        x = [50, 50, 38, 30, 28, 62, 70, 72, 42, 40, 39, 58, 60, 61, 47, 53, 44, 56]
        y = [10, 20, 20, 36, 50, 20, 36, 50, 52, 72, 94, 52, 72, 94, 8, 8, 9, 9]
        unit = np.stack([x, y], axis=1) / 100
        return Keypoints.from_array(unit * [0.68 * height, height] + [0.16 * width, 0], frame, skeleton)
    spread = np.full((POINT_COUNTS[skeleton], 2), 0.03)  # face and hands: small
    middle = np.full((POINT_COUNTS[skeleton], 2), [0.5, 0.12])
    middle[:23], spread[:23] = [0.5, 0.5], 0.25
    middle[91:112], middle[112:] = [0.7, 0.5], [0.3, 0.5]
    unit = middle + spread * generator.uniform(-1, 1, middle.shape)
    return Keypoints.from_array(unit * height + [(width - height) / 2, 0], frame, skeleton)


def main() -> int:
    """Print one line per case; the exit code is 1 if a pixel differs or the ratio is below ten."""
    passed = True
    for skeleton, height, width in CASES:
        person = standing_person(skeleton, height, width)
        stick_width = STICK_WIDTH[skeleton]
        arguments = (person.points, skeleton, height, width, stick_width)
        equal = np.array_equal(draw_pose(person, height, width), draw_pose_slowly(*arguments))
        slow = min(timeit.repeat(lambda: draw_pose_slowly(*arguments), number=3, repeat=5)) / 3  # noqa: B023
        fast = min(timeit.repeat(lambda: draw_pose(person, height, width), number=10, repeat=5)) / 10  # noqa: B023
        print(
            f"{skeleton:>12} at {height}x{width}: published {slow * 1e3:7.2f} ms, ours {fast * 1e3:6.2f} ms, "
            f"{slow / fast:5.1f} times faster, same pixels: {equal}"
        )
        passed &= equal and slow / fast >= 10
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
