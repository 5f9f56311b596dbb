"""Where the files of DeepFashion lie: one class per published layout, all naming pictures the same way.

A picture's *key* is its tree name, ``WOMEN/Shorts/id_00005138/03_4_full.jpg``, in every layout; pictures of one's own
that are named otherwise keep the name that the layout's list has.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pgpis.data.names import FLAT, TREE, flat_to_tree, tree_to_flat
from pgpis.errors import PgpisError

Split = Literal["train", "val", "test"]
Kind = Literal["picture", "keypoints", "drawn", "iuv", "texture", "face"]
LayoutName = Literal["fpdm", "mcld"]
KeyPair = tuple[str, str]
"""Keys of source and target."""


class Layout(ABC):
    """One way to lay the data set out.

    Args:
        root: Folder of the data set.
        split: Which of its lists; a layout without a validation list takes the test list.
    """

    name: ClassVar[LayoutName]
    description: ClassVar[str]
    list_name: ClassVar[str]
    """Name of a list of pairs, with ``{split}``."""

    def __init__(self, root: Path, split: Split) -> None:
        self.root = root
        own_list = root / self.list_name.format(split=split)
        self.split: Split = "test" if split == "val" and not own_list.is_file() else split
        self.list_path = root / self.list_name.format(split=self.split)

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether a folder has a list of this layout."""
        return any((root / cls.list_name.format(split=split)).is_file() for split in ("train", "val", "test"))

    @abstractmethod
    def read_pairs(self) -> list[KeyPair]:
        """Read the list.

        Raises:
            PgpisError: The list is missing or malformed, or a name leaves the folder.
        """

    @abstractmethod
    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file, relative to the root; None: this layout has no such files."""

    @abstractmethod
    def path(self, key: str, kind: Kind) -> Path:
        """Return where a picture's file of a kind is, or would be."""

    def has(self, kind: Kind) -> bool:
        """Whether the data set has any files of a kind in this layout."""
        folder = self.folder(kind)
        return folder is not None and (self.root / folder).is_dir()

    def _list_error(self, error: Exception) -> PgpisError:
        hint = f"pgpis data check {self.root}"
        if isinstance(error, FileNotFoundError):
            return PgpisError(f"list of pairs not found: {self.list_path}", hint=hint)
        return PgpisError(f"cannot read the list of pairs {self.list_path}: {error}", hint=hint)


class FPDMLayout(Layout):
    """Trees ``img/ pose/ pose_img/`` and JSON lists."""

    name = "fpdm"
    description = "FPDM (img/ pose/ pose_img/, {split}_pairs_data.json)"
    list_name = "{split}_pairs_data.json"

    FOLDERS: ClassVar[dict[Kind, tuple[str, str | None]]] = {
        "picture": ("img", None),
        "keypoints": ("pose", ".txt"),
        "drawn": ("pose_img", None),
    }

    def read_pairs(self) -> list[KeyPair]:
        """Read the list of ``{"source_image", "target_image"}``."""
        try:
            content: Any = json.loads(self.list_path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise self._list_error(error) from error
        if not isinstance(content, list):
            raise PgpisError(
                f'{self.list_path}: expected a list of {{"source_image": ..., "target_image": ...}}',
                hint=f"pgpis data check {self.root}",
            )
        return [
            (self._key(number, entry, "source_image"), self._key(number, entry, "target_image"))
            for number, entry in enumerate(content)
        ]

    def _key(self, number: int, entry: Any, field: str) -> str:
        value = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(value, str):
            raise PgpisError(f"{self.list_path}: pair {number} has no '{field}'")
        name = PurePosixPath(value.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or len(name.parts) < 2 or name.parts[0] != "img":
            raise PgpisError(f"{self.list_path}: pair {number}: '{value}' is not of the form './img/...'")
        return "/".join(name.parts[1:])

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file."""
        return self.FOLDERS[kind][0] if kind in self.FOLDERS else None

    def path(self, key: str, kind: Kind) -> Path:
        """Return ``ROOT/FOLDER/KEY`` with the kind's suffix."""
        folder, suffix = self.FOLDERS[kind]
        path = self.root / folder / key
        return path if suffix is None else path.with_suffix(suffix)


class MCLDLayout(Layout):
    """Flat folders ``{split}/`` with ``_densepose``, ``_texture``, ``_face`` beside them, and CSV lists."""

    name = "mcld"
    description = "MCLD ({split}/ {split}_densepose/ {split}_texture/ {split}_face/, {split}.csv)"
    list_name = "{split}.csv"

    SUFFIXES: ClassVar[dict[Kind, tuple[str, str | None]]] = {
        "picture": ("", None),
        "iuv": ("_densepose", ".png"),
        "texture": ("_texture", ".png"),
        "face": ("_face", ".npy"),
    }

    def read_pairs(self) -> list[KeyPair]:
        """Read the table ``from,to`` of flat names."""
        try:
            with self.list_path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise self._list_error(error) from error
        return [(self._key(number, row, "from"), self._key(number, row, "to")) for number, row in enumerate(rows, 2)]

    def _key(self, line: int, row: dict[str, str | None], column: str) -> str:
        value = (row.get(column) or "").strip()
        if not value:
            raise PgpisError(f"{self.list_path} line {line}: no '{column}'; the first line must be 'from,to'")
        if PurePosixPath(value.replace("\\", "/")).name != value or value in (".", ".."):
            raise PgpisError(f"{self.list_path} line {line}: '{value}' is not the name of a file in {self.split}/")
        return flat_to_tree(value) if FLAT.fullmatch(PurePosixPath(value).stem) else value

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file."""
        return f"{self.split}{self.SUFFIXES[kind][0]}" if kind in self.SUFFIXES else None

    def path(self, key: str, kind: Kind) -> Path:
        """Return ``ROOT/{split}{suffix}/FLAT_NAME``."""
        suffix = self.SUFFIXES[kind][1]
        flat = tree_to_flat(key) if TREE.fullmatch(key.rpartition(".")[0]) else key
        path = self.root / str(self.folder(kind)) / flat
        return path if suffix is None else path.with_suffix(suffix)


LAYOUTS: tuple[type[Layout], ...] = (FPDMLayout, MCLDLayout)


def layouts_of(root: Path, split: Split, wanted: str = "auto") -> list[Layout]:
    """Return the layouts that a folder has, the one whose list is read first.

    Args:
        root: Folder of the data set.
        split: Which list.
        wanted: Name of the layout whose list is read; ``auto``: the first that is found.

    Raises:
        PgpisError: The folder is missing, or has no (or not the wanted) layout.
    """
    if not root.is_dir():
        raise PgpisError(f"DeepFashion folder not found: {root}", hint="set data.*.init_args.root to your folder")
    found = [layout for layout in LAYOUTS if layout.found(root)]
    if wanted != "auto":
        first = next(layout for layout in LAYOUTS if layout.name == wanted)
        found = [first, *(layout for layout in found if layout is not first)]
    if not found:
        known = " or ".join(layout.list_name.format(split=split) for layout in LAYOUTS)
        raise PgpisError(f"list of pairs not found in {root}: {known}", hint=f"pgpis data check {root}")
    return [layout(root, split) for layout in found]
