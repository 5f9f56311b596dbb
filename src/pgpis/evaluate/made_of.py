"""What the pictures of a benchmark were made of, so that those of something else are made anew."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pgpis.data import Pair
from pgpis.data.pairs import PairDataset
from pgpis.files import printable, write_text

MADE_OF = "made_of.json"
"""File that holds the hash of what each picture was made of, by row and picture."""

log = logging.getLogger(__name__)


def remove_others(out: Path, made_of: Mapping[Path, str]) -> None:
    """Remove pictures that were made of something else, or nobody knows of what, and keep what they will be made of.

    Args:
        out: Folder of the benchmark.
        made_of: What each picture is made of, in words; pictures lie in the folders of their rows.
    """
    record, removed = out / MADE_OF, 0
    try:
        known = json.loads(record.read_text(encoding="utf-8")).items()
        rows = {row: {**pictures} for row, pictures in known if (out / row).is_dir()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged, or of an earlier version
        rows = {}
    for path, words in made_of.items():
        pictures = rows.setdefault(path.parent.name, {})
        digest = hashlib.sha256(printable(words).encode()).hexdigest()
        if pictures.get(path.name) != digest and path.is_file():
            path.unlink()
            removed += 1
        pictures[path.name] = digest
    if removed:
        log.info("%s: %d pictures were made of something else, or by an earlier version: made anew", record, removed)
    write_text(record, json.dumps(rows, indent=2) + "\n")


def files_hash(dataset: PairDataset, pair: Pair) -> str:
    """Identify the content of all files of a pair, of its source's own map, and the pose that is read of it."""
    of_source = dataset.made_of(pair.source, "target").get("iuv")
    contents = map(dataset.file_content, [*pair.person.files, *pair.aim.files, of_source])
    return hashlib.sha256(" ".join([*contents, dataset.pose_content(pair)]).encode()).hexdigest()
