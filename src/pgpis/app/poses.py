"""A library of named poses."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import numpy as np
from PIL import Image

from pgpis.pictures.drawing import draw_pose
from pgpis.pictures.keypoints import Frame, Keypoints

FRAME = Frame(256, 176, name="named pose")
THUMBNAIL = (256, 176)
"""(height, width) in pixels."""


def named_poses() -> dict[str, Keypoints]:
    """Return the poses by their names, as body-18 in a frame of 176 x 256 pixels."""
    table = tomllib.loads((files("pgpis.app") / "poses.toml").read_text("utf-8"))
    return {name: Keypoints.from_array(points, FRAME, "body18") for name, points in table.items()}


def thumbnail(keypoints: Keypoints) -> Image.Image:
    """Draw a pose as large as fits into :data:`THUMBNAIL`, in its middle."""
    height, width = THUMBNAIL
    frame = keypoints.frame.padded(width / height)
    drawn = draw_pose(Keypoints(keypoints.points, keypoints.visible, frame, keypoints.skeleton), height, width)
    return Image.fromarray(np.asarray(drawn))
