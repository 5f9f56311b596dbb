"""A library of named poses."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.resources import files

from PIL import Image

from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoints import Frame, Keypoints

FRAME = Frame(256, 176, name="named pose")
"""Of named poses and thumbnails."""


def named_poses() -> dict[str, Keypoints]:
    """Return the poses by their names, as body-18 in :data:`FRAME`."""
    table = tomllib.loads((files("pgpis.app") / "poses.toml").read_text("utf-8"))
    return {name: Keypoints.from_array(points, FRAME, "body18") for name, points in table.items()}


def placed(keypoints: Keypoints, frame: Frame) -> Keypoints:
    """Return key points as large as their picture fits into another frame, in its middle, and not distorted."""
    return replace(keypoints, frame=keypoints.frame.padded(frame.width / frame.height)).to(frame)


def thumbnail(keypoints: Keypoints) -> Image.Image:
    """Draw a pose, 176 x 256 pixels."""
    return Image.fromarray(draw_pose(placed(keypoints, FRAME), round(FRAME.height), round(FRAME.width)))
