"""Where the files of DeepFashion lie: one class per published layout, all naming pictures the same way.

A picture's *key* is its tree name, ``WOMEN/Shorts/id_00005138/03_4_full.jpg``, in every layout; pictures of one's own
that are named otherwise keep the name that the layout's list has.
"""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Mapping, Sequence
from os.path import split, splitext
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, get_args

from pgpis.data.names import FLAT, TREE, LayoutName, as_on_disk, flat_to_tree, names_in, tree_to_flat
from pgpis.data.tables import csv_text, read_json, read_rows, read_text
from pgpis.errors import PgpisError
from pgpis.files import files_below, is_file
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoint_files import points_text
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, Frame, Keypoints
from pgpis.pictures.kinds import conditions, kind_of

Split = Literal["train", "val", "test"]
LIST = "list of pairs"
FIELDS, COLUMNS = ("source_image", "target_image"), ("from", "to")
"""What lists call source and target, as JSON and as a table."""
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
    folders: ClassVar[Mapping[str, tuple[str, ...]]]
    """Folders that may hold the files of a kind, with ``{split}``; where none is there, the last one counts."""
    prepared: ClassVar[str | None] = None
    """Folder of each condition that is not in ``folders``, with ``{split}`` and ``{option}``; None: it has no place."""
    published: ClassVar[tuple[str, ...]] = ("picture", "keypoints")
    """Kinds that the published layout has; ``pgpis prepare`` adds others."""
    is_flat: ClassVar[bool] = True
    """Whether files have flat names, in place of a tree of folders."""
    points_frame: ClassVar[Frame | None] = DEEPFASHION_FRAME
    """What the key points refer to that :meth:`points_files` holds; None: the layout has none."""

    def __init__(self, root: Path, split: Split) -> None:
        self.root = root
        self.split: Split = "test" if split == "val" and self.find_list(root, split) is None else split
        own_list = self.find_list(root, self.split)
        self.list_path = own_list or root / self.list_names[0].format(split=self.split)
        self._hint = f"pgpis data check {root}"
        self._names: dict[str, frozenset[str]] = {}

    @classmethod
    def find_list(cls, root: Path, split: Split) -> Path | None:
        """Return the list of a split, if there is one."""
        names = (root / name.format(split=split) for name in cls.list_names)
        return next((path for path in names if is_file(path)), None)

    @classmethod
    def is_in(cls, root: Path) -> bool:
        """Whether a folder has a list of this layout."""
        return root.is_dir() and any(cls.find_list(root, split) is not None for split in get_args(Split))

    def read_pairs(self) -> list[KeyPair]:
        """Read the list: JSON of ``{"source_image", "target_image"}``, or a table ``from,to``.

        Raises:
            PgpisError: The list is missing or malformed, or a name leaves the folder.
        """
        is_json = self.list_path.suffix == ".json"
        rows, (source, target) = (self._entries(), FIELDS) if is_json else (self._lines(), COLUMNS)
        return [(self._named(where, row, source), self._named(where, row, target)) for where, row in rows]

    def distinct_pairs(self) -> list[KeyPair]:
        """Read the list, whose pictures have names of their own: what is made of one has its name without suffix.

        Raises:
            PgpisError: As :meth:`read_pairs`, or two pictures of the list differ in their suffix alone.
        """
        pairs = self.read_pairs()
        owners: dict[str, str] = {}
        for key in dict.fromkeys(key for pair in pairs for key in pair):
            other = owners.setdefault(splitext(key)[0], key)  # noqa: PTH122  of a million keys
            if other != key:
                message = (
                    f"{self.list_path}: {other} and {key} differ in their suffix alone, and would share their files"
                )
                raise PgpisError(message, hint="rename one, and in the list too; or name one of them alone")
        return pairs

    def read_pictures(self) -> list[str]:
        """Return the keys of all pictures of the split, also of those in no pair; none where nothing tells them.

        They are those that ``{split}.lst`` names, else those in the folder of the split, if it has one of its own.

        Raises:
            PgpisError: The list is malformed, or a name leaves the folder.
        """
        path = self.root / f"{self.split}.lst"
        if is_file(path):
            lines = enumerate(read_text(path, "list of pictures", self._hint).splitlines(), 1)
            return [self._picture_key(f"{path} line {number}", line.strip()) for number, line in lines if line.strip()]
        return self._pictures_below() if self._is_parted else []

    def all_pictures(self) -> list[str]:
        """Return the keys of the pictures of all splits; none where they lie in a folder for each split."""
        return [] if self._is_parted else self._pictures_below()

    @property
    def _is_parted(self) -> bool:
        names = (name for name in self.folders["picture"] if "{split}" in name)
        return self.folder("picture") in [name.format(split=self.split) for name in names]

    def _pictures_below(self) -> list[str]:
        folder = self.place_of("picture")
        files = [path for path in files_below(folder, hidden=False) if path.suffix.lower() in IMAGE_SUFFIXES]
        names = [path.relative_to(folder).as_posix() for path in files]
        return list(map(key_of, names)) if self.is_flat else names

    def _picture_key(self, where: str, name: str) -> str:
        """Return the key of a picture in a list of pictures: flat in any layout, or as lists of pairs spell it."""
        return self._key(where, name) if "/" in name else Layout._key(self, where, name)

    def folder(self, kind: str) -> str | None:
        """Return the folder of a kind of file, relative to the root; None: this layout has no such files."""
        names = self.folders.get(kind, ())
        if not names and self.prepared and conditions([kind]):
            names = (self.prepared,)
        places = [name.format(split=self.split, option=kind_of(kind).option) for name in names]
        return next((place for place in places[:-1] if (self.root / place).is_dir()), places[-1] if places else None)

    def place_of(self, kind: str) -> Path:
        """Return the folder that holds the files of a kind, or the table that holds them."""
        return self.root / str(self.folder(kind))

    def path(self, key: str, kind: str) -> Path:
        """Return where a picture's file of a kind is, or would be; a picture may have another suffix than its key."""
        path = self._below(str(self.folder(kind)), key)
        suffix = kind_of(kind).suffix
        return existing(path) if suffix is None else as_on_disk(path.with_suffix(suffix))

    def new_path(self, key: str, kind: str, suffix: str) -> Path:
        """Return where a new file goes, whatever lies there already."""
        place = (self.folders.get(kind) or (str(self.folder(kind)),))[-1].format(split=self.split)
        return self._below(place, key).with_suffix(suffix)

    def _below(self, folder: str, key: str) -> Path:
        return self.root / folder / (flat_name(key) if self.is_flat else key)

    def points(self, key: str) -> Keypoints | None:
        """Return a picture's key points where the layout has its own way to keep them; None: in plain files.

        Raises:
            PgpisError: They are missing or malformed.
        """
        return None

    def has(self, kind: str) -> bool:
        """Whether the data set has any files of a kind in this layout."""
        folder = self.folder(kind)
        return folder is not None and (self.root / folder).is_dir()

    def has_place_for(self, kind: str) -> bool:
        """Whether files as ``pgpis prepare`` makes them can lie here; some layouts keep key points in another way."""
        return self.folder(kind) is not None and (kind != "keypoints" or type(self).points is Layout.points)

    def find(self, key: str, kind: str) -> Path | None:
        """Return where a picture's file of a kind is; None: it is not there. Each folder is listed once."""
        path = self.path(key, kind)
        folder, name = split(path)  # noqa: PTH  of a million files
        if folder not in self._names:
            self._names[folder] = names_in(Path(folder))
        return path if name in self._names[folder] else None

    def list_text(self, pairs: Sequence[KeyPair]) -> str:
        """Return the list of the split, as :meth:`read_pairs` reads it."""
        names = [tuple(map(self._listed, pair)) for pair in pairs]
        if self.list_names[0].endswith(".json"):
            return json.dumps([dict(zip(FIELDS, pair, strict=True)) for pair in names], indent=0) + "\n"
        return csv_text([COLUMNS, *names])

    def points_files(self, points: Mapping[str, Keypoints]) -> dict[Path, str]:
        """Return the files that hold key points, which are given by the key of their picture, and their content.

        Raises:
            PgpisError: The layout cannot hold those of a picture of such a name.
        """
        frame = self.points_frame
        if frame is None:
            return {}
        return {self.path(key, "keypoints"): points_text(keypoints.to(frame)) for key, keypoints in points.items()}

    def _listed(self, key: str) -> str:
        """Return how the list names a picture."""
        return flat_name(key)

    def _key(self, where: str, value: str) -> str:
        """Return the key of a picture that the list names."""
        if PurePosixPath(value.replace("\\", "/")).name != value or value in ("", ".", ".."):
            raise PgpisError(f"{where}: '{value}' is not the name of a file in a flat folder")
        return key_of(value)

    def _named(self, where: str, row: Mapping[str, object], field: str) -> str:
        value = row.get(field)
        if not isinstance(value, str) or not value:
            raise PgpisError(f"{where}: no '{field}'")
        return self._key(where, value)

    def _lines(self) -> list[tuple[str, dict[str, str]]]:
        lines = read_rows(self.list_path, LIST, self._hint)
        columns = lines[0][1] if lines else []
        if not set(COLUMNS) <= set(columns):
            raise PgpisError(f"{self.list_path}: the first line must be 'from,to', not '{','.join(columns)}'")
        if twice := [column for column in COLUMNS if columns.count(column) > 1]:
            raise PgpisError(f"{self.list_path}: two columns are called '{twice[0]}'", hint="remove one of them")
        # a line that is too short lacks a column, which is named; further columns are nobody's
        rows = ((number, dict(zip(columns, fields, strict=False))) for number, fields in lines[1:])
        return [(f"{self.list_path} line {number}", row) for number, row in rows]

    def _entries(self) -> list[tuple[str, dict[str, object]]]:
        content = read_json(self.list_path, LIST, self._hint)
        if not isinstance(content, list):
            expected = 'a list of {"source_image": ..., "target_image": ...}'
            raise PgpisError(f"{self.list_path}: expected {expected}", hint=self._hint)
        entries = (entry if isinstance(entry, dict) else {} for entry in content)
        return [(f"{self.list_path}: pair {number}", entry) for number, entry in enumerate(entries)]


def key_of(name: str) -> str:
    """Return the key of a picture that a list names by its flat name; other spellings are kept.

    Suffixes differ between layouts (``.jpg``, ``.png``), so the key takes ``.jpg`` where the name is DeepFashion's.
    """
    stem = PurePosixPath(name).stem
    return flat_to_tree(f"{stem}.jpg") if FLAT.fullmatch(stem) else name


def flat_name(key: str) -> str:
    """Return the flat name of a key."""
    return tree_to_flat(key) if TREE.fullmatch(key.rpartition(".")[0]) else key


def existing(path: Path) -> Path:
    """Return the file, or the one of the same name with another suffix of pictures, where that is there."""
    others = (as_on_disk(path.with_suffix(suffix)) for suffix in (path.suffix, ".jpg", ".png", ".jpeg"))
    return next((other for other in others if is_file(other)), path)
