"""What is in a data set's folder, and what is missing or unreadable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from rich.console import Console
from rich.progress import track

from pgpis.data.deepfashion import Split, drawn_path, keypoint_path, list_path, read_pair_list
from pgpis.errors import PgpisError
from pgpis.images import IMAGE_SUFFIXES, read_image, write_text
from pgpis.keypoints import read_keypoints

SHOWN_PROBLEMS = 20
FPDM_LAYOUT = "FPDM (img/ pose/ pose_img/, {split}_pairs_data.json)"


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
    """What is no problem, but good to know."""

    def render(self) -> str:
        """Return the report as text, with the first problems."""
        width = max(map(len, self.counts), default=0)
        lines = [f"{self.root}: layout {self.layout}"]
        lines += [f"  {name:<{width}}  {count:,}" for name, count in self.counts.items()]
        lines += [f"note: {note}" for note in self.notes]
        if not self.problems:
            return "\n".join([*lines, "nothing is missing"]) + "\n"
        lines.append(f"{len(self.problems):,} missing or unreadable:")
        lines += [f"  {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(self.problems) - SHOWN_PROBLEMS:,} more")
        return "\n".join(lines) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all problems to a text file, one a line."""
        write_text(path, "".join(f"{problem}\n" for problem in self.problems))


def check_root(root: str | os.PathLike[str]) -> CheckReport:
    """Check a data set's folder; shows progress on a terminal.

    Every picture and pose that a list names is opened and decoded.

    Raises:
        PgpisError: The folder is missing, or has no layout that pgpis reads.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise PgpisError(f"folder not found: {folder}")
    lists = [split for split in get_args(Split) if (folder / f"{split}_pairs_data.json").is_file()]
    if not lists and not (folder / "img").is_dir():
        raise PgpisError(
            f"{folder} has no layout that pgpis knows; expected {FPDM_LAYOUT}", hint="see docs/data/deepfashion.md"
        )
    return _check_fpdm_layout(folder, lists)


def _check_fpdm_layout(root: Path, splits: Iterable[Split]) -> CheckReport:
    kinds = {"img": "pictures", "pose": "key points", "pose_img": "drawn poses"}
    counts = {f"{kind} in {name}/": _count_files(root / name) for name, kind in kinds.items()}
    problems: list[str] = []
    notes: list[str] = []
    pairs: dict[Split, list[tuple[PurePosixPath, PurePosixPath]]] = {}
    for split in splits:
        try:
            pairs[split] = read_pair_list(list_path(root, split))
        except PgpisError as error:
            problems.append(error.message)
            continue
        counts[f"{split} pairs"] = len(pairs[split])
    absent = [name for name in ("train_pairs_data.json", "test_pairs_data.json") if not (root / name).is_file()]
    problems += [f"{name}: missing" for name in absent]
    if "val" not in pairs:
        notes.append("no val_pairs_data.json: validation reads the test list")
    images = sorted({image for split in pairs.values() for pair in split for image in pair})
    targets = sorted({target for split in pairs.values() for _, target in split})
    counts["pictures that pairs name"] = len(images)
    counts["poses that pairs name"] = len(targets)
    problems += _check_files(root, images, "picture")
    problems += _check_files(root, map(keypoint_path, targets), "key points")
    has_drawings = (root / "pose_img").is_dir()
    if has_drawings:
        problems += _check_files(root, map(drawn_path, targets), "drawn pose")
    else:
        notes.append("no pose_img/: pose=drawn, the official test setting, is not available")
    return CheckReport(root, FPDM_LAYOUT, counts, tuple(problems), tuple(notes))


def _count_files(folder: Path) -> int:
    suffixes = {*IMAGE_SUFFIXES, ".txt"}
    return sum(path.suffix.lower() in suffixes for path in folder.rglob("*")) if folder.is_dir() else 0


def _check_files(
    root: Path, names: Iterable[PurePosixPath], kind: Literal["picture", "key points", "drawn pose"]
) -> list[str]:
    problems = []
    read = read_keypoints if kind == "key points" else read_image
    files = list(names)
    for name in track(files, f"checking {kind}", console=Console(stderr=True), transient=True):
        path = root / name
        if not path.is_file():
            problems.append(f"{name}: {kind} missing")
            continue
        try:
            read(path)
        except PgpisError as error:
            problems.append(f"{name}: {error.message}")
    return problems
