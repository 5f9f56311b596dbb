"""Opening every file of a kind, whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from pgpis.data.layouts import Kind
from pgpis.data.pairs import read_drawn_pose
from pgpis.data.pictures import picture_exists, read_picture
from pgpis.jobs import reason_of
from pgpis.pictures.conditions import read_face, read_iuv
from pgpis.pictures.images import read_image
from pgpis.pictures.keypoint_files import read_keypoints

KINDS: Mapping[Kind, str] = {
    "picture": "pictures",
    "keypoints": "key points",
    "drawn": "drawn poses",
    "iuv": "DensePose maps",
    "texture": "texture maps",
    "face": "face embeddings",
}
ONE: Mapping[Kind, str] = {kind: name.removesuffix("s") for kind, name in KINDS.items()} | {"keypoints": "key points"}
READERS: Mapping[Kind, Callable[[Path], Any]] = {
    "picture": read_picture,
    "keypoints": read_keypoints,
    "drawn": read_drawn_pose,
    "iuv": read_iuv,
    "texture": read_image,
    "face": read_face,
}


def check_files(root: Path, files: Iterable[Path], kind: Kind, problems: list[str], notes: list[str]) -> None:
    """Open files; faces may be missing, since some pictures show none."""
    read = READERS[kind]
    absent = 0
    for path in track(list(files), f"checking {KINDS[kind]}", console=Console(stderr=True), transient=True):
        name = path.relative_to(root).as_posix()
        try:
            if not (picture_exists(path) if kind == "picture" else path.is_file()):
                absent += 1
                if kind != "face":
                    problems.append(f"{name}: {ONE[kind]} missing")
                continue
            read(path)
        except Exception as error:  # noqa: BLE001  readers raise anything on odd files, and the check goes on
            problems.append(f"{name}: {reason_of(error)}")
    if kind == "face" and absent:
        notes.append(f"{absent} pictures have no face embedding: set on_missing.face to 'drop' or 'skip'")
