"""What can be a person: the one check that key points and drawn poses pass after reading."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.iuv import channel_order
from pgpis.pictures.keypoints import MISSING, Frame, Keypoints, Skeleton

log = logging.getLogger(__name__)

FEWEST_POINTS = 2
"""One limb."""
SMALLEST_PERSON = 0.01
"""Of the longer side of the picture."""
FEWEST_INSIDE = 0.2
"""Of the points: a close-up of a face has its five, and a body below the picture."""
MARGIN = 0.1
"""How far outside the picture a point still counts as inside, in pictures."""
FARTHEST_POINT = 10
"""Pictures that lie between a point and the middle of its own."""
LARGEST_UNIT = 4
"""A frame of this size or less is a unit, not a picture."""
NEAR = 1.5
"""Numbers of which half are nearer to 0 than this, across or down, are not pixels."""
POSE_SIZE = "give the size that the numbers refer to: --data.predict.init_args.pose_size '[HEIGHT, WIDTH]'"

DARK, BRIGHT = 40, 64
LEAST_DARK, LEAST_COLOURED = 0.28, 0.3
"""Thick limbs leave 0.32 of a small picture dark; a poor JPEG of 133 points has 0.4 coloured, people have 0.27."""
LOOKED_AT = 1024
"""Pixels of the longer side of a drawing at which it is looked."""
POSE_FILES = "--driving takes photographs; --poses takes key points (.txt, .json, .npy) or a skeleton drawn on black"


@cache
def _is_news(_kind: str) -> Iterator[bool]:
    return itertools.chain([True], itertools.repeat(False))


def tell_once(kind: str, name: str, text: str) -> None:
    """Log a remark about a file, for the first of a kind only: a folder of poses would say it of each of its files."""
    if next(_is_news(kind)):
        log.warning("%s: %s", name, text)


def person_of(
    points: npt.NDArray[np.float64], visible: npt.NDArray[np.bool_], frame: Frame, skeleton: Skeleton, name: str
) -> Keypoints:
    """Return a file's numbers as key points of a person; every reader goes through here.

    Numbers that are fractions of the picture, in [0, 1] or in [-1, 1], become pixels, and that is logged once. A point
    at (-1, -1) is missing, and one at (0, 0) too where the file does not mark missing points by -1.

    Args:
        points: ``(N, 2)`` x and y as they were read.
        visible: bool ``(N, 2)``.
        frame: What pixels refer to.
        skeleton: Order of the points.
        name: The file, for messages.

    Raises:
        PgpisError: They are not the key points of a person in this frame; names the file and says why.
    """
    marked = (points == MISSING).all(axis=1)
    if not marked.any():
        marked = (points == 0).all(axis=1)
    visible = visible & ~marked[:, None]
    try:
        keypoints = Keypoints.from_visible(points, visible, frame, skeleton)
    except PgpisError as error:
        raise PgpisError(f"{name}: {error.message}", hint=error.hint) from error
    return check_keypoints(_in_pixels(keypoints, name), name)


def _in_pixels(keypoints: Keypoints, name: str) -> Keypoints:
    frame, seen = keypoints.frame, keypoints.points[keypoints.seen]
    if not len(seen) or max(frame.height, frame.width) <= LARGEST_UNIT:
        return keypoints
    # the middle one of the numbers decides: a joint outside the picture makes no pixels of the others; and of a
    # close-up, of which most lies below the picture or beside it, the other axis does
    if (np.median(np.abs(seen), axis=0) > NEAR).all():
        return keypoints
    is_signed = (seen < -0.05).any(axis=1).mean() > 1 / 3
    unit = "from -1 to 1" if is_signed else "from 0 to 1"
    tell_once(unit, name, f"key points are fractions of the picture {unit}, and are scaled to its size")
    points = keypoints.points / 2 + 0.5 if is_signed else keypoints.points
    points = points * [frame.width, frame.height] + [frame.left, frame.top]
    return Keypoints.from_visible(points, keypoints.visible, frame, keypoints.skeleton)


def check_keypoints(keypoints: Keypoints, name: str) -> Keypoints:
    """Return key points, in pixels of their frame, that can be a person's; messages begin with ``name``.

    Raises:
        PgpisError: Too few points, too small a person, or too few points inside the picture.
    """
    frame, seen = keypoints.frame, keypoints.points[keypoints.seen]
    size = np.array([frame.width, frame.height])
    if len(seen) < FEWEST_POINTS:
        amount = f"all but {len(seen)}" if len(seen) else "all"
        raise PgpisError(f"{name}: of {len(keypoints.points)} key points {amount} are missing; expected a person")
    places = (seen - [frame.left, frame.top]) / size
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    ranges = f"x from {left:g} to {right:g}, y from {top:g} to {bottom:g}, in a picture of {frame.size}"
    largest = float(places.max())
    if largest > 2 and size.max() <= LARGEST_UNIT:  # points may lie outside the picture, but not by its whole size
        raise PgpisError(f"{name}: {largest:g} is not a share of a picture's size: expected numbers from 0 to 1")
    if float(np.ptp(seen, axis=0).max()) < SMALLEST_PERSON * size.max():
        raise PgpisError(f"{name}: all key points lie in one place: {ranges}; expected a person", hint=POSE_SIZE)
    inside = int(((places >= -MARGIN) & (places <= 1 + MARGIN)).all(axis=1).sum())
    if inside < FEWEST_INSIDE * len(seen):
        raise PgpisError(f"{name}: {inside} of {len(seen)} key points lie in the picture: {ranges}", hint=POSE_SIZE)
    if (np.abs(places - 0.5) > FARTHEST_POINT).any():
        raise PgpisError(f"{name}: key points lie far outside the picture: {ranges}", hint=POSE_SIZE)
    if 2 * inside < len(seen):
        tell_once("outside", name, f"only {inside} of {len(seen)} key points lie in the picture: {ranges}")
    return keypoints


def check_drawn_pose(image: Image.Image, name: str) -> None:
    """Refuse a picture that is not a skeleton drawn on black.

    Drawings are told from other pictures by how much of them is black and how much of the rest is coloured, so that
    other colours, thick limbs, JPEG and resizing do no harm. ``name`` is for messages.

    Raises:
        PgpisError: It shows nothing, or something else; says what it looks like.
    """
    step = max(1, max(image.size) // LOOKED_AT)
    pixels = np.asarray(image)[::step, ::step]
    highest, lowest = pixels.max(axis=2), pixels.min(axis=2)
    is_coloured = highest > 2 * lowest.astype(np.int16)
    bright = highest > BRIGHT
    if not bright.any():
        raise PgpisError(f"{name} is black: it shows no skeleton", hint=POSE_FILES)
    if channel_order(pixels) is not None:
        raise PgpisError(
            f"{name} looks like a DensePose map, and this model reads skeletons", hint=f"{POSE_FILES}; MCLD reads maps"
        )
    dark = float((highest <= DARK).mean())
    coloured = float(is_coloured[bright].mean())
    if dark >= LEAST_DARK and coloured >= LEAST_COLOURED:
        return
    figure = _figure_on_light(pixels)
    if figure is not None and float(is_coloured[figure].mean()) >= 2 * LEAST_COLOURED:
        kind, hint = "a skeleton on a light background", "draw it on black, as the model has seen them"
    else:
        kind, hint = "a photograph", POSE_FILES
    raise PgpisError(
        f"{name} looks like {kind}, not like a skeleton drawn on black: {dark:.0%} of it is black, "
        f"{coloured:.0%} of the rest has the colours of limbs",
        hint=hint,
    )


def warn_of_odd_pose(image: Image.Image) -> None:
    """Warn of a picture that is not a skeleton drawn on black, once of each kind; others may be what was trained on."""
    try:
        check_drawn_pose(image, "pose")
    except PgpisError as error:
        tell_once(error.message.partition(":")[0], "pipeline", error.message)  # its numbers come after the colon


def _figure_on_light(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_] | None:
    """Return where a picture differs from its border, if that is light and of one colour."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(border, axis=0)
    figure: npt.NDArray[np.bool_] = np.abs(pixels - background).max(axis=2) > BRIGHT
    return figure if background.min() > 128 and figure.any() else None
