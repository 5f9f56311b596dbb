"""The layout of PCDMs: flat folders of PNG files, JSON lists, key points as shares of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pgpis.data.layouts.base import KeyPair, Kind, Layout, Split, flat_name, is_plain_name, key_of
from pgpis.data.layouts.patn import existing
from pgpis.errors import PgpisError
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints

UNIT = Frame(1, 1, name="unit")
"""``normalized_pose_txt`` holds x and y as shares of width and height."""
POSES = "normalized_pose_txt"


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("*"))


class PCDMLayout(Layout):
    """Flat ``*.png`` in any folder, ``normalized_pose_txt/*.txt``, ``{split}_data.json``."""

    name = "pcdm"
    description = "PCDMs (flat folders of png, normalized_pose_txt/, {split}_data.json)"
    list_names = ("{split}_data.json",)
    FIRST: ClassVar[tuple[str, ...]] = ("{split}_png", "{split}_all_png", "all_data_png", "{split}")

    def __init__(self, root: Path, split: Split) -> None:
        super().__init__(root, split)
        self._folder: str | None = None

    def read_pairs(self) -> list[KeyPair]:
        """Read the list of ``{"source_image", "target_image"}``."""
        entries = enumerate(self._read_entries())
        return [(self._key(number, source), self._key(number, target)) for number, (source, target) in entries]

    def _key(self, number: int, value: str) -> str:
        if not is_plain_name(value):
            raise PgpisError(f"{self.list_path}: pair {number}: '{value}' is not the name of a file in a flat folder")
        return key_of(value)

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of the poses, or the one that holds pictures: one of the usual names, or any with PNGs."""
        if kind == "keypoints":
            return POSES
        if kind != "picture":
            return None
        if self._folder is None:
            usual = [name.format(split=self.split) for name in self.FIRST]
            others = sorted(path.name for path in self.root.glob("*") if path.is_dir() and path.name != POSES)
            folders = [self.root / name for name in [*usual, *others]]
            self._folder = next((folder.name for folder in folders if _has_pictures(folder)), usual[0])
        return self._folder

    def path(self, key: str, kind: Kind) -> Path:
        """Return the file of a flat name."""
        path = self.root / str(self.folder(kind)) / flat_name(key)
        return path.with_suffix(".txt") if kind == "keypoints" else existing(path.with_suffix(".png"))

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points, which are shares of its size.

        Raises:
            PgpisError: The file is missing or malformed, or holds pixels.
        """
        return read_keypoints(self.path(key, "keypoints"), UNIT)
