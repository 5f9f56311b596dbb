"""One layout of a data set from another: links to pictures, and new lists and key points."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pgpis.data.layouts import LAYOUTS, FPDMLayout, Kind, Layout, LayoutName, MCLDLayout, NTEDLayout, PATNLayout, Split
from pgpis.data.layouts.base import KeyPair, flat_name
from pgpis.data.layouts.patn import FRAME as PATN_FRAME
from pgpis.data.layouts.patn import HEADER as PATN_HEADER
from pgpis.data.layouts.pcdm import UNIT
from pgpis.data.pictures import DATABASE
from pgpis.errors import PgpisError
from pgpis.files import UnwritableError, is_file, locked, write_refusal, write_text
from pgpis.jobs import reason_of
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import DEEPFASHION_FRAME, Frame, Keypoints

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class LinkReport:
    """What was linked and written."""

    links: int
    already: int
    lists: int
    missing: tuple[str, ...]
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
    found = [layout for layout in LAYOUTS if layout.found(source)] if source.is_dir() else []
    if not found:
        raise PgpisError(f"{source} has no layout that pgpis knows", hint=f"pgpis data check {source}")
    target_class = next(layout for layout in LAYOUTS if layout.name == to)
    if target_class in found and out.resolve() == source.resolve():
        raise PgpisError(f"{source} has the layout '{to}' already")
    with locked(out):
        return _link_all(source, out, found, target_class)


def _link_all(source: Path, out: Path, found: Sequence[type[Layout]], target_class: type[Layout]) -> LinkReport:
    links = already = lists = 0
    missing: list[str] = []
    for split in get_args(Split):
        origins = [layout(source, split) for layout in found]
        first = origins[0]
        if first.split != split or not first.list_path.is_file():
            continue
        if (source / str(first.folder("picture")) / DATABASE).is_file():
            raise PgpisError(f"{source} keeps its pictures in an LMDB, which cannot be linked to")
        target = target_class(out, split)
        target.split = split  # it would take the test list in place of a validation list that is only being made
        pairs = first.read_pairs()
        pictures = list(dict.fromkeys(key for pair in pairs for key in pair))
        for key in pictures:
            try:
                made, old, absent = _link_picture(key, origins, target)
            except (OSError, ValueError) as error:  # a name that the file system does not take, say
                refusal = write_refusal(out, error)
                if isinstance(refusal, UnwritableError):
                    raise refusal from error
                missing.append(f"{key}: {reason_of(refusal or error)}")
                continue
            links, already = links + made, already + old
            missing += absent
        missing += _write_points(pictures, origins, target)
        _write_list(target, pairs)
        lists += 1
    return LinkReport(links, already, lists, tuple(missing))


def _link_picture(key: str, origins: Sequence[Layout], target: Layout) -> tuple[int, int, list[str]]:
    """Link every file of a picture that both sides know."""
    made = old = 0
    absent: list[str] = []
    for kind in KINDS:
        if kind == "keypoints" or target.folder(kind) is None:
            continue
        origin = next((layout for layout in origins if layout.has(kind)), None)
        if origin is None:
            continue
        there = origin.path(key, kind)
        if not is_file(there):
            absent += [str(there)] if kind != "face" else []
            continue
        here = _place(target, key, kind).with_suffix(there.suffix)
        if here.is_symlink() or here.exists():
            old += 1
            continue
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(os.path.relpath(there.resolve(), here.parent.resolve()))
        made += 1
    return made, old, absent


def _place(target: Layout, key: str, kind: Kind) -> Path:
    """Return where a new file goes; a layout that looks for existing folders gets its plain ones."""
    if isinstance(target, FPDMLayout | MCLDLayout):
        return target.path(key, kind)
    if isinstance(target, NTEDLayout):
        return target.root / "img" / key
    return target.root / target.split / flat_name(key)


def _read_points(key: str, origin: Layout) -> Keypoints | str:
    """Return a picture's key points, or why there are none."""
    try:
        return origin.points(key) or read_keypoints(origin.path(key, "keypoints"))
    except Exception as error:  # noqa: BLE001  readers raise anything on odd files, which cost their picture alone
        return f"{key}: {reason_of(error)}"


def _write_points(keys: Sequence[str], origins: Sequence[Layout], target: Layout) -> list[str]:
    """Write key points as the target's readers expect them; return why pictures have none."""
    origin = next((layout for layout in origins if layout.has("keypoints")), None)
    if origin is None or isinstance(target, MCLDLayout):
        return []
    found = {key: _read_points(key, origin) for key in keys}
    known = {key: points for key, points in found.items() if isinstance(points, Keypoints)}
    reasons = [reason for reason in found.values() if isinstance(reason, str)]
    if isinstance(target, PATNLayout):
        lines = [":".join(PATN_HEADER)]
        for key, points in known.items():
            rounded = points.to(PATN_FRAME).points.round().astype(int)
            lines.append(f"{flat_name(key)}: {rounded[:, 1].tolist()}: {rounded[:, 0].tolist()}")
        write_text(target.table_path, "\n".join(lines) + "\n")
        return reasons
    frame: Frame = UNIT if target.name == "pcdm" else DEEPFASHION_FRAME
    for key, points in known.items():
        path = target.path(key, "keypoints")
        if not is_file(path):
            write_text(path, "".join(f"{x:.18e} {y:.18e}\n" for x, y in points.to(frame).points))
    return reasons


def _write_list(target: Layout, pairs: Sequence[KeyPair]) -> None:
    path = target.root / target.list_names[0].format(split=target.split)
    write_text(path, _list_text(target, pairs))


def _list_text(target: Layout, pairs: Sequence[KeyPair]) -> str:
    if target.name in ("fpdm", "pcdm"):
        name = (lambda key: f"./img/{key}") if target.name == "fpdm" else flat_name
        entries: list[Any] = [{"source_image": name(source), "target_image": name(aim)} for source, aim in pairs]
        return json.dumps(entries, indent=0) + "\n"
    if target.name == "nted":
        return "".join(f"{aim},{source}\n" for source, aim in pairs)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["from", "to"])
    writer.writerows((flat_name(source), flat_name(aim)) for source, aim in pairs)
    return text.getvalue()
