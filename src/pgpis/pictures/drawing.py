"""Drawing key points as a coloured skeleton, pixel for pixel as the published code does, but faster."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.keypoints import POINT_COUNTS, Frame, Keypoints, Skeleton

Color = tuple[int, int, int]
Limb = tuple[int, ...]
Pixels = npt.NDArray[np.uint8]

CANVAS = (550, 375)
"""(height, width) on which FPDM draws DeepFashion's poses."""
PoseSkeleton = Literal["body18", "wholebody133"]
"""The key points that are drawn."""
DRAWING = ("pose_canvas", "stick_width", "pose_skeleton")
"""What says how poses are drawn, as data modules, pipelines and recipes call it."""
ASPECT_TOLERANCE = 0.05  # DeepFashion's own frames and pictures differ by 1 % and are squashed

POINT_RADIUS = {"body18": 4, "wholebody133": 2}
STICK_WIDTH = {"body18": 4, "wholebody133": 2}
LIMB_OPACITY = 0.6
MOST_PADDED = 2**25  # pixels of a padded drawing; a larger one is first made smaller
LONGEST_SIDE, MOST_PIXELS = 32_767, 2**26  # OpenCV's short coordinates; 200 MB

# 1-based, as OpenPose prints them. It names two more limbs (shoulder to ear) that the published loop leaves out.
BODY18_LIMBS: tuple[Limb, ...] = (
    *((2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11)),
    *((2, 12), (12, 13), (13, 14), (2, 1), (1, 15), (15, 17), (1, 16), (16, 18)),
)
# OpenPose's rainbow, in the channel order in which it is painted (read as BGR)
BODY18_COLORS: tuple[Color, ...] = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
WHOLEBODY133_BODY: tuple[Limb, ...] = (
    *((11, 9), (9, 7), (7, 6), (6, 8), (8, 10), (7, 13), (6, 12), (13, 12), (13, 15), (15, 17), (12, 14), (14, 16)),
    *((24, 25), (25, 26), (26, 27)),
)
WHOLEBODY133_FACE: tuple[Limb, ...] = (
    *(tuple(range(24, 41)), tuple(range(41, 51)), (*range(51, 60), 54)),
    *((*range(60, 66), 60), (*range(66, 72), 66), tuple(range(72, 89))),
)
# Six indices in one "limb": a slip of the published table, kept because its drawing is part of the trained input.
WHOLEBODY133_SLIP: Limb = (83, 72, 72, 84, 88, 78)
WHOLEBODY133_HANDS: tuple[Limb, ...] = (
    *((96, 95, 94, 93, 92), (100, 99, 98, 97, 92), (104, 103, 102, 101, 92), (108, 107, 106, 105, 92)),
    *((112, 111, 110, 109), (92, 109), (133, 132), (131, 130, 113), (129, 128, 127, 126, 113)),
    *((125, 124, 123, 122, 113), (121, 120, 119, 118, 113), (117, 116, 115, 114, 113)),
)


@lru_cache(maxsize=2)
def limbs_of(skeleton: Skeleton) -> tuple[Limb, ...]:
    """Return the limbs in drawing order, as 1-based point numbers.

    Raises:
        PgpisError: The skeleton has no drawing.
    """
    if skeleton == "body18":
        return BODY18_LIMBS
    if skeleton == "wholebody133":
        parts = (WHOLEBODY133_FACE, WHOLEBODY133_HANDS)
        face, hands = ([pair for chain in chains for pair in itertools.pairwise(chain)] for chains in parts)
        return (*WHOLEBODY133_BODY, *face, WHOLEBODY133_SLIP, *hands)
    hint = "draw keypoints.to_body18() instead: same points and a neck"
    raise PgpisError(f"{skeleton} key points cannot be drawn", hint=hint)


@lru_cache(maxsize=2)
def colors_of(skeleton: Skeleton) -> tuple[Color, ...]:
    """Return one colour per point and limb, in the order of channels in which they are painted.

    Source: the 133 colours are the first draws of numpy's legacy generator seeded 777.
    Deviation: the published code seeds numpy's global generator with it; ours leaves that alone.
    """
    if skeleton == "body18":
        return BODY18_COLORS
    colors = np.random.RandomState(777).randint(0, 256, (POINT_COUNTS[skeleton], 3))
    return tuple((int(first), int(second), int(third)) for first, second, third in colors)


def limb_polygon(points: npt.NDArray[np.float64], stick_width: int) -> npt.NDArray[np.int32]:
    """Return the ellipse between the ends of a limb, points ``(n, 2)``, as integer polygon.

    Its middle is the mean over all points, its length and angle come from the first two.

    Source: ``ellipse2Poly(int(middle), (int(length / 2), stick_width), int(angle), 0, 360, 1)``.
    """
    (x0, y0), (x1, y1) = points[0], points[1]
    middle_x, middle_y = points.mean(axis=0)
    length = ((y0 - y1) ** 2 + (x0 - x1) ** 2) ** 0.5
    angle = math.degrees(math.atan2(y0 - y1, x0 - x1))
    center, axes = (int(middle_x), int(middle_y)), (int(length / 2), stick_width)
    return np.asarray(cv2.ellipse2Poly(center, axes, int(angle), 0, 360, 1), dtype=np.int32)


def check_canvas(height: int, width: int, stick_width: int | None = None) -> None:
    """Refuse what cannot be drawn on or with; see :func:`draw_pose`.

    Raises:
        PgpisError: A size is out of bounds; names the option.
    """
    if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE and height * width <= MOST_PIXELS):
        expected = f"expected 1 to {LONGEST_SIDE} pixels a side and {MOST_PIXELS:,} in all"
        raise PgpisError(f"pose_canvas is {height} x {width}, {expected}", hint="--data.pose_canvas '[550, 375]'")
    thickest = max(min(height, width) // 2, 1)
    if stick_width is not None and not 0 < stick_width <= thickest:
        expected = f"expected 1 to {thickest} pixels on a canvas of {height} x {width}"
        raise PgpisError(f"stick_width is {stick_width}, {expected}", hint="--data.stick_width 4")


def draw_pose(keypoints: Keypoints, height: int, width: int, *, stick_width: int | None = None) -> Pixels:
    """Draw a skeleton on black.

    Filled circles at the points, then the limbs, each blended 0.4 canvas / 0.6 colour over what is there. Limbs with a
    missing coordinate are skipped. The published algorithm blends the whole canvas once per limb; only the bounding
    box of a limb can change, so only that is blended here: same pixels.

    Args:
        keypoints: body18 or wholebody133, in any frame.
        height: Rows of the drawing in pixels.
        width: Columns of the drawing in pixels.
        stick_width: Half the thickness of a limb in pixels; 4 for body18, 2 for wholebody133 by default.

    Returns:
        uint8 RGB ``(height, width, 3)``.

    Raises:
        PgpisError: The skeleton has no drawing, or a size is out of bounds.

    Source: FPDM's pose drawing; exact to the fixtures ``preprocess/pose_png``.
    """
    check_canvas(height, width, stick_width)
    skeleton = keypoints.skeleton
    limbs, colors = limbs_of(skeleton), colors_of(skeleton)
    thickness = STICK_WIDTH[skeleton] if stick_width is None else stick_width
    placed = keypoints.to(Frame(height, width))
    points, complete = placed.points, placed.seen
    canvas: Pixels = np.zeros((height, width, 3), np.uint8)
    for (x, y), is_seen, color in zip(points, complete, colors, strict=True):
        if is_seen:
            cv2.circle(canvas, (int(x), int(y)), POINT_RADIUS[skeleton], color[::-1], -1)
    for limb, color in zip(limbs, colors, strict=False):  # there is a colour per point, and fewer limbs
        ends = [number - 1 for number in limb]
        if complete[ends].all():
            _blend_limb(canvas, limb_polygon(points[ends], thickness), color[::-1])
    return canvas


def _blend_limb(canvas: Pixels, polygon: npt.NDArray[np.int32], color: Color) -> None:
    x, y, columns, rows = cv2.boundingRect(polygon)
    left, top = max(x, 0), max(y, 0)
    box = canvas[top : max(y + rows, 0), left : max(x + columns, 0)]
    if box.size:
        painted = box.copy()
        cv2.fillConvexPoly(painted, polygon - (left, top), color)
        cv2.addWeighted(box, 1 - LIMB_OPACITY, painted, LIMB_OPACITY, 0, dst=box)


def other_aspect(height: float, width: float, canvas: tuple[int, int]) -> bool:
    """Whether a picture has another shape than the canvas (height, width), so that squashing would show."""
    return abs(width / height * canvas[0] / canvas[1] - 1) > ASPECT_TOLERANCE


def centre_on_canvas(drawing: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    """Centre a drawn pose or a DensePose map on black, where it has another shape than the canvas (height, width)."""
    if not other_aspect(drawing.height, drawing.width, canvas):
        return drawing
    frame = Frame(drawing.height, drawing.width).padded(canvas[1] / canvas[0])
    surplus = frame.height * frame.width / MOST_PADDED
    if surplus > 1:
        drawing = drawing.resize(
            [max(1, round(side / surplus**0.5)) for side in drawing.size], Image.Resampling.NEAREST
        )
        frame = Frame(drawing.height, drawing.width).padded(canvas[1] / canvas[0])
    centred = Image.new("RGB", (round(frame.width), round(frame.height)))
    centred.paste(drawing, (round(-frame.left), round(-frame.top)))
    return centred
