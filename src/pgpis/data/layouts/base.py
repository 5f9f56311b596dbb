"""Where the files of DeepFashion lie: one class per published layout, all naming pictures the same way.

A picture's *key* is its tree name, ``WOMEN/Shorts/id_00005138/03_4_full.jpg``, in every layout; pictures of one's own
that are named otherwise keep the name that the layout's list has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pgpis.data.names import FLAT, TREE, LayoutName, flat_to_tree, tree_to_flat
from pgpis.data.tables import read_json, read_rows
from pgpis.errors import PgpisError
from pgpis.files import is_file
from pgpis.pictures.keypoints import Keypoints

Split = Literal["train", "val", "test"]
Kind = Literal["picture", "keypoints", "drawn", "iuv", "texture", "face"]
LIST = "list of pairs"
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
    list_names: ClassVar[tuple[str, ...]]
    """Names that a list of pairs may have, with ``{split}``; the first one is written by pgpis."""
    extra: ClassVar[frozenset[Kind]] = frozenset()
    """Kinds of files that the published layout has no place for, and ``pgpis prepare`` adds."""

    def __init__(self, root: Path, split: Split) -> None:
        self.root = root
        own_list = self.find_list(root, split)
        self.split: Split = "test" if split == "val" and own_list is None else split
        if own_list is None:
            own_list = self.find_list(root, self.split)
        self.list_path = own_list or root / self.list_names[0].format(split=self.split)

    @classmethod
    def find_list(cls, root: Path, split: Split) -> Path | None:
        """Return the list of a split, if there is one."""
        names = (root / name.format(split=split) for name in cls.list_names)
        return next((path for path in names if is_file(path)), None)

    @classmethod
    def found(cls, root: Path) -> bool:
        """Whether a folder has a list of this layout."""
        return any(cls.find_list(root, split) is not None for split in ("train", "val", "test"))

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

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points where the layout keeps them in a table; None: it keeps files."""
        return None

    def has(self, kind: Kind) -> bool:
        """Whether the data set has any files of a kind in this layout."""
        folder = self.folder(kind)
        return folder is not None and (self.root / folder).is_dir()

    def _read_table(self) -> list[KeyPair]:
        """Read a table ``from,to`` of flat names."""
        lines = read_rows(self.list_path, LIST, self._hint)
        columns = lines[0][1] if lines else []
        rows = [(number, dict(zip(columns, fields, strict=False))) for number, fields in lines[1:]]
        if not {"from", "to"} <= set(columns):
            raise PgpisError(f"{self.list_path}: the first line must be 'from,to', not '{','.join(columns)}'")
        return [(self._cell(number, row, "from"), self._cell(number, row, "to")) for number, row in rows]

    def _cell(self, line: int, row: dict[str, str], column: str) -> str:
        value = row.get(column, "")
        if not value:
            raise PgpisError(f"{self.list_path} line {line}: no '{column}'; the first line must be 'from,to'")
        if not is_plain_name(value):
            raise PgpisError(f"{self.list_path} line {line}: '{value}' is not the name of a file in {self.split}/")
        return key_of(value)

    def _read_entries(self) -> list[tuple[str, str]]:
        """Read a list of ``{"source_image": ..., "target_image": ...}`` as it is written."""
        content = read_json(self.list_path, LIST, self._hint)
        if not isinstance(content, list):
            raise PgpisError(
                f'{self.list_path}: expected a list of {{"source_image": ..., "target_image": ...}}',
                hint=self._hint,
            )
        return [
            (self._entry(number, entry, "source_image"), self._entry(number, entry, "target_image"))
            for number, entry in enumerate(content)
        ]

    def _entry(self, number: int, entry: Any, field: str) -> str:
        value = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(value, str):
            raise PgpisError(f"{self.list_path}: pair {number} has no '{field}'")
        return value

    @property
    def _hint(self) -> str:
        return f"pgpis data check {self.root}"


def key_of(name: str) -> str:
    """Return the key of a picture that a list names by its flat name; other spellings are kept.

    Suffixes differ between layouts (``.jpg``, ``.png``), so the key takes ``.jpg`` where the name is DeepFashion's.
    """
    stem = PurePosixPath(name).stem
    return flat_to_tree(f"{stem}.jpg") if FLAT.fullmatch(stem) else name


def flat_name(key: str) -> str:
    """Return the flat name of a key."""
    return tree_to_flat(key) if TREE.fullmatch(key.rpartition(".")[0]) else key


def is_plain_name(name: str) -> bool:
    """Whether a name is that of a file in a folder, and leads nowhere else."""
    return PurePosixPath(name.replace("\\", "/")).name == name and name not in ("", ".", "..")


def is_inside(name: PurePosixPath) -> bool:
    """Whether a relative name stays below its folder."""
    return not name.is_absolute() and ".." not in name.parts and bool(name.parts)
