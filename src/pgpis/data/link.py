"""One layout of a data set from another: links to pictures, and new lists and key points."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import get_args

from pgpis.data.layouts import Layout, LayoutName, Split, layout_named, layouts_in
from pgpis.data.layouts.base import KeyPair
from pgpis.data.picture_store import DATABASE
from pgpis.errors import PgpisError
from pgpis.files import UnwritableError, is_file, locked, printable, write_bytes, write_refusal, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import all_kinds

MARK = "pgpis-link.json"
"""Beside lists that were linked: which folder they are of, and the sha256 of what was written."""


@dataclass
class LinkReport:
    """What was linked and written."""

    links: int = 0
    already: int = 0
    lists: int = 0
    missing: list[str] = field(default_factory=list)
    """What a list names and the source does not have, or not readable."""


@dataclass(frozen=True)
class _Part:
    """A split of the source, and where it goes."""

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


def link_layout(source: Path, out: Path, to: LayoutName) -> LinkReport:
    """Lay a data set out anew; nothing is copied, pictures become symbolic links.

    Args:
        source: Folder in any layout.
        out: Folder to write to; may be ``source`` itself, beside the layouts that it has.
        to: Layout to make.

    Raises:
        PgpisError: The source has no layout, keeps its pictures in an LMDB, or ``to`` is what it has already; or
            ``out`` has a list of other pairs, which was not linked from the source.
    """
    origins = layouts_in(source)
    if not origins:
        raise PgpisError(f"{source} has no layout that pgpis knows", hint=f"pgpis data check {source}")
    if layout_named(to) in origins and out.resolve() == source.resolve():
        raise PgpisError(f"{source} already has the layout '{to}'")
    report = LinkReport()
    with locked(out):
        found = (_part_of([layout(source, split) for layout in origins], out, to, split) for split in get_args(Split))
        parts = [part for part in found if part is not None]
        for part in parts:
            _refuse_other_list(part, source)
        for part in parts:
            _link_part(part, report)
            _write_list(part, source)
            report.lists += 1
    report.missing = list(dict.fromkeys(report.missing))  # both splits may lack the same
    return report


def _part_of(origins: Sequence[Layout], out: Path, to: LayoutName, split: Split) -> _Part | None:
    """Return a split with its pairs; None: the source has no list of its own for it."""
    first = origins[0]
    if first.split != split or not first.list_path.is_file():
        return None
    if (first.root / str(first.folder("picture")) / DATABASE).is_file():
        raise PgpisError(f"{first.root} keeps its pictures in an LMDB, which cannot be linked to")
    target = layout_named(to)(out, split)
    target.split = split  # it would take the test list in place of a validation list that is only being made
    return _Part(origins, target, first.read_pairs())


def _refuse_other_list(part: _Part, source: Path) -> None:
    """Refuse to take the place of a list that is of another data set."""
    there = part.target.find_list(part.target.root, part.target.split)
    if there is None or there.read_bytes() == part.list_content:
        return
    if _marks(part.target.root).get(there.name) != _mark(source, there.read_bytes()):
        raise PgpisError(
            f"{there} is there already; expected none, or the pairs of {source}",
            hint="choose another --out, or move that list away",
        )


def _link_part(part: _Part, report: LinkReport) -> None:
    """Link the pictures of a split, and write its key points."""
    pictures = list(dict.fromkeys(key for pair in part.pairs for key in pair))
    for key in pictures:
        try:
            _link_picture(key, part.origins, part.target, report)
        except (OSError, ValueError) as error:  # a name that the file system does not take, say
            refusal = write_refusal(part.target.root, error)
            if isinstance(refusal, UnwritableError):
                raise refusal from error
            report.missing.append(f"{key}: {reason_of(refusal or error)}")
    report.missing += _write_points(pictures, part.origins, part.target)


def _write_list(part: _Part, source: Path) -> None:
    """Write the list, and mark that it is of the source."""
    write_bytes(part.list_path, part.list_content)
    marks = {**_marks(part.target.root), part.list_path.name: _mark(source, part.list_content)}
    write_text(part.target.root / MARK, json.dumps(marks, indent=0) + "\n")


def _mark(source: Path, content: bytes) -> dict[str, str]:
    return {"source": printable(str(source.resolve())), "sha256": hashlib.sha256(content).hexdigest()}


def _marks(folder: Path) -> dict[str, object]:
    """Return what former links have marked in a folder; where that cannot be read, nothing."""
    try:
        marks = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return marks if isinstance(marks, dict) else {}


def _link_picture(key: str, origins: Sequence[Layout], target: Layout, report: LinkReport) -> None:
    """Link every file of a picture that both sides know."""
    for kind in all_kinds():
        origin = next((layout for layout in origins if layout.has(kind.name)), None)
        if kind.name == "keypoints" or origin is None or target.folder(kind.name) is None:
            continue
        there = origin.path(key, kind.name)
        if not is_file(there):
            report.missing += [] if kind.is_optional else [str(there)]
            continue
        here = target.new_path(key, kind.name, there.suffix)
        if here.resolve() == there.resolve():
            report.already += 1
            continue
        if here.exists() and not here.is_symlink():
            raise PgpisError(f"{here} is there already, and no link", hint="choose another --out, or remove it")
        here.unlink(missing_ok=True)  # a link to what has been moved, or to another data set
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(os.path.relpath(there.resolve(), here.parent.resolve()))
        report.links += 1


def _write_points(keys: Sequence[str], origins: Sequence[Layout], target: Layout) -> list[str]:
    """Write key points as the target's readers expect them; return why pictures have none."""
    origin = next((layout for layout in origins if layout.has("keypoints")), None)
    if target.points_frame is None:
        return []
    if origin is None:
        where = origins[0].place_of("keypoints")
        return [f"{where}: key points missing"] if "keypoints" in origins[0].published else []
    points: dict[str, Keypoints] = {}
    reasons = []
    for key in keys:
        try:
            points[key] = origin.points(key) or read_keypoints(origin.path(key, "keypoints"))
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files, which cost their picture alone
            reasons.append(f"{key}: {reason_of(error)}")
    target.write_points(points)
    return reasons
