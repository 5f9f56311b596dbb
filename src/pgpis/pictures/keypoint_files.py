"""The files that key points come in: plain text, NumPy's, OpenPose's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.pictures.arrays import read_array
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, FARTHEST, MISSING, POINT_COUNTS, Frame, Keypoints, Skeleton
from pgpis.pictures.plausibility import POSE_SIZE, person_of, tell_once

MOST_BYTES = 2**22
BODY25_TO_BODY18 = (*range(8), *range(9, 19))
WHOLEBODY = "wholebody_keypoints_2d"
"""Field of a person in our JSON for which OpenPose has no equal: COCO-WholeBody's 133 points."""
WAYS = {
    17: "COCO's 17 points have no neck; Keypoints(..., 'coco17').to_body18() and write_keypoints make 18 of them",
    18: "18 points go into a .txt of lines 'x y', or with confidences into OpenPose's .json",
    25: "OpenPose's 25 points go into its .json, with confidences",
}
"""What to do with points that a format does not hold, by their number."""


def read_keypoints(path: str | os.PathLike[str], frame: Frame | None = None) -> Keypoints:
    """Read one person's key points.

    Formats: ``.txt`` with 18 lines ``x y`` (-1 missing) or 133 lines (0 missing), ``.npy`` of shape (133, 2) or
    (133, 3) with confidences (0 missing), OpenPose ``.json`` with 18 or 25 body points, or with 133 points in the field
    ``wholebody_keypoints_2d`` as ``pgpis prepare`` writes it (confidence 0 missing; of several people the largest is
    taken). Fractions of the picture are recognised, see :func:`pgpis.pictures.plausibility.person_of`.

    Args:
        path: The file.
        frame: What the coordinates refer to. Without it, 18-line files are read as DeepFashion's, and OpenPose JSON
            must name its canvas size.

    Raises:
        PgpisError: The file is missing, is none of these formats, does not say what its coordinates refer to, or holds
            numbers that are not a person's.
    """
    file = Path(path)
    readers = {".txt": _read_txt, ".npy": _read_npy, ".json": _read_openpose}
    read = readers.get(file.suffix.lower())
    if read is None:
        raise PgpisError(f"{file}: no key point format ends in '{file.suffix}' (known: {', '.join(readers)})")
    if not file.is_file():
        raise PgpisError(f"key points not found: {file}")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise PgpisError(f"{file}: {size:,} bytes, expected the key points of one person in a few thousand bytes")
    try:
        return read(file, frame)
    except PgpisError as error:
        if str(file) in error.message:
            raise
        raise PgpisError(f"{file}: {error.message}", hint=error.hint) from error
    except (OSError, ValueError, TypeError, EOFError, OverflowError, RecursionError) as error:
        raise PgpisError(f"cannot read key points {file}: {error}") from error


def _read_text(path: Path) -> str:
    """Read UTF-8, or the UTF-16 that programs of Windows write."""
    content = path.read_bytes()
    return content.decode(json.detect_encoding(content))


def _read_txt(path: Path, frame: Frame | None) -> Keypoints:
    rows = [line.split() for line in _read_text(path).splitlines() if line.strip()]
    if len(rows) not in (18, 133) or any(len(row) != 2 for row in rows):
        content = f"{len(rows)} lines of {' or '.join(sorted({str(len(row)) for row in rows})) or 'no'} numbers"
        raise PgpisError(f"{path}: expected 18 or 133 lines 'x y', found {content}", hint=WAYS.get(len(rows)))
    points = np.array(rows, dtype=np.float64)
    if len(rows) == 18:
        return person_of(points, points != MISSING, frame or DEEPFASHION_FRAME, "body18", str(path))
    return person_of(points, points != 0.0, _required(frame, path), "wholebody133", str(path))


def _read_npy(path: Path, frame: Frame | None) -> Keypoints:
    array: npt.NDArray[Any] = read_array(path, "key points of shape (133, 2) or (133, 3)")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or len(array) != POINT_COUNTS["wholebody133"] or array.shape[1] not in (2, 3):
        raise PgpisError(
            f"{path}: expected an array of shape (133, 2) or (133, 3), found {array.shape}",
            hint=WAYS.get(array.shape[0]) if array.ndim == 2 else None,
        )
    points = array[:, :2].astype(np.float64)
    visible = points != 0.0
    if array.shape[1] == 3:
        visible &= array[:, 2:] > 0
    return person_of(points, visible, _required(frame, path), "wholebody133", str(path))


def _read_openpose(path: Path, frame: Frame | None) -> Keypoints:
    return parse_openpose(json.loads(_read_text(path)), path, frame)


def parse_openpose(content: Any, path: Path, frame: Frame | None = None) -> Keypoints:
    """Return the key points in what a JSON file of OpenPose holds; see :func:`read_keypoints`.

    Args:
        content: What ``json.loads`` returned.
        path: The file, for messages.
        frame: What the coordinates refer to; None: the canvas in ``content``.

    Raises:
        PgpisError: It is something else, or the numbers are not a person's.
        ValueError, TypeError, OverflowError: A size is not a number.
    """
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise PgpisError(f"{path}: expected OpenPose's 'people'", hint="write it with openpose --write_json")
    arrays = [array for person in people if ((array := _openpose_person(person, path))[:, 2] > 0).any()]
    if not arrays:
        raise PgpisError(f"{path}: nobody in it (people[].pose_keypoints_2d is empty or missing)")
    if len(arrays) > 1:
        tell_once("people", str(path), f"{len(arrays)} people are in it; the largest is taken, of equal ones the first")
    largest = max(arrays, key=_extent)
    visible = np.repeat(largest[:, 2:] > 0, 2, axis=1)
    skeleton: Skeleton = "wholebody133" if len(largest) == POINT_COUNTS["wholebody133"] else "body18"
    return person_of(largest[:, :2], visible, frame or _openpose_frame(content, path), skeleton, str(path))


def _openpose_person(person: Any, path: Path) -> npt.NDArray[np.float64]:
    expected = f"{path}: people[].pose_keypoints_2d must hold 18 or 25 points"
    if not isinstance(person, dict):
        raise PgpisError(f"{expected} 'x, y, confidence', found {type(person).__name__}")
    if person.get(WHOLEBODY) is not None:
        return _triples(person[WHOLEBODY], (133,), f"{path}: people[].{WHOLEBODY} must hold 133 points")
    numbers = person.get("pose_keypoints_2d")
    body = _triples([] if numbers is None else numbers, (0, 18, 25), expected)
    return body[list(BODY25_TO_BODY18)] if len(body) == 25 else body


def _triples(numbers: Any, counts: tuple[int, ...], expected: str) -> npt.NDArray[np.float64]:
    """Return a flat list of numbers as rows ``x, y, confidence``; null is not a number."""
    length = len(numbers) if isinstance(numbers, list) else -1
    if length not in [3 * count for count in counts]:
        content = type(numbers).__name__ if length < 0 else f"{length} numbers"
        raise PgpisError(f"{expected} 'x, y, confidence', found {content}", hint=WAYS.get(length // 3))
    if not all(number is None or type(number) in (int, float) for number in numbers):
        raise PgpisError(f"{expected} 'x, y, confidence', found something other than numbers")
    return np.array(numbers, dtype=np.float64).reshape(-1, 3)


def _extent(person: npt.NDArray[np.float64]) -> float:
    """Return the area of a person; one whose coordinates are not pixels is the smallest."""
    sides = np.ptp(person[person[:, 2] > 0, :2], axis=0) + 1e-6
    return float(np.prod(sides)) if (sides < FARTHEST).all() else 0.0


def _openpose_frame(content: Mapping[str, Any], path: Path) -> Frame:
    for height, width in (("canvas_height", "canvas_width"), ("image_height", "image_width"), ("height", "width")):
        if content.get(height) is not None and content.get(width) is not None:
            return Frame(float(content[height]), float(content[width]), name=f"canvas of {path.name}")
    return _required(None, path)


def _required(frame: Frame | None, path: Path) -> Frame:
    if frame is None:
        reason = f"{path} does not state the size of the picture to which its coordinates refer"
        raise PgpisError(reason, hint=f"{POSE_SIZE}, or a Frame to read_keypoints")
    return frame


def write_keypoints(path: Path, keypoints: Keypoints, scores: npt.NDArray[np.float64] | None = None) -> None:
    """Write one person's key points, atomically.

    Args:
        path: ``.json`` is OpenPose's, with the size of the canvas; ``.txt`` DeepFashion's, of 18 body points.
        keypoints: In any frame; body-18 or whole-body-133.
        scores: Confidence of each point, for ``.json``; 1 by default. A point that is not visible gets 0.

    Raises:
        PgpisError: The format does not hold such points.
    """
    if path.suffix == ".json":
        write_text(path, json.dumps(openpose_content(keypoints, scores)) + "\n")
    elif path.suffix == ".txt" and keypoints.skeleton == "body18":
        write_text(path, points_text(keypoints.to(DEEPFASHION_FRAME)))
    else:
        raise PgpisError(f"{path}: {keypoints.skeleton} key points are written as .json, body18 also as .txt")


def points_text(keypoints: Keypoints) -> str:
    """Return a line ``x y`` for each point."""
    return "".join(f"{x:.18e} {y:.18e}\n" for x, y in keypoints.points)


def openpose_content(
    keypoints: Keypoints, scores: npt.NDArray[np.float64] | None = None, decimals: int | None = 4
) -> dict[str, Any]:
    """Return what a JSON file of OpenPose holds for one person.

    Args:
        keypoints: In any frame; body-18 or whole-body-133.
        scores: Confidence of each point, ``(N,)``; 1 by default. A point that is not visible gets 0.
        decimals: To how many the numbers are rounded; None: not at all.

    Raises:
        PgpisError: OpenPose's JSON has no field for such points.
    """
    fields = {"body18": "pose_keypoints_2d", "wholebody133": WHOLEBODY}
    if keypoints.skeleton not in fields:
        raise PgpisError(f"{keypoints.skeleton} key points have no field in OpenPose's JSON; use to_body18()")
    seen, frame = keypoints.seen, keypoints.frame
    confidence = np.where(seen, 1.0 if scores is None else scores, 0.0)
    points = np.where(seen[:, None], keypoints.points - [frame.left, frame.top], 0.0)
    numbers = np.column_stack([points, confidence])
    rounded = numbers if decimals is None else numbers.round(decimals)
    person = {fields[keypoints.skeleton]: rounded.reshape(-1).tolist()}
    return {"version": 1.3, "people": [person], "canvas_height": frame.height, "canvas_width": frame.width}


def exact_openpose(keypoints: Keypoints) -> dict[str, Any]:
    """Return key points as OpenPose's JSON from which :func:`parse_openpose` reads the same; in any skeleton.

    Where they begin in a frame is lost, which no drawing of them shows.
    """
    drawn = keypoints.to_body18() if keypoints.skeleton == "coco17" else keypoints
    canvas = {"canvas_height": float(drawn.frame.height), "canvas_width": float(drawn.frame.width)}
    return openpose_content(drawn, decimals=None) | canvas
