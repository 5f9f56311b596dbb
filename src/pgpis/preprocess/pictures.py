"""Which pictures a folder holds, and where their conditions go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pgpis.data.folder import beside
from pgpis.data.layouts import LAYOUTS, Kind, Layout, Split
from pgpis.data.phoenix import find_release
from pgpis.data.pictures import DATABASE
from pgpis.errors import PgpisError
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.preprocess.settings import NEEDS, Condition, PictureFiles

KINDS: dict[Condition, Kind] = {"pose": "keypoints", "densepose": "iuv", "texture": "texture", "face": "face"}
"""The same things as layouts of data sets call them; the face mask has no place in them."""

ENDINGS: dict[Condition, tuple[str, str]] = {
    "pose": ("_pose", ".json"),
    "densepose": ("_densepose", ".png"),
    "texture": ("_texture", ".png"),
    "face": ("_face", ".npy"),
    "face_mask": ("_face_mask", ".png"),
}


def find_pictures(root: Path, conditions: Sequence[Condition], layout: str = "auto") -> list[PictureFiles]:
    """List the pictures of a data set or of a plain folder.

    Args:
        root: A data set in a layout that pgpis knows (DeepFashion's, or Phoenix), or a folder of photographs (and
            folders of them), or one picture.
        conditions: What is to be made.
        layout: Name of a layout; ``auto``: the first that the folder has, else ``photos``; ``photos``: a plain folder.
            The conditions of ``photos/anna.jpg`` go to ``photos_pose/anna.json``, ``photos_densepose/anna.png``,
            ``photos_texture/anna.png``, ``photos_face/anna.npy`` and ``photos_face_mask/anna.png``.

    Raises:
        PgpisError: The folder is missing or empty, or its layout has no place for a condition.
    """
    if not root.exists():
        raise PgpisError(f"folder not found: {root}", hint="pgpis prepare FOLDER")
    wanted = [*conditions, *(NEEDS[condition] for condition in conditions if condition in NEEDS)]
    release = find_release(root) if root.is_dir() and layout == "auto" else None
    if release is not None:
        return _of_phoenix(root, release, wanted)
    found = [kind for kind in LAYOUTS if root.is_dir() and kind.found(root)]
    if layout not in ("auto", "photos"):
        chosen = next(kind for kind in LAYOUTS if kind.name == layout)
        if chosen not in found:
            raise PgpisError(f"{root} has no layout '{layout}'", hint=f"pgpis data check {root}")
        return _of_layout(root, chosen, wanted)
    if found and layout == "auto":
        return _of_layout(root, found[0], wanted)
    return _of_folder(root, wanted)


def _of_folder(root: Path, conditions: Sequence[Condition]) -> list[PictureFiles]:
    folder = root if root.is_dir() else root.parent
    candidates = root.rglob("*") if root.is_dir() else [root]
    pictures = sorted(
        path
        for path in candidates
        if path.suffix.lower() in IMAGE_SUFFIXES and _visible(path, folder) and not path.is_dir()
    )
    if not pictures:
        raise PgpisError(f"no pictures in {root}; expected {', '.join(IMAGE_SUFFIXES)}")
    files = []
    stems: dict[Path, Path] = {}
    for picture in pictures:
        name = picture.relative_to(folder)
        if name.with_suffix("") in stems:
            raise PgpisError(f"{picture} and {stems[name.with_suffix('')]} would share their files: rename one")
        stems[name.with_suffix("")] = picture
        outputs = [(condition, _beside(folder, name, condition)) for condition in dict.fromkeys(conditions)]
        files.append(PictureFiles(name.as_posix(), picture, tuple(outputs)))
    return files


def _of_phoenix(root: Path, release: Path, conditions: Sequence[Condition]) -> list[PictureFiles]:
    """List the frames of RWTH-PHOENIX-Weather 2014T; what is made of them lies beside them in ``features``."""
    for condition in conditions:
        if condition not in ("densepose", "texture", "face"):
            reason = f"Phoenix has no place for '{condition}'; its key points are MSKA's"
            raise PgpisError(reason, hint="--conditions densepose,texture,face")
    folders = {condition: release / f"features/{condition}-210x260px" for condition in conditions}
    frames = release / "features/fullFrame-210x260px"
    files = []
    for picture in sorted(frames.rglob("*.png")):
        name = picture.relative_to(frames)
        outputs = [(kind, (folder / name).with_suffix(ENDINGS[kind][1])) for kind, folder in folders.items()]
        files.append(PictureFiles(picture.relative_to(root).as_posix(), picture, tuple(outputs)))
    if not files:
        raise PgpisError(f"no frames in {frames}")
    return files


def _visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _beside(folder: Path, name: Path, condition: Condition) -> Path:
    ending, suffix = ENDINGS[condition]
    first = beside(folder / name.name, ending, suffix, None)
    return first.parent / name.parent / f"{name.stem}{suffix}"


def _of_layout(root: Path, kind: type[Layout], conditions: Sequence[Condition]) -> list[PictureFiles]:
    files: dict[Path, PictureFiles] = {}
    for split in get_args(Split):
        layout = kind(root, split)
        if layout.split != split or not layout.list_path.is_file():
            continue
        for condition in conditions:
            if condition not in KINDS or layout.folder(KINDS[condition]) is None:
                raise PgpisError(
                    f"the layout '{layout.name}' of {root} has no place for '{condition}'",
                    hint=f"pgpis data link {root} --to mcld adds one that has, beside it",
                )
        for key in dict.fromkeys(key for pair in layout.read_pairs() for key in pair):
            picture = layout.path(key, "picture")
            if DATABASE in picture.parts:
                raise PgpisError(f"{root} keeps its pictures in an LMDB, which stays closed here", hint="unpack it")
            outputs = [(condition, layout.path(key, KINDS[condition])) for condition in dict.fromkeys(conditions)]
            files.setdefault(picture, PictureFiles(picture.relative_to(root).as_posix(), picture, tuple(outputs)))
    if not files:
        raise PgpisError(f"{root} names no pictures", hint=f"pgpis data check {root}")
    return [files[picture] for picture in sorted(files)]
