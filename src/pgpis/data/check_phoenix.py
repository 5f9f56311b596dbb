"""What is in a release of RWTH-PHOENIX-Weather 2014T, and what is missing or unreadable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from pgpis.data.check_files import check_files
from pgpis.data.layouts import Split
from pgpis.data.mska import KeypointFile, read_mska
from pgpis.data.phoenix import SPLITS, Phoenix14T, corpus_path, frame_file, frames_of, read_corpus
from pgpis.jobs import reason_of
from pgpis.pictures.kinds import Kind, conditions, kind_of

PUBLISHED_VIDEOS = {"train": 7_096, "dev": 519, "test": 642}


def check_phoenix(root: Path, release: Path, counts: dict[str, int], problems: list[str], notes: list[str]) -> None:
    """Open every frame that the key points count, and what ``pgpis prepare`` has made of it; adds to the last three."""
    files: dict[Kind, list[Path]] = {kind: [] for kind in (kind_of("picture"), *conditions())}
    for own in get_args(Split):
        split = SPLITS[own]
        table = corpus_path(release, split)
        try:
            names = read_corpus(table)
            lengths = _lengths(Phoenix14T(root, own).keypoints_path(release))
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files, and the check goes on
            problems.append(reason_of(error))
            continue
        counts[f"videos in {table.name}"] = len(names)
        counts[f"videos with key points in Phoenix-2014T.{split}"] = len(lengths)
        if len(names) != PUBLISHED_VIDEOS[split]:
            notes.append(f"{table.name}: the release has {PUBLISHED_VIDEOS[split]:,} videos")
        problems += [f"{name}: no key points in Phoenix-2014T.{split}" for name in names if name not in lengths]
        for kind, paths in files.items():
            place = frames_of(release, kind) / split
            if kind.name != "picture" and not place.is_dir():
                needed = f": FPDM does without, {kind.without}" if kind.without else ""
                notes.append(f"no {place.relative_to(root)}/{needed}")
                continue
            suffix = kind.suffix or ".png"
            counts[f"{kind.plural} in {place.relative_to(root)}/"] = sum(
                name.endswith(suffix) for _, _, inside in os.walk(place) for name in inside
            )
            paths += [
                frame_file(place, name, number, suffix)
                for name in names
                for number in range(1, lengths.get(name, 0) + 1)
            ]
    for kind, paths in files.items():
        check_files(root, paths, kind, problems, notes)


def _lengths(path: Path) -> dict[str, int]:
    """Return the number of frames of each video; nothing is written."""
    if path.with_name(f"{path.name}.safetensors").is_file() or not path.is_file():
        return KeypointFile(path).lengths
    return {name: len(points) for name, points in read_mska(path).items()}
