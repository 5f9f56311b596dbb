"""Opening every file of a kind, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from pgpis.data.picture_store import picture_exists, read_picture
from pgpis.jobs import reason_of
from pgpis.pictures.kinds import Kind


def check_files(root: Path, files: Iterable[Path], kind: Kind, problems: list[str], notes: list[str]) -> None:
    """Open files; those that pictures may lack are counted alone."""
    read, exists = (read_picture, picture_exists) if kind.name == "picture" else (kind.read, Path.is_file)
    absent = 0
    for path in track(list(files), f"checking {kind.plural}", console=Console(stderr=True), transient=True):
        name = path.relative_to(root).as_posix()
        try:
            if exists(path):
                read(path)
            elif kind.is_optional:
                absent += 1
            else:
                problems.append(f"{name}: {kind.label} missing")
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files, and the check goes on
            problems.append(f"{name}: {reason_of(error)}")
    if absent:
        notes.append(f"{absent} pictures have no {kind.label}: set on_missing.{kind.name} to 'drop' or 'skip'")
