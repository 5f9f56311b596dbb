"""A user's own pictures and poses: two folders, or a CSV that pairs them."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pgpis.data.pairs import Pair, PairDataset
from pgpis.errors import PgpisError
from pgpis.images import IMAGE_SUFFIXES
from pgpis.keypoints import Frame

log = logging.getLogger(__name__)

KEYPOINT_SUFFIXES = (".txt", ".json", ".npy")
POSE_SUFFIXES = (*KEYPOINT_SUFFIXES, *IMAGE_SUFFIXES)

Row = tuple[Path, Path, Path | None]


class FolderPairs(PairDataset):
    """Pairs of source pictures and poses in folders.

    A pose is an 18-line or 133-line ``.txt``, an OpenPose ``.json``, a 133-point ``.npy`` or a picture of a drawn
    skeleton. The result of a pair is called ``SOURCE_2_POSE``, after the two files without their suffixes; where two
    files share that name, their suffix or folder is kept.

    Args:
        sources: Folder of source pictures, or one picture.
        poses: Folder of poses, or one pose.
        pairs_csv: Table with columns ``source,pose[,target]``; names are looked up in the folders, then beside the
            table. Replaces ``pairing``.
        pairing: ``product`` pairs every source with every pose, ``stem`` pairs files of the same name
            (``anna.jpg`` with ``anna.txt`` or ``anna_keypoints.json``).
        pose_size: (height, width) of the pictures that the key points were found in. Needed for 133-point files;
            without it, 18-line files are read in DeepFashion's frame and OpenPose files must name their canvas.
    """

    def __init__(
        self,
        sources: str | os.PathLike[str],
        poses: str | os.PathLike[str],
        pairs_csv: str | os.PathLike[str] | None = None,
        pairing: Literal["product", "stem"] = "product",
        pose_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(pose_frame=None if pose_size is None else Frame(*pose_size, name="pose_size"))
        self.sources = Path(sources)
        self.poses = Path(poses)
        self.pairs_csv = None if pairs_csv is None else Path(pairs_csv)
        self.pairing = pairing

    def read_pairs(self) -> list[Pair]:
        """List the folders or read the table.

        Raises:
            PgpisError: A folder is missing or empty, a file has an unknown suffix, nothing pairs up, or a pair is
                named twice.
        """
        if self.pairs_csv is not None:
            rows = self._rows_of_table(self.pairs_csv)
        else:
            sources = list_files(self.sources, IMAGE_SUFFIXES, "source pictures")
            poses = list_files(self.poses, POSE_SUFFIXES, "poses")
            if self.pairing == "stem":
                rows = pair_by_stem(sources, poses)
            else:
                rows = [(source, pose, None) for source in sources for pose in poses]
        source_names = short_names(source for source, _, _ in rows)
        pose_names = short_names(pose for _, pose, _ in rows)
        ids = unique(f"{source_names[source]}_2_{pose_names[pose]}" for source, pose, _ in rows)
        return [Pair(pair_id, source, pose, target) for pair_id, (source, pose, target) in zip(ids, rows, strict=True)]

    def _rows_of_table(self, path: Path) -> list[Row]:
        lines = read_table(path)
        rows: list[Row] = []
        first_lines: dict[tuple[str, str], int] = {}
        for number, line in lines:
            key = (line["source"], line["pose"])
            if key in first_lines:
                raise PgpisError(f"{path}: lines {first_lines[key]} and {number} name the same pair {key[0]}, {key[1]}")
            first_lines[key] = number
            source = find_file(line["source"], (self.sources, path.parent))
            pose = find_file(line["pose"], (self.poses, path.parent))
            for file, suffixes in ((source, IMAGE_SUFFIXES), (pose, POSE_SUFFIXES)):
                if file.suffix.lower() not in suffixes:
                    raise PgpisError(f"{path} line {number}: '{file.name}' must end in one of {', '.join(suffixes)}")
            target = line.get("target")
            rows.append((source, pose, find_file(target, (self.sources, path.parent)) if target else None))
        if not any(source.is_file() and pose.is_file() for source, pose, _ in rows):
            source, pose, _ = rows[0]
            raise PgpisError(
                f"{path}: none of its pairs exists; the first one would be {source} and {pose}",
                hint="names are relative to the folders of sources and poses, or to the table",
            )
        return rows


def list_files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """List the files of a folder that end in one of ``suffixes``, by name; a single file stands for itself.

    Raises:
        PgpisError: The folder is missing or holds no such file.
    """
    expected = f"expected {what} ({', '.join(suffixes)})"
    if folder.is_file():
        if folder.suffix.lower() not in suffixes:
            raise PgpisError(f"{folder}: unknown suffix '{folder.suffix}', {expected}")
        return [folder]
    if not folder.is_dir():
        raise PgpisError(f"folder not found: {folder}; {expected}")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    found = [path for path in files if path.suffix.lower() in suffixes]
    others = [path.name for path in files if path.suffix.lower() not in suffixes]
    if not found:
        detail = f"its {len(others)} files have other suffixes, e.g. {others[0]}" if others else "it is empty"
        raise PgpisError(f"nothing to read in {folder}: {detail}; {expected}")
    if others:
        log.warning("%s: %d files are no %s and are left out: %s", folder, len(others), what, ", ".join(others[:5]))
    return found


def stem_of(path: Path) -> str:
    """Return the name without suffix, and without the ending that OpenPose adds to it."""
    return path.stem.removesuffix("_keypoints") if path.suffix.lower() == ".json" else path.stem


def pair_by_stem(sources: Sequence[Path], poses: Sequence[Path]) -> list[Row]:
    """Pair files of the same name.

    Raises:
        PgpisError: Two files of one folder share a name, or no name is in both folders.
    """
    by_stem: list[dict[str, Path]] = []
    for files in (sources, poses):
        for stem, count in Counter(map(stem_of, files)).items():
            if count > 1:
                names = ", ".join(path.name for path in files if stem_of(path) == stem)
                raise PgpisError(
                    f"{files[0].parent}: several files are called '{stem}': {names}", hint="rename one, or use --pairs"
                )
        by_stem.append({stem_of(path): path for path in files})
    source_of, pose_of = by_stem
    common = [stem for stem in source_of if stem in pose_of]
    if not common:
        raise PgpisError(
            f"no source has the name of a pose: sources {', '.join(list(source_of)[:3])} ..., "
            f"poses {', '.join(list(pose_of)[:3])} ...",
            hint="use --pairing product, or --pairs with a table",
        )
    alone = sorted(source_of.keys() ^ pose_of.keys())
    if alone:
        log.warning("%d names are in one folder only and are left out: %s", len(alone), ", ".join(alone[:5]))
    return [(source_of[stem], pose_of[stem], None) for stem in common]


def read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the lines of a table of pairs, with their numbers; comma, semicolon or tab between the columns.

    Raises:
        PgpisError: The table is missing, empty, lacks a column or has an empty field.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
            if not {"source", "pose"} <= set(columns):
                raise PgpisError(f"{path}: the first line must be 'source,pose' or 'source,pose,target'")
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num + 1, [field.strip() for field in fields]) for fields in reader]
    except FileNotFoundError:
        raise PgpisError(f"table of pairs not found: {path}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise PgpisError(f"cannot read the table of pairs {path}: {error}") from error
    lines = [(number, fields) for number, fields in lines if any(fields)]
    if not lines:
        raise PgpisError(f"{path} names no pairs")
    table = []
    for number, fields in lines:
        line = dict(zip(columns, fields, strict=False))  # the number of fields is checked next
        if not (line.get("source") and line.get("pose")) or len(fields) > len(columns):
            raise PgpisError(f"{path} line {number}: expected {delimiter.join(columns)}, found '{' '.join(fields)}'")
        table.append((number, line))
    return table


def find_file(name: str, folders: Sequence[Path]) -> Path:
    """Look a name up in folders; where it is in none, return where it was expected first."""
    candidates = [folder / name if folder.is_dir() else folder.parent / name for folder in folders]
    return next((path for path in candidates if path.is_file()), candidates[0])


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a distinct name for each file: its stem, else with suffix, else with folder.

    Names that differ only in upper and lower case count as the same: some file systems think so.
    """
    files = list(dict.fromkeys(paths))
    spellings = (stem_of, lambda path: path.name, lambda path: f"{path.parent.name}_{path.name}")
    names: dict[Path, str] = {}
    for spelling in spellings:
        open_files = [path for path in files if path not in names]
        taken = Counter(spelling(path).casefold() for path in open_files)
        names |= {path: spelling(path) for path in open_files if taken[spelling(path).casefold()] == 1}
    rest = [path for path in files if path not in names]
    return names | dict(zip(rest, unique(path.name for path in rest), strict=True))


def unique(names: Iterable[str]) -> list[str]:
    """Number the names that were there before: ``a, a~2, a~3``."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name.casefold()] += 1
        count = seen[name.casefold()]
        result.append(name if count == 1 else f"{name}~{count}")
    return result
