"""What is in a data set's folder, and what is missing or unreadable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pgpis.data.check_files import check_files
from pgpis.data.check_phoenix import check_phoenix
from pgpis.data.layouts import LAYOUTS, FPDMLayout, Layout, Split, layouts_in
from pgpis.data.phoenix import RELEASE, find_release
from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.jobs import reason_of, shortlist
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.kinds import Kind, all_kinds

SPLITS: tuple[Split, ...] = get_args(Split)
PUBLISHED_PAIRS: Mapping[Split, int] = {"train": 101_966, "test": 8_570}
"""Pairs of DeepFashion's lists; 48,674 pictures are for training, 4,038 for testing."""


@dataclass(frozen=True)
class CheckReport:
    """The result of a check."""

    root: Path
    layout: str
    """Name of the layout that was found."""
    counts: Mapping[str, int]
    """What was counted, by what it is."""
    problems: tuple[str, ...]
    """A line for each file that is missing or unreadable."""
    notes: tuple[str, ...] = ()
    """What is not a problem, but good to know."""

    def render(self) -> str:
        """Return the report as text, with the first problems."""
        width = max(map(len, self.counts), default=0)
        lines = [f"{self.root}: layout {self.layout}"]
        lines += [f"  {name:<{width}}  {count:,}" for name, count in self.counts.items()]
        lines += [f"note: {note}" for note in self.notes]
        if not self.problems:
            return "\n".join([*lines, "nothing is missing"]) + "\n"
        lines.append(f"{len(self.problems):,} missing or unreadable:")
        return "\n".join([*lines, *shortlist(self.problems)]) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all problems to a text file, one per line."""
        write_text(path, "".join(f"{problem}\n" for problem in self.problems))


def check_root(root: str | os.PathLike[str]) -> CheckReport:
    """Check a data set's folder; shows progress on a terminal.

    Every file that a list of any layout names is opened and decoded.

    Raises:
        PgpisError: The folder is missing, or has no layout that pgpis reads.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise PgpisError(f"folder not found: {folder}")
    counts: dict[str, int] = {}
    problems: list[str] = []
    notes: list[str] = []
    names = []
    release = find_release(folder)
    if release is not None:
        names.append("Phoenix (PHOENIX-2014-T, Phoenix-2014T.{split})")
        check_phoenix(folder, release, counts, problems, notes)
    for layout_class in layouts_in(folder) or ([FPDMLayout] if (folder / "img").is_dir() else []):
        names.append(layout_class.description)
        _check_layout(folder, layout_class, counts, problems, notes)
    if not names:
        known = "; ".join(layout.description for layout in LAYOUTS)
        raise PgpisError(
            f"{folder} has no layout that pgpis knows; expected one of: {known}; or Phoenix ({RELEASE}/)",
            hint="see docs/data/deepfashion.md and docs/data/phoenix.md",
        )
    return CheckReport(folder, " and ".join(names), counts, tuple(problems), tuple(notes))


def _check_layout(
    root: Path, layout_class: type[Layout], counts: dict[str, int], problems: list[str], notes: list[str]
) -> None:
    """Count and open what one layout names; adds to the last three."""
    files: dict[Kind, set[Path]] = {}
    for split in SPLITS:
        layout = layout_class(root, split)
        if layout.split != split:
            notes.append(f"no {layout.list_names[0].format(split='val')}: validation reads the test list")
            continue
        places = {kind: layout.folder(kind.name) for kind in all_kinds()}
        present = [kind for kind in places if layout.has(kind.name)]
        counts |= {f"{kind.plural} in {places[kind]}/": _count_files(root / str(places[kind]), kind)
                   for kind in present if places[kind] is not None}  # fmt: skip
        try:
            pairs = layout.read_pairs()
        except Exception as error:  # noqa: BLE001  readers raise anything on odd lists
            problems.append(reason_of(error))
            continue
        counts[f"pairs in {layout.list_path.name}"] = len(pairs)
        if split in PUBLISHED_PAIRS and len(pairs) != PUBLISHED_PAIRS[split]:
            notes.append(f"{layout.list_path.name}: the published list has {PUBLISHED_PAIRS[split]:,} pairs")
        targets, pictures = {target for _, target in pairs}, {key for pair in pairs for key in pair}
        for kind, place in places.items():
            keys = targets if kind.of == "target" else pictures
            if place is None and kind in present:  # in a table
                problems += dict.fromkeys(filter(None, (_why_no_points(layout, key) for key in sorted(keys))))
            elif place is not None and (kind in present or (kind.name in layout.published and not kind.without)):
                files.setdefault(kind, set()).update(layout.path(key, kind.name) for key in keys)
            elif place is not None and kind.name in layout.published:
                notes.append(f"no {place}/: {kind.without}")
    for kind, paths in files.items():
        check_files(root, sorted(paths), kind, problems, notes)
    notes[:] = dict.fromkeys(notes)


def _why_no_points(layout: Layout, key: str) -> str | None:
    try:
        layout.points(key)
    except Exception as error:  # noqa: BLE001  readers raise anything on odd tables
        return reason_of(error)
    return None


def _count_files(folder: Path, kind: Kind) -> int:
    suffixes = IMAGE_SUFFIXES if kind.suffix is None else (kind.suffix,)
    return sum(path.suffix.lower() in suffixes and path.name[0] != "." for path in folder.rglob("*"))
