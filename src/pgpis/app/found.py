"""The pose that a photograph shows."""

from __future__ import annotations

from pathlib import Path

from pgpis.errors import PgpisError
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints


def found_pose(picture: Path, folder: Path) -> Keypoints:
    """Find the pose of the person in a photograph.

    Args:
        picture: The photograph.
        folder: For the file of key points.

    Raises:
        PgpisError: It shows nobody, or cannot be read.
    """
    from pgpis.preprocess.record import NAME, Record  # these load nets' libraries
    from pgpis.preprocess.run import prepare, run_here
    from pgpis.preprocess.settings import PictureFiles, PrepareSettings

    path = folder / "found" / f"{picture.parent.name}.json"
    file = PictureFiles(picture.name, picture, (("pose", path),))
    result = prepare([file], ("pose",), PrepareSettings().settled(), Record(folder / "found" / NAME), run_here)
    for failure in result.failures:
        raise PgpisError(f"{picture.name}: {failure.reason}")
    return read_keypoints(path)
