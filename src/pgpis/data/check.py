"""What is in a data set's folder, and what is missing or unreadable, or was made of earlier pictures."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import track

from pgpis.data.layouts import LAYOUTS, FPDMLayout, Layout, Split, layouts_in, layouts_of
from pgpis.data.layouts.base import KeyPair
from pgpis.data.layouts.found import FoundFiles
from pgpis.data.mska import KeypointFile, is_converted, read_mska
from pgpis.data.packs.check import check_pack, packs_in
from pgpis.data.packs.stores import Store
from pgpis.data.phoenix import (
    RELEASE,
    SPLITS,
    Phoenix14T,
    corpus_path,
    find_release,
    frame_file,
    frames_of,
    read_corpus,
)
from pgpis.data.picture_store import picture_exists, read_picture
from pgpis.data.prepared import stale_below, with_needed
from pgpis.errors import PgpisError, manual
from pgpis.files import files_below, is_file, write_text
from pgpis.jobs import reason_of, shortlist
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.kinds import Kind, all_kinds, conditions, kind_of

PUBLISHED_PAIRS = {"train": 101_966, "test": 8_570}
"""Of DeepFashion's lists; 48,674 pictures are for training, 4,038 for testing."""
PUBLISHED_VIDEOS = {"train": 7_096, "dev": 519, "test": 642}


@dataclass
class CheckReport:
    """The result of a check."""

    root: str
    """Folder, or URL of a pack."""
    layout: str = ""
    """Name of the layout that was found."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was counted, by what it is."""
    problems: list[str] = field(default_factory=list)
    """A line for each file that is missing or unreadable, and each picture that is another than its files'."""
    notes: list[str] = field(default_factory=list)
    """What is not a problem, but good to know."""

    def render(self) -> str:
        """Return the report as text, with the first problems."""
        width = max(map(len, self.counts), default=0)
        lines = [f"{self.root}: layout {self.layout}"]
        lines += [f"  {name:<{width}}  {count:,}" for name, count in self.counts.items()]
        lines += [f"note: {note}" for note in self.notes]
        wrong = [f"{len(self.problems):,} missing, unreadable or outdated:", *shortlist(self.problems)]
        return "\n".join([*lines, *(wrong if self.problems else ["nothing is missing"])]) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all problems to a text file, one per line."""
        write_text(path, "".join(f"{problem}\n" for problem in self.problems))


def check_root(root: str | os.PathLike[str]) -> CheckReport:
    """Check a data set's folder, or the folder or URL of a pack; shows progress on a terminal.

    Every file that a list of any layout names is opened and decoded, and pictures are compared with the record of
    ``pgpis prepare``; shards are compared with their hashes.

    Raises:
        PgpisError: The folder is missing, or has no layout that pgpis reads.
    """
    report, folder = CheckReport(os.fspath(root)), Path(root)
    packs = packs_in(os.fspath(root))
    for split, content in packs.items():
        check_pack(report, Store(os.fspath(root)).below(split), content, split)
    names = ["pack (shards of litdata)"] if packs else []
    if not packs and not folder.is_dir():
        raise PgpisError(f"folder not found: {root}")
    release = find_release(folder)
    if release is not None:
        names.append("Phoenix (PHOENIX-2014-T, Phoenix-2014T.{split})")
        _check_phoenix(report, release)
    opened: set[Path] = set()
    for layout_class in layouts_in(folder) or ([FPDMLayout] if (folder / "img").is_dir() else []):
        names.append(layout_class.description)
        _check_layout(report, layout_class, opened)
    if not names:
        known = "; ".join(layout.description for layout in LAYOUTS)
        raise PgpisError(
            f"{root} has no layout that pgpis knows; expected one of: {known}; or Phoenix ({RELEASE}/)",
            hint=f"see {manual('data/deepfashion', 'data/phoenix')}",
        )
    for name, options in stale_below(folder):
        mend = f"pgpis prepare {root} --conditions {','.join(with_needed(options))}"
        report.problems.append(f"{name}: {' and '.join(options)} were made of another picture than it is now: {mend}")
    report.layout, report.notes = " and ".join(names), list(dict.fromkeys(report.notes))
    return report


def _check_layout(report: CheckReport, layout_class: type[Layout], opened: set[Path]) -> None:
    """Count and open what one layout of DeepFashion names, but for what was ``opened`` for another one."""
    root = Path(report.root)
    files: dict[Kind, set[Path]] = {}
    for split in get_args(Split):
        layouts = layouts_of(root, split, layout_class.name)
        layout, found = layouts[0], FoundFiles(layouts)
        for kind in all_kinds() if layout.split == split else ():
            place = layout.folder(kind.name)
            if place is not None and layout.has(kind.name):
                suffixes = IMAGE_SUFFIXES if kind.suffix is None else (kind.suffix,)
                report.counts[f"{kind.plural} in {place}/"] = _count(root / place, suffixes)
        pairs = _pairs_of(layout, split, report)
        targets, pictures = {target for _, target in pairs}, {key for pair in pairs for key in pair}
        for kind in all_kinds():
            keys = targets if kind.of == "target" else pictures
            if kind.name != "picture":
                elsewhere = found.elsewhere(keys, kind.name)
                keys = keys - elsewhere.keys()
                if kind.name != "keypoints":  # which some layouts keep in another way
                    files.setdefault(kind, set()).update(elsewhere.values())
            if keys:
                files.setdefault(kind, set()).update(_files_of(layout, kind, keys, report))
    for kind, paths in files.items():
        _check_files(report, sorted(paths - opened), kind)
        opened |= paths


def _pairs_of(layout: Layout, split: Split, report: CheckReport) -> Sequence[KeyPair]:
    """Read the list of a split, and say what is odd about it; none where it is not there."""
    name, is_there = layout.list_path.name, is_file(layout.list_path)
    if layout.split != split:
        own = layout.list_names[0].format(split=split)
        report.notes += [f"no {own}: validation reads the test list"] if is_there else []
        return ()
    if layout.is_in(layout.root) and not is_there:
        needed_by = "training" if split == "train" else "a test, and validation without a list of its own,"
        report.notes.append(f"no {name}, which {needed_by} would need")
        return ()
    try:
        pairs = layout.distinct_pairs()
    except Exception as error:  # noqa: BLE001  readers raise anything on odd lists
        report.problems.append(reason_of(error))
        return ()
    report.counts[f"pairs in {name}"] = len(pairs)
    report.problems += [] if pairs else [f"{name}: names no pairs"]
    if len(pairs) != PUBLISHED_PAIRS.get(split, len(pairs)):
        report.notes.append(f"{name}: the published list has {PUBLISHED_PAIRS[split]:,} pairs")
    if split != "train" and (doubled := len(pairs) - len({*pairs})):
        report.notes.append(f"{name}: {doubled} pairs are listed again; each counts once")
    return pairs


def _files_of(layout: Layout, kind: Kind, keys: Collection[str], report: CheckReport) -> list[Path]:
    """Return which files of a kind are to be opened, or report at once what there is none of."""
    place, is_published = layout.folder(kind.name), kind.name in layout.published
    if kind.name == "keypoints" and layout.has_place_for(kind.name) and not layout.has(kind.name):
        report.notes.append(f"no {place}/, which FPDM reads: pgpis prepare {report.root} --conditions {kind.option}")
    if place is not None and (layout.has(kind.name) or (is_published and not kind.without)):
        return [layout.path(key, kind.name) for key in keys]
    if place is not None and is_published:
        report.notes.append(f"no {place}/: {kind.without}")
    elif layout.has(kind.name):  # in a table
        report.problems += dict.fromkeys(filter(None, (_why_no_points(layout, key) for key in sorted(keys))))
    elif place is None and is_published:
        report.problems.append(f"{layout.place_of(kind.name).relative_to(layout.root)}: {kind.label} missing")
    return []


def _why_no_points(layout: Layout, key: str) -> str | None:
    try:
        layout.points(key)
    except Exception as error:  # noqa: BLE001  readers raise anything on odd tables
        return reason_of(error)
    return None


def _check_phoenix(report: CheckReport, release: Path) -> None:
    """Open every frame that the key points count, and what ``pgpis prepare`` has made of it."""
    root, notes = Path(report.root), report.notes
    files: dict[Kind, list[Path]] = {kind: [] for kind in (kind_of("picture"), *conditions())}
    for own, split in SPLITS.items():
        table = corpus_path(release, split)
        try:
            names = read_corpus(table)
            lengths = _lengths(Phoenix14T(root, own).keypoints_path(release))
        except Exception as error:  # noqa: BLE001  as above
            report.problems.append(reason_of(error))
            continue
        report.counts[f"videos in {table.name}"] = len(names)
        report.counts[f"videos with key points in Phoenix-2014T.{split}"] = len(lengths)
        if len(names) != PUBLISHED_VIDEOS[split]:
            notes.append(f"{table.name}: the release has {PUBLISHED_VIDEOS[split]:,} videos")
        report.problems += [f"{name}: no key points in Phoenix-2014T.{split}" for name in names if name not in lengths]
        frames = [(name, number) for name in names for number in range(1, lengths.get(name, 0) + 1)]
        for kind, paths in files.items():
            place = frames_of(release, kind) / split
            if kind.name != "picture" and not place.is_dir():
                needed = f": FPDM does without, {kind.without}" if kind.without else ""
                notes.append(f"no {place.relative_to(root)}/{needed}")
                continue
            report.counts[f"{kind.plural} in {place.relative_to(root)}/"] = _count(place, (kind.suffix or ".png",))
            paths += [frame_file(place, *frame, kind.suffix) for frame in frames]
    for kind, paths in files.items():
        _check_files(report, paths, kind)


def _lengths(path: Path) -> dict[str, int]:
    """Return the number of frames of each video; nothing is written."""
    if is_converted(path) or not path.is_file():
        return KeypointFile(path).lengths
    return {name: len(points) for name, points in read_mska(path).items()}


def _count(folder: Path, suffixes: Collection[str]) -> int:
    return sum(path.suffix.lower() in suffixes for path in files_below(folder, hidden=False))


def _check_files(report: CheckReport, files: Iterable[Path], kind: Kind) -> None:
    """Open files; those that pictures may lack are counted alone."""
    read, exists = (read_picture, picture_exists) if kind.name == "picture" else (kind.read, Path.is_file)
    absent = 0
    for path in track(list(files), f"checking {kind.plural}", console=Console(stderr=True), transient=True):
        name = path.relative_to(report.root).as_posix()
        try:
            if exists(path):
                read(path)
            elif kind.is_optional:
                absent += 1
            else:
                report.problems.append(f"{name}: {kind.label} missing")
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files, and the check goes on
            report.problems.append(f"{name}: {reason_of(error)}")
    if absent:
        wish = f"set on_missing.{kind.name} to 'drop' or 'skip'"
        report.notes.append(f"{absent} pictures have no {kind.label}: {wish}")
