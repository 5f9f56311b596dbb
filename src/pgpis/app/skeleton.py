"""The skeleton that a visitor drags over a photo: a component of the page, and its way to key points and back.

Its value is ``{"picture": address or None, "width": W, "height": H, "points": [[x, y, known], ...]}``: OpenPose's 18
points in pixels of the picture, ``known`` 0 for a hidden one.
"""

from __future__ import annotations

import base64
import io
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from pgpis.app.poses import named_poses, placed
from pgpis.errors import PgpisError
from pgpis.pictures.drawing import BODY18_COLORS, BODY18_LIMBS, LONGEST_SIDE
from pgpis.pictures.keypoint_files import MOST_BYTES, read_keypoints, write_keypoints
from pgpis.pictures.keypoints import FARTHEST, POINT_COUNTS, SWAPS, Frame, Keypoints
from pgpis.pictures.plausibility import check_keypoints

JOINTS = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist"),
    *("right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
"""What the 18 points are called, in OpenPose's order."""
PARTS = {
    "head": (0, 14, 15, 16, 17),
    "right arm": (3, 4),
    "left arm": (6, 7),
    "right leg": (9, 10),
    "left leg": (12, 13),
}
"""Points that are hidden and brought back together."""
LONGEST_SHOWN = 1024  # pixels of a side; the picture travels with each value


def skeleton_editor(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """Make the component. A change by the visitor triggers its events ``input`` and ``change``.

    It is a function, because Gradio writes a ``.pyi`` beside the source of each class of components.

    Args:
        value: As :func:`value_of` makes it; None: nothing is known.
        options: Of ``gradio.HTML``: ``label``, ``elem_id``, ``visible`` and so on.
    """
    folder = files("pgpis.app")
    names = ("skeleton.html", "skeleton.css", "skeleton_drawing.js", "skeleton.js")
    template, style, drawing, script = ((folder / name).read_text("utf-8") for name in names)
    return gr.HTML(
        value,
        html_template=template,
        css_template=style,
        js_on_load=drawing + script,
        apply_default_css=False,
        server_functions=[load_pose, save_pose],
        joints=JOINTS,
        parts=PARTS,
        swaps=SWAPS["body18"],
        limbs=[[first - 1, second - 1] for first, second in BODY18_LIMBS],
        colors=[f"rgb{color[::-1]}" for color in BODY18_COLORS],
        standing=named_poses()["Standing"].points.tolist(),
        most_bytes=MOST_BYTES,
        **options,
    )


def value_of(keypoints: Keypoints, picture: Image.Image | str | None = None) -> dict[str, Any]:
    """Return the editor's value for key points.

    Args:
        keypoints: In the frame of the picture; others than body-18 become it.
        picture: What is behind them: an address on this page, or a picture, which is sent as JPEG without metadata.
    """
    body, frame = keypoints.to_body18(), keypoints.frame
    points = np.where(body.seen[:, None], body.points - [frame.left, frame.top], -1.0).round(2)
    return {
        "picture": _data_uri(picture) if isinstance(picture, Image.Image) else picture,
        "width": round(frame.width),
        "height": round(frame.height),
        "points": [[x, y, int(known)] for (x, y), known in zip(points.tolist(), body.seen, strict=True)],
    }


def _data_uri(picture: Image.Image) -> str:
    shown = Image.fromarray(np.asarray(picture.convert("RGB")))  # leaves EXIF and comments behind
    shown.thumbnail((LONGEST_SHOWN, LONGEST_SHOWN))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def read_value(value: object) -> Keypoints:
    """Return the key points of the editor's value, which a stranger may have written.

    Raises:
        PgpisError: It is not such a value, or not a person's pose.
    """
    fields = value if isinstance(value, dict) else {}
    width, height = (_number(fields.get(name), f"{name} of the picture") for name in ("width", "height"))
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise PgpisError(f"skeleton: its picture is {width:g} x {height:g}, expected 1 to {LONGEST_SIDE} pixels a side")
    rows, count = fields.get("points"), POINT_COUNTS["body18"]
    if not isinstance(rows, list) or len(rows) != count or any(not isinstance(row, list) for row in rows):
        raise PgpisError(f"skeleton: expected 'points' with {count} lists 'x, y, known'")
    if any(len(row) != 3 for row in rows):
        raise PgpisError("skeleton: each of its points has x, y and known")
    array = np.array([[_number(number, "a point") for number in row] for row in rows])
    known = np.repeat(array[:, 2:] > 0, 2, axis=1)
    return check_keypoints(Keypoints.from_visible(array[:, :2], known, Frame(height, width), "body18"), "skeleton")


def _number(number: object, name: str) -> float:
    # NaN is not smaller than anything, and a whole number may be too large for a float
    if type(number) not in (int, float) or not abs(number) <= FARTHEST:  # type: ignore[arg-type]
        kind = "a number that is too large" if type(number) in (int, float) else type(number).__name__
        raise PgpisError(f"skeleton: {name} is {kind}, expected a number of pixels")
    return float(number)  # type: ignore[arg-type]


def load_pose(request: Any) -> dict[str, Any]:
    """Read an OpenPose file for the editor in the browser.

    Args:
        request: ``text`` of the file; ``size`` (width, height) of the picture that it is fitted to, or None.

    Returns:
        The editor's value without a picture, or ``{"error": message}``.
    """
    try:
        return value_of(_loaded(request if isinstance(request, dict) else {}))
    except PgpisError as error:
        return {"error": error.message}


def _loaded(request: dict[str, Any]) -> Keypoints:
    text, size = request.get("text"), request.get("size")
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        raise PgpisError(f"expected the text of an OpenPose file of at most {MOST_BYTES:,} bytes")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pose.json"
        file.write_bytes(text.encode("utf-8", "replace"))
        try:
            keypoints = read_keypoints(file).to_body18()
        except PgpisError as error:
            raise PgpisError(error.message.replace(str(file), "the file")) from error
    if not isinstance(size, list) or len(size) != 2:
        return keypoints
    width, height = (_number(side, name) for side, name in zip(size, ("width", "height"), strict=True))
    return placed(keypoints, Frame(height, width))


def save_pose(value: Any) -> dict[str, str]:
    """Return ``text``, the OpenPose file of the editor's value, or ``{"error": message}``."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pose.json"
            write_keypoints(file, read_value(value))
            return {"text": file.read_text("utf-8")}
    except PgpisError as error:
        return {"error": error.message}
