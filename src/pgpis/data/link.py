"""One layout of a data set from another: links to pictures, and new lists and key points."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pgpis.data.layouts import Layout, LayoutName, Split, layout_named, layouts_in, layouts_of
from pgpis.data.link_part import Part, refuse_shared
from pgpis.data.names import DATABASE
from pgpis.errors import PgpisError
from pgpis.files import is_file, locked, resolved, write_bytes
from pgpis.jobs import reason_of
from pgpis.pictures.kinds import all_kinds
from pgpis.refusals import UnwritableError, write_refusal


@dataclass
class LinkReport:
    """What was linked and written."""

    links: int = 0
    already: int = 0
    lists: int = 0
    missing: list[str] = field(default_factory=list)
    """What a list names and the source does not have, or not readable."""
    kept: list[str] = field(default_factory=list)
    """Key points that are there and not the source's; none of them was written here."""


def link_layout(source: Path, out: Path, to: LayoutName) -> LinkReport:
    """Lay a data set out anew; nothing is copied, pictures become symbolic links.

    Args:
        source: Folder in any layout.
        out: Folder to write to; may be ``source`` itself, beside the layouts that it has.
        to: Layout to make.

    Raises:
        PgpisError: The source has no layout, keeps its pictures in an LMDB, or ``to`` is what it has already; it has
            names that ``to`` cannot hold; or ``out`` has a list of other pairs, or a table of other key points, which
            was not linked from the source.
    """
    origins = layouts_in(source)
    if not origins:
        raise PgpisError(f"{source} has no layout that pgpis knows", hint=f"pgpis data check {source}")
    if layout_named(to) in origins and resolved(out) == resolved(source):
        raise PgpisError(f"{source} already has the layout '{to}'")
    report = LinkReport()
    with locked(out):
        layouts = {split: layouts_of(source, split) for split in get_args(Split)}
        found = (_part_of(source, split_in, out, to, split) for split, split_in in layouts.items())
        parts = [part for part in found if part is not None]
        for part in parts:
            part.refuse()
        refuse_shared(parts)
        for part in parts:
            _link_pictures(part, report)
            written = _write_points(part, report)
            write_bytes(part.list_path, part.list_content)
            part.write_marks(written)
            report.lists += 1
    for told in (report.missing, report.kept):
        told[:] = dict.fromkeys(told)  # both splits may lack the same
    return report


def _part_of(source: Path, origins: list[Layout], out: Path, to: LayoutName, split: Split) -> Part | None:
    """Return a split with its pairs; None: the source has no list of its own for it."""
    first = origins[0]
    if first.split != split or not first.list_path.is_file():
        return None
    if (first.root / str(first.folder("picture")) / DATABASE).is_file():
        raise PgpisError(f"{first.root} keeps its pictures in an LMDB, which cannot be linked to")
    target = layout_named(to)(out, split)
    target.split = split  # it would take the test list in place of a validation list that is only being made
    return Part(source, origins, target, first.read_pairs())


def _link_pictures(part: Part, report: LinkReport) -> None:
    """Link the pictures of a split, and what belongs to them."""
    for key in part.pictures:
        try:
            _link_picture(key, part, report)
        except (OSError, ValueError) as error:  # a name that the file system does not take, say
            refusal = write_refusal(part.target.root, error)
            if isinstance(refusal, UnwritableError):
                raise refusal from error
            report.missing.append(f"{key}: {reason_of(refusal or error)}")


def _write_points(part: Part, report: LinkReport) -> list[Path]:
    """Write key points, and return which are there now; those that are somebody else's stay."""
    files, missing = part.points
    report.missing += missing
    written = []
    for path, content in files.items():
        if part.is_of_others(path, content):
            report.kept.append(str(path))
            continue
        try:
            if not is_file(path) or path.read_bytes() != content:
                write_bytes(path, content)
        except UnwritableError:
            raise
        except PgpisError as error:
            report.missing.append(reason_of(error))
        else:
            written.append(path)
    return written


def _link_picture(key: str, part: Part, report: LinkReport) -> None:
    """Link every file of a picture that both sides know."""
    for kind in all_kinds():
        target = part.target
        if kind.name == "keypoints" or target.folder(kind.name) is None:
            continue
        there = part.picture(key) if kind.name == "picture" else part.found.path(key, kind.name)
        if there is None:
            continue
        if not is_file(there):
            report.missing += [] if kind.is_optional else [str(there)]
            continue
        here = target.new_path(key, kind.name, there.suffix)
        is_real = here.exists() and not here.is_symlink()
        was_made_here = is_real and kind.name != "picture"  # by pgpis prepare, say
        if was_made_here or resolved(here) == resolved(there):
            report.already += 1
            continue
        if is_real:
            raise PgpisError(f"{here} is there already, and no link", hint="choose another --out, or remove it")
        here.unlink(missing_ok=True)  # a link to what has been moved, or to another data set
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(os.path.relpath(resolved(there), resolved(here.parent)))
        report.links += 1
