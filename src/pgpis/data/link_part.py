"""What ``pgpis data link`` writes of a split, and what it refuses before anything is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pgpis.data.layouts import Layout
from pgpis.data.layouts.base import KeyPair
from pgpis.data.layouts.found import FoundFiles
from pgpis.data.picture_store import content_hash
from pgpis.errors import PgpisError
from pgpis.files import is_file, printable, resolved, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints

MARK = "pgpis-link.json"
"""Beside lists that were linked: which folder they are of, and the sha256 of what was written, key points included."""
POINTS = "key points"
"""Entry of it: the sha256 of each file of key points, by its path."""


@dataclass(frozen=True)
class Part:
    """A split of the source, and where it goes."""

    source: Path
    origins: Sequence[Layout]
    target: Layout
    pairs: list[KeyPair]

    @cached_property
    def list_content(self) -> bytes:
        """The list in the target's form."""
        return self.target.list_text(self.pairs).encode(errors="backslashreplace")

    @property
    def list_path(self) -> Path:
        """Where the list is written to."""
        return self.target.root / self.target.list_names[0].format(split=self.target.split)

    @cached_property
    def pictures(self) -> list[str]:
        """The key of each picture."""
        return list(dict.fromkeys(key for pair in self.pairs for key in pair))

    @cached_property
    def found(self) -> FoundFiles:
        """Where the source has the files of its pictures."""
        return FoundFiles(self.origins)

    def picture(self, key: str) -> Path:
        """Return where the source has a picture, or should have it."""
        return self.found.path(key, "picture") or self.origins[0].path(key, "picture")

    def place(self, key: str) -> Path:
        """Return where a picture goes, without suffix: what is made of it has the same name."""
        return self.target.new_path(key, "picture", "")

    @cached_property
    def points(self) -> tuple[dict[Path, bytes], list[str]]:
        """Files of key points as the target's readers expect them, and why pictures have none.

        Raises:
            PgpisError: The target cannot hold those of a picture of such a name.
        """
        if self.target.points_frame is None:
            return {}, []
        if not any(origin.has("keypoints") for origin in self.origins):
            where = self.origins[0].place_of("keypoints")
            return {}, [f"{where}: key points missing"] if "keypoints" in self.origins[0].published else []
        points: dict[str, Keypoints] = {}
        reasons, own = [], set()
        for key in self.pictures:
            try:
                origin = self.found.layout(key, "keypoints") or self.origins[0]
                path = origin.path(key, "keypoints")
                points[key] = origin.points(key) or read_keypoints(path)
                own.add(resolved(path))
            except Exception as error:  # noqa: BLE001  readers raise anything on odd files, which cost their picture
                reasons.append(f"{key}: {reason_of(error)}")
        files = self.target.points_files(points)
        return {path: text.encode() for path, text in files.items() if resolved(path) not in own}, reasons

    def refuse(self) -> None:
        """Refuse to write what could not be read again, or in the place of what is somebody else's.

        Raises:
            PgpisError: A name cannot be held, or a list or table of others is there.
        """
        root = self.target.root
        there = self.target.find_list(root, self.target.split)
        content = self.list_content if there is None else there.read_bytes()
        if there is not None and self.list_content != content and marks_in(root).get(there.name) != self.mark(content):
            raise self._not_ours(there, "list", f"the pairs of {self.source}")
        self._refuse_names()
        for path, points in self.points[0].items():
            if path == self.target.place_of("keypoints") and self.is_of_others(path, points):
                raise self._not_ours(path, "table", f"the key points of {self.source}")

    def _not_ours(self, path: Path, what: str, expected: str) -> PgpisError:
        hint = f"choose another --out, or move that {what} away"
        return PgpisError(f"{path} is there already; expected none, or {expected}", hint=hint)

    def _refuse_names(self) -> None:
        """Refuse names that the target's reader would refuse, or take for other pictures."""
        with TemporaryDirectory() as folder:
            place = Path(folder)
            if not self.is_read_back(place):
                alone = (replace(self, pairs=[(key, key)]) for key in self.pictures)
                name = next((part.pairs[0][0] for part in alone if not part.is_read_back(place)), "")
                reason = f"the layout '{self.target.name}' cannot hold the name '{name}' of {self.origins[0].list_path}"
                raise PgpisError(reason, hint="rename it, and in the list too; or choose another layout")

    def is_read_back(self, folder: Path) -> bool:
        """Whether the list would be read as these pairs; it is tried in a folder for nothing else."""
        (folder / self.list_path.name).write_bytes(self.list_content)
        try:
            read = type(self.target)(folder, self.target.split).read_pairs()
        except PgpisError:
            return False
        return [[*map(self.place, pair)] for pair in read] == [[*map(self.place, pair)] for pair in self.pairs]

    def mark(self, content: bytes) -> dict[str, str]:
        """Return what is kept of a list: whose it is, and its hash."""
        return {"source": printable(str(resolved(self.source))), "sha256": _sha256(content)}

    def is_of_others(self, path: Path, content: bytes) -> bool:
        """Whether key points are there that differ from the content to be written, and from what was written."""
        there = path.read_bytes() if is_file(path) else content
        return there != content and self._points_marks.get(self._name(path)) != _sha256(there)

    @cached_property
    def _points_marks(self) -> dict[str, object]:
        return _points_in(marks_in(self.target.root))

    def _name(self, path: Path) -> str:
        return printable(path.relative_to(self.target.root).as_posix())

    def write_marks(self, written: Sequence[Path]) -> None:
        """Mark the list as one of the source, and key points as written here."""
        points = {self._name(path): _sha256(self.points[0][path]) for path in written}
        marks = marks_in(self.target.root)
        marks[self.list_path.name] = self.mark(self.list_content)
        marks[POINTS] = {**_points_in(marks), **points}
        write_text(self.target.root / MARK, json.dumps(marks, indent=0) + "\n")


def refuse_shared(parts: Sequence[Part]) -> None:
    """Refuse two pictures that would get one name, or share what is made of them.

    Raises:
        PgpisError: There are such.
    """
    owners: dict[Path, Path] = {}
    for part in parts:
        for key in part.pictures:
            picture = part.picture(key)
            other = owners.setdefault(part.place(key), picture)
            if picture != other and content_hash(picture) != content_hash(other):
                reason = f"{other} and {picture} would share their files in the layout '{part.target.name}'"
                raise PgpisError(reason, hint="rename one, and in the list too")


def marks_in(folder: Path) -> dict[str, object]:
    """Return what former links have marked in a folder; where that cannot be read, nothing."""
    try:
        marks = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return marks if isinstance(marks, dict) else {}


def _points_in(marks: dict[str, object]) -> dict[str, object]:
    points = marks.get(POINTS)
    return points if isinstance(points, dict) else {}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
