"""Key points that know their frame: body-18, COCO-17 and whole-body-133, and the files they come in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pgpis.arrays import read_array
from pgpis.errors import PgpisError

Skeleton = Literal["body18", "coco17", "wholebody133"]
POINT_COUNTS: Mapping[Skeleton, int] = {"body18": 18, "coco17": 17, "wholebody133": 133}
MISSING = -1.0
FARTHEST = 1e5  # beyond this a number is no pixel, and OpenCV's integers overflow soon after

BODY18_SWAPS = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))
COCO17_SWAPS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
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
WHOLEBODY133_SWAPS = (
    *COCO17_SWAPS,
    *((17, 20), (18, 21), (19, 22)),
    *((FACE_START + left, FACE_START + right) for left, right in FACE68_SWAPS),
    *((LEFT_HAND_START + point, RIGHT_HAND_START + point) for point in range(21)),
)
SWAPS: Mapping[Skeleton, tuple[tuple[int, int], ...]] = {
    "body18": BODY18_SWAPS,
    "coco17": COCO17_SWAPS,
    "wholebody133": WHOLEBODY133_SWAPS,
}
BODY25_TO_BODY18 = (*range(8), *range(9, 19))
COCO17_TO_BODY18 = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK, RIGHT_SHOULDER, LEFT_SHOULDER = 1, 2, 5


@dataclass(frozen=True)
class Frame:
    """The picture that coordinates refer to: its size, and where its corner lies.

    Args:
        height: Rows of the person's picture, in the units of the coordinates.
        width: Columns of the person's picture.
        left: x of its left edge: 40 where the picture sits behind a 40-pixel border.
        top: y of its upper edge.
        name: For messages.
    """

    height: float
    width: float
    left: float = 0.0
    top: float = 0.0
    name: str = "pixels"

    def __post_init__(self) -> None:
        if not (self.height > 0 and self.width > 0):
            raise PgpisError(f"a key point frame must have a positive size, not {self.height} x {self.width}")

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

    Args:
        points: float64 ``(N, 2)``, x and y in ``frame``; -1 where ``visible`` is False.
        visible: bool ``(N, 2)``. The published formats mark x and y as missing independently, and a point of which
            one coordinate is missing still takes part in transforms with the other one.
        frame: What the coordinates refer to.
        skeleton: Order of the points.

    Raises:
        PgpisError: Wrong shape, or a visible coordinate that is no number or absurdly far out.
    """

    points: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    frame: Frame
    skeleton: Skeleton

    def __post_init__(self) -> None:
        expected = (POINT_COUNTS[self.skeleton], 2)
        if self.points.shape != expected or self.visible.shape != expected:
            raise PgpisError(f"{self.skeleton} key points have shape {self.points.shape}, expected {expected}")
        values = self.points[self.visible]
        if not np.isfinite(values).all() or (np.abs(values) > FARTHEST).any():
            raise PgpisError(f"{self.skeleton} key points hold coordinates that are no pixels (beyond {FARTHEST:g})")

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


def read_keypoints(path: str | os.PathLike[str], frame: Frame | None = None) -> Keypoints:
    """Read one person's key points.

    Formats: ``.txt`` with 18 lines ``x y`` (-1 missing) or 133 lines (0 missing), ``.npy`` of shape (133, 2) or
    (133, 3) with confidences (0 missing), OpenPose ``.json`` with 18 or 25 body points (confidence 0 missing; of
    several people the largest is taken).

    Args:
        path: The file.
        frame: What the coordinates refer to. Without it, 18-line files are read as DeepFashion's, and OpenPose JSON
            must name its canvas size.

    Raises:
        PgpisError: The file is missing, is none of these formats, or does not say what its coordinates refer to.
    """
    file = Path(path)
    readers = {".txt": _read_txt, ".npy": _read_npy, ".json": _read_openpose}
    if file.suffix.lower() not in readers:
        raise PgpisError(f"{file}: no key point format ends in '{file.suffix}' (known: {', '.join(readers)})")
    if not file.is_file():
        raise PgpisError(f"key points not found: {file}")
    try:
        return readers[file.suffix.lower()](file, frame)
    except PgpisError as error:
        if str(file) in error.message:
            raise
        raise PgpisError(f"{file}: {error.message}", hint=error.hint) from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise PgpisError(f"cannot read key points {file}: {error}") from error


def _read_txt(path: Path, frame: Frame | None) -> Keypoints:
    rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if len(rows) not in (18, 133) or any(len(row) != 2 for row in rows):
        raise PgpisError(f"{path}: expected 18 or 133 lines 'x y', found {len(rows)} lines")
    array = np.array(rows, dtype=np.float64)
    if len(rows) == 18:
        return Keypoints.from_array(array, frame or DEEPFASHION_FRAME, "body18")
    return Keypoints.from_array(array, _required(frame, path), "wholebody133", missing=0.0)


def _read_npy(path: Path, frame: Frame | None) -> Keypoints:
    array: npt.NDArray[Any] = read_array(path, "key points of shape (133, 2) or (133, 3)")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    columns = array.shape[1] if array.ndim == 2 else 0
    if len(array) != POINT_COUNTS["wholebody133"] or columns not in (2, 3):
        raise PgpisError(f"{path}: expected an array of shape (133, 2) or (133, 3), found {array.shape}")
    points = array[:, :2].astype(np.float64)
    visible = points != 0.0
    if columns == 3:
        visible &= array[:, 2:] > 0
    return Keypoints.from_visible(points, visible, _required(frame, path), "wholebody133")


def _read_openpose(path: Path, frame: Frame | None) -> Keypoints:
    content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise PgpisError(f"{path}: expected OpenPose's 'people'", hint="write it with openpose --write_json")
    found = [_openpose_body(person, path) for person in people]
    found = [person for person in found if (person[:, 2] > 0).any()]
    if not found:
        raise PgpisError(f"{path}: nobody in it (people[].pose_keypoints_2d is empty)")
    person = max(found, key=_extent)
    frame = frame or _openpose_frame(content, path)
    points, confident = person[:, :2], person[:, 2:] > 0
    if np.abs(points).max() <= 1.0 and max(frame.height, frame.width) > 2:
        points = points * [frame.width, frame.height]  # some editors write fractions of the canvas
    return Keypoints.from_visible(points, np.repeat(confident, 2, axis=1), frame, "body18")


def _openpose_body(person: Any, path: Path) -> npt.NDArray[np.float64]:
    numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    if not isinstance(numbers, Sequence) or len(numbers) not in (0, 54, 75):
        raise PgpisError(f"{path}: people[].pose_keypoints_2d must hold 18 or 25 points 'x, y, confidence'")
    body = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    return body[list(BODY25_TO_BODY18)] if len(body) == 25 else body


def _extent(person: npt.NDArray[np.float64]) -> float:
    return float(np.prod(np.ptp(person[person[:, 2] > 0, :2], axis=0) + 1e-6))


def _openpose_frame(content: Mapping[str, Any], path: Path) -> Frame:
    for height, width in (("canvas_height", "canvas_width"), ("image_height", "image_width"), ("height", "width")):
        if height in content and width in content:
            return Frame(float(content[height]), float(content[width]), name=f"canvas of {path.name}")
    return _required(None, path)


def _required(frame: Frame | None, path: Path) -> Frame:
    if frame is None:
        raise PgpisError(
            f"{path} does not say how large the picture is that its coordinates refer to",
            hint="give its size: --data.predict.init_args.pose_size '[HEIGHT, WIDTH]', or a Frame to read_keypoints",
        )
    return frame
