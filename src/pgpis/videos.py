"""Videos of what ``pgpis predict`` made: source, pose, truth and result side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pgpis.errors import PgpisError
from pgpis.files import replacing
from pgpis.images import read_image

FRAMES_PER_SECOND = 25.0


@dataclass(frozen=True)
class FrameFiles:
    """The pictures of one frame, from left to right; all are brought to the last one's size."""

    pictures: tuple[Path, ...]


def write_video(path: Path, frames: Sequence[FrameFiles], frames_per_second: float = FRAMES_PER_SECOND) -> None:
    """Write an mp4 in which each frame shows its pictures side by side; nobody ever sees half of it.

    Raises:
        PgpisError: There are no frames, a picture cannot be read, or OpenCV cannot write the format.
    """
    if not frames:
        raise PgpisError(f"{path}: no frames")
    size = read_image(frames[0].pictures[-1]).size
    width = size[0] * len(frames[0].pictures)
    shape = (width + width % 2, size[1] + size[1] % 2)  # the format takes even sizes only
    with replacing(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, shape)
        if not writer.isOpened():
            raise PgpisError(f"{path}: this OpenCV cannot write mp4", hint="pip install opencv-python-headless")
        for frame in frames:
            row = np.zeros((shape[1], shape[0], 3), np.uint8)
            pictures = [np.asarray(read_image(picture).resize(size)) for picture in frame.pictures]
            row[: size[1], :width] = np.concatenate(pictures, axis=1)
            writer.write(np.ascontiguousarray(row[..., ::-1]))
        writer.release()
