"""Layouts with a file per picture and kind: FPDM's, MCLD's, NTED's and PCDMs'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pgpis.data.layouts.base import LIST, KeyPair, Layout, key_of
from pgpis.data.names import DATABASE, TREE
from pgpis.data.tables import read_text
from pgpis.errors import PgpisError
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Frame, Keypoints


class FPDMLayout(Layout):
    """Trees ``img/ pose/ pose_img/`` and JSON lists; ``densepose/ texture/ face/`` are ours, for MCLD."""

    name = "fpdm"
    description = "FPDM (img/ pose/ pose_img/, {split}_pairs_data.json)"
    list_names = ("{split}_pairs_data.json",)
    folders: ClassVar = {"picture": ("img",), "keypoints": ("pose",), "drawn": ("pose_img",)}
    prepared = "{option}"
    published = ("picture", "keypoints", "drawn")
    is_flat = False

    def _listed(self, key: str) -> str:
        return f"./img/{key}"

    def _key(self, where: str, value: str) -> str:
        first, *parts = PurePosixPath(value.replace("\\", "/")).parts or ("",)
        if first != "img" or not parts or ".." in parts:
            raise PgpisError(f"{where}: '{value}' is not of the form './img/...'")
        return "/".join(parts)


class MCLDLayout(Layout):
    """Flat ``{split}/`` with ``_densepose``, ``_texture``, ``_face`` beside; ``{split}_pose`` is ours, for FPDM."""

    name = "mcld"
    description = "MCLD ({split}/ {split}_densepose/ {split}_texture/ {split}_face/, {split}.csv)"
    list_names = ("{split}.csv",)
    folders: ClassVar = {"picture": ("{split}",), "keypoints": ("{split}_pose",)}
    prepared = "{split}_{option}"
    published = ("picture", "iuv", "texture", "face")
    points_frame = None  # MCLD itself reads none


class NTEDLayout(Layout):
    """NTED's, PIDM's and X-MDPT's: ``img/`` or LMDBs, ``pose/``, text lists with the target first."""

    name = "nted"
    description = "NTED, PIDM (img/ or an LMDB like 512-352/, pose/, {split}_pairs.txt)"
    list_names = ("{split}_pairs.txt",)
    folders: ClassVar = {"picture": ("img",), "keypoints": ("pose",)}
    is_flat = False
    LMDBS: ClassVar[tuple[str, ...]] = ("512-352", "256-176", "256-256")

    def read_pairs(self) -> list[KeyPair]:
        """Read the list: on each line the target, then its sources; commas or spaces between."""
        lines = read_text(self.list_path, LIST, self._hint).splitlines()
        pairs: list[KeyPair] = []
        for number, line in enumerate(lines, 1):
            where = f"{self.list_path} line {number}"
            names = [name for name in re.split(r"[,;\s]+", line.strip()) if name]
            if len(names) == 1:
                raise PgpisError(f"{where}: expected 'TARGET,SOURCE[,SOURCE...]', found '{line}'")
            if names:
                target, *sources = (self._key(where, name) for name in names)
                pairs += [(source, target) for source in sources]
        return pairs

    def list_text(self, pairs: Sequence[KeyPair]) -> str:
        """Return a line for each pair."""
        return "".join(f"{target},{source}\n" for source, target in pairs)

    def _key(self, where: str, value: str) -> str:
        name = PurePosixPath(value.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise PgpisError(f"{where}: '{value}' points outside the folder")
        key = key_of(str(PurePosixPath(*name.parts[1:]) if name.parts[0] == "img" else name))
        stem, _, suffix = key.rpartition(".")
        return f"{stem}.jpg" if suffix and TREE.fullmatch(stem) else key

    def folder(self, kind: str) -> str | None:
        """Return the folder of a kind of file; an LMDB counts as one."""
        if kind == "picture" and not (self.root / "img").is_dir():
            return next((name for name in self.LMDBS if (self.root / name / DATABASE).is_file()), "img")
        return super().folder(kind)

    def path(self, key: str, kind: str) -> Path:
        """Return the file, or the name of an entry of an LMDB: ``ROOT/512-352/data.mdb/KEY.png``."""
        database = self.root / str(self.folder(kind)) / DATABASE
        is_entry = kind == "picture" and database.is_file()
        return (database / key).with_suffix(".png") if is_entry else super().path(key, kind)


class PCDMLayout(Layout):
    """Flat ``*.png`` in any folder, JSON lists; ``normalized_pose_txt/*.txt`` holds shares of width and height."""

    name = "pcdm"
    description = "PCDMs (flat folders of png, normalized_pose_txt/, {split}_data.json)"
    list_names = ("{split}_data.json",)
    folders: ClassVar = {
        "picture": ("{split}_png", "{split}_all_png", "all_data_png", "{split}"),
        "keypoints": ("normalized_pose_txt",),
    }
    points_frame: ClassVar[Frame] = Frame(1, 1, name="unit")

    @cached_property
    def _pictures(self) -> str:
        """The folder that holds pictures: one of the usual names, or any with pictures."""
        usual = [name.format(split=self.split) for name in self.folders["picture"]]
        poses = self.folders["keypoints"]
        others = sorted(path.name for path in self.root.glob("[!.]*") if path.is_dir() and path.name not in poses)
        return next((name for name in [*usual, *others] if _has_pictures(self.root / name)), usual[0])

    def folder(self, kind: str) -> str | None:
        """Return the folder of a kind of file."""
        return self._pictures if kind == "picture" else super().folder(kind)

    def path(self, key: str, kind: str) -> Path:
        """Return the file of a flat name; pictures are PNGs."""
        return super().path(str(Path(key).with_suffix(".png")) if kind == "picture" else key, kind)

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points, which are shares of its size; pixels are refused."""
        return read_keypoints(self.path(key, "keypoints"), self.points_frame)


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("[!.]*"))
