"""Key points that know their frame: body-18, COCO-17 and whole-body-133."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pgpis.errors import PgpisError

Skeleton = Literal["body18", "coco17", "wholebody133"]
POINT_COUNTS: Mapping[Skeleton, int] = {"body18": 18, "coco17": 17, "wholebody133": 133}
MISSING = -1.0
FARTHEST = 1e5  # beyond this a number is not a pixel, and OpenCV's integers overflow soon after

COCO17_SWAPS = tuple((left, left + 1) for left in range(1, 17, 2))
# iBUG-68 face: jaw, brows, nostrils, eyes, outer lips, inner lips; points on the middle line stay
FACE68_SWAPS = (
    *((point, 16 - point) for point in range(8)),
    *((17 + point, 26 - point) for point in range(5)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),
    *((60, 64), (61, 63), (65, 67)),
)
FACE_START, LEFT_HAND_START, RIGHT_HAND_START = 23, 91, 112
FEET_AND_HANDS = (
    *(17, 19, 20, 22),
    *(start + knuckle for start in (LEFT_HAND_START, RIGHT_HAND_START) for knuckle in (5, 17)),
)
"""Of whole-body-133: big toe and heel, left and right; knuckles of index and little finger, likewise."""
SWAPS: Mapping[Skeleton, tuple[tuple[int, int], ...]] = {
    "body18": ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)),
    "coco17": COCO17_SWAPS,
    "wholebody133": (
        *COCO17_SWAPS,
        *((17, 20), (18, 21), (19, 22)),
        *((FACE_START + left, FACE_START + right) for left, right in FACE68_SWAPS),
        *((LEFT_HAND_START + point, RIGHT_HAND_START + point) for point in range(21)),
    ),
}
COCO17_TO_BODY18 = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5


@dataclass(frozen=True)
class Frame:
    """The picture that coordinates refer to: its size in their units, and where its corner lies."""

    height: float
    width: float
    left: float = 0.0
    """x of its left edge: 40 where the picture sits behind a 40-pixel border."""
    top: float = 0.0
    name: str = "pixels"
    """For messages."""

    def __post_init__(self) -> None:
        if not (0 < self.height <= FARTHEST and 0 < self.width <= FARTHEST):
            expected = f"key points need a picture of a positive size of at most {FARTHEST:g} pixels a side"
            raise PgpisError(f"{self.name}: {expected}, not {self.height} x {self.width}")

    @property
    def size(self) -> str:
        """What messages call its size and place."""
        corner = f" that begins at ({self.left:g}, {self.top:g})" if self.left or self.top else ""
        return f"{self.width:g} x {self.height:g}{corner}"

    def padded(self, aspect_ratio: float) -> Frame:
        """Return the smallest frame around this one, centred, whose width / height is ``aspect_ratio``."""
        height = max(self.height, self.width / aspect_ratio)
        width = max(self.width, self.height * aspect_ratio)
        left, top = self.left - (width - self.width) / 2, self.top - (height - self.height) / 2
        return Frame(height, width, left, top, f"{self.name}, padded")


DEEPFASHION_FRAME = Frame(256, 176, left=40, name="DeepFashion 176x256 behind a 40-pixel border")
"""Frame of the 18-line ``.txt`` files of NTED, PIDM and FPDM: ``x' = (x - 40) W / 176``, ``y' = y H / 256``."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Named points of one person.

    Raises:
        PgpisError: Wrong shape, or a visible coordinate that is not a number or absurdly far out.
    """

    points: npt.NDArray[np.float64]
    """``(N, 2)``, x and y in ``frame``; -1 where ``visible`` is False."""
    visible: npt.NDArray[np.bool_]
    """``(N, 2)``. The published formats mark x and y as missing independently, and a point of which one coordinate is
    missing still takes part in transforms with the other one."""
    frame: Frame
    skeleton: Skeleton
    """Order of the points."""

    def __post_init__(self) -> None:
        expected = (POINT_COUNTS[self.skeleton], 2)
        if self.points.shape != expected or self.visible.shape != expected:
            raise PgpisError(f"{self.skeleton} key points have shape {self.points.shape}, expected {expected}")
        values = self.points[self.visible]
        if not np.isfinite(values).all() or (np.abs(values) > FARTHEST).any():
            raise PgpisError(f"{self.skeleton} key points hold coordinates that are not pixels (beyond {FARTHEST:g})")

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which points have both coordinates, ``(N,)``."""
        return np.logical_and(self.visible[:, 0], self.visible[:, 1])

    @classmethod
    def from_array(
        cls, array: npt.ArrayLike, frame: Frame, skeleton: Skeleton, *, missing: float = MISSING
    ) -> Keypoints:
        """Make key points from numbers in which ``missing`` marks each coordinate that was not found."""
        points = np.asarray(array, dtype=np.float64)
        return cls.from_visible(points, points != missing, frame, skeleton)

    @classmethod
    def from_visible(
        cls, points: npt.NDArray[np.float64], visible: npt.NDArray[np.bool_], frame: Frame, skeleton: Skeleton
    ) -> Keypoints:
        """Make key points and put -1 at every coordinate that is not visible."""
        return cls(np.where(visible, points, MISSING), visible, frame, skeleton)

    def to(self, frame: Frame) -> Keypoints:
        """Return the same points in another frame.

        Source: ``x' = (x - left) * (W' / W)`` in this order of operations; the official files round like that.
        """
        if frame == self.frame:
            return self
        scale = np.array([frame.width / self.frame.width, frame.height / self.frame.height])
        points = (self.points - [self.frame.left, self.frame.top]) * scale + [frame.left, frame.top]
        return self.from_visible(points, self.visible, frame, self.skeleton)

    def jitter(self, noise: npt.NDArray[np.float64]) -> Keypoints:
        """Return the points moved by ``noise`` ``(N, 2)``, in pixels of the frame.

        A coordinate that leaves the frame at the left or upper edge becomes missing.

        Source: official training augmentation (fixtures ``aug.*``): negative numbers are set to -1 one by one.
        """
        points = self.points + noise
        visible = self.visible & (points >= [self.frame.left, self.frame.top])
        return self.from_visible(points, visible, self.frame, self.skeleton)

    def flip(self) -> Keypoints:
        """Return the points of the mirrored picture: ``x' = W - x``, left and right exchange their names."""
        order = np.arange(POINT_COUNTS[self.skeleton])
        for left, right in SWAPS[self.skeleton]:
            order[[left, right]] = order[[right, left]]
        points = self.points[order]
        points[:, 0] = self.frame.width + 2 * self.frame.left - points[:, 0]
        return self.from_visible(points, self.visible[order], self.frame, self.skeleton)

    def to_body18(self) -> Keypoints:
        """Return OpenPose's 18 body points; the neck is the middle of the shoulders where the format has none."""
        if self.skeleton == "body18":
            return self
        points, visible = self.points[list(COCO17_TO_BODY18)], self.visible[list(COCO17_TO_BODY18)]
        points[NECK] = (points[RIGHT_SHOULDER] + points[LEFT_SHOULDER]) / 2
        visible[NECK] = visible[RIGHT_SHOULDER] & visible[LEFT_SHOULDER]
        return self.from_visible(points, visible, self.frame, "body18")
