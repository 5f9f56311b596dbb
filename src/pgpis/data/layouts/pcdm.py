"""The layout of PCDMs: flat folders of PNG files, JSON lists, key points as fractions of the picture's size."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pgpis.data.layouts.base import Layout
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints

UNIT = Frame(1, 1, name="unit")
"""``normalized_pose_txt`` holds x and y as shares of width and height."""
POSES = "normalized_pose_txt"


class PCDMLayout(Layout):
    """Flat ``*.png`` in any folder, ``normalized_pose_txt/*.txt``, ``{split}_data.json``."""

    name = "pcdm"
    description = "PCDMs (flat folders of png, normalized_pose_txt/, {split}_data.json)"
    list_names = ("{split}_data.json",)
    folders: ClassVar = {
        "picture": ("{split}_png", "{split}_all_png", "all_data_png", "{split}"),
        "keypoints": (POSES,),
    }
    points_frame = UNIT

    @cached_property
    def _pictures(self) -> str:
        """The folder that holds pictures: one of the usual names, or any with pictures."""
        usual = [name.format(split=self.split) for name in self.folders["picture"]]
        others = sorted(path.name for path in self.root.glob("*") if path.is_dir() and path.name != POSES)
        return next((name for name in [*usual, *others] if _has_pictures(self.root / name)), usual[0])

    def folder(self, kind: str) -> str | None:
        """Return the folder of a kind of file."""
        return self._pictures if kind == "picture" else super().folder(kind)

    def path(self, key: str, kind: str) -> Path:
        """Return the file of a flat name; pictures are PNGs."""
        return super().path(str(Path(key).with_suffix(".png")) if kind == "picture" else key, kind)

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points, which are fractions of its size.

        Raises:
            PgpisError: The file is missing or malformed, or holds pixels.
        """
        return read_keypoints(self.path(key, "keypoints"), UNIT)


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("*"))
