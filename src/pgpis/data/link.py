"""One layout of a data set from another: links to pictures, and new lists and key points."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pgpis.data.layouts import Layout, LayoutName, Split, layout_named, layouts_in
from pgpis.data.picture_store import DATABASE
from pgpis.errors import PgpisError
from pgpis.files import UnwritableError, is_file, locked, write_refusal, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.kinds import all_kinds


@dataclass
class LinkReport:
    """What was linked and written."""

    links: int = 0
    already: int = 0
    lists: int = 0
    missing: list[str] = field(default_factory=list)
    """What a list names and the source does not have, or not readable."""


def link_layout(source: Path, out: Path, to: LayoutName) -> LinkReport:
    """Lay a data set out anew; nothing is copied, pictures become symbolic links.

    Args:
        source: Folder in any layout.
        out: Folder to write to; may be ``source`` itself, beside the layouts that it has.
        to: Layout to make.

    Raises:
        PgpisError: The source has no layout, keeps its pictures in an LMDB, or ``to`` is what it has already.
    """
    origins = layouts_in(source)
    if not origins:
        raise PgpisError(f"{source} has no layout that pgpis knows", hint=f"pgpis data check {source}")
    if layout_named(to) in origins and out.resolve() == source.resolve():
        raise PgpisError(f"{source} already has the layout '{to}'")
    report = LinkReport()
    with locked(out):
        for split in get_args(Split):
            _link_split([layout(source, split) for layout in origins], layout_named(to)(out, split), split, report)
    report.missing = list(dict.fromkeys(report.missing))  # both splits may lack the same
    return report


def _link_split(origins: Sequence[Layout], target: Layout, split: Split, report: LinkReport) -> None:
    first = origins[0]
    if first.split != split or not first.list_path.is_file():
        return
    if (first.root / str(first.folder("picture")) / DATABASE).is_file():
        raise PgpisError(f"{first.root} keeps its pictures in an LMDB, which cannot be linked to")
    target.split = split  # it would take the test list in place of a validation list that is only being made
    pairs = first.read_pairs()
    pictures = list(dict.fromkeys(key for pair in pairs for key in pair))
    for key in pictures:
        try:
            _link_picture(key, origins, target, report)
        except (OSError, ValueError) as error:  # a name that the file system does not take, say
            refusal = write_refusal(target.root, error)
            if isinstance(refusal, UnwritableError):
                raise refusal from error
            report.missing.append(f"{key}: {reason_of(refusal or error)}")
    report.missing += _write_points(pictures, origins, target)
    write_text(target.root / target.list_names[0].format(split=split), target.list_text(pairs))
    report.lists += 1


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
