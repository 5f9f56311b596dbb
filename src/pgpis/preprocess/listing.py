"""Which pictures a folder holds, and where their conditions go."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from pgpis.data.layouts import FPDMLayout, Layout, Split, layout_named, layouts_in, layouts_of
from pgpis.data.layouts.found import FoundFiles
from pgpis.data.names import DATABASE
from pgpis.data.phoenix import find_release, frames_of
from pgpis.data.user_files import beside, first_names, without_prepared
from pgpis.errors import PgpisError, manual
from pgpis.files import files_below, require
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.kinds import Kind, conditions, kind_of
from pgpis.preprocess.record import NAME
from pgpis.preprocess.settings import Outcome, PictureFiles

log = logging.getLogger(__name__)


def find_pictures(root: Path, options: Sequence[str], layout: str = "auto") -> list[PictureFiles]:
    """List the pictures of a data set or of a plain folder.

    Args:
        root: A data set in a layout that pgpis knows (DeepFashion's, or Phoenix), or a folder of photographs (and
            folders of them), or one picture.
        options: What is to be made.
        layout: Name of a layout; ``auto``: the first that the folder has, but for what another one holds already, else
            ``photos``; ``photos``: a plain folder.
            The conditions of ``photos/anna.jpg`` go to ``photos_pose/anna.json``, ``photos_densepose/anna.png``,
            ``photos_texture/anna.png``, ``photos_face/anna.npy`` and ``photos_face_mask/anna.png``.

    Raises:
        PgpisError: The folder is missing or empty, lacks nothing but its lists, or its layout has no place for a
            condition.
    """
    require(root, "folder", hint="pgpis prepare FOLDER")
    needs = [kind_of(option).needs for option in options]
    kinds = [kind_of(option) for option in dict.fromkeys([*options, *filter(None, needs)])]
    release = find_release(root) if root.is_dir() and layout == "auto" else None
    if release is not None:
        return _of_phoenix(root, release, kinds)
    layouts = layouts_in(root)
    if layout not in ("auto", "photos") and layout_named(layout) not in layouts:
        lists = _lists_of(layout_named(layout))
        page = manual("train-your-own")
        hint = f"write the list of pairs, see {page}; 'pgpis data check {root}' says what is there"
        raise PgpisError(f"{root} has no layout '{layout}': none of its lists is there, {lists}", hint=hint)
    if layout == "auto" and not layouts and _lacks_lists(root):
        lists = _lists_of(FPDMLayout)
        raise PgpisError(
            f"{root} has img/ as a data set has it, and no list of pairs: {lists}",
            hint='write the list first, [{"source_image": "./img/a.jpg", "target_image": "./img/b.jpg"}, ...]; '
            "--layout photos takes it for photographs",
        )
    files = _of_layout(root, layout, kinds) if layouts and layout != "photos" else _of_folder(root, kinds)
    _refuse_shared(files)
    return files


def _lists_of(layout: type[Layout]) -> str:
    return " or ".join(
        dict.fromkeys(name.format(split=split) for name in layout.list_names for split in get_args(Split))
    )


def _lacks_lists(root: Path) -> bool:
    """Whether a folder without lists is laid out as data sets are: ``img/``, and no picture beside it."""
    return (root / "img").is_dir() and not any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.glob("[!.]*"))


def _refuse_shared(files: Sequence[PictureFiles]) -> None:
    """Refuse two pictures of which the same files would be made: ``anna.jpg`` and ``anna.png``."""
    owners: dict[Path, PictureFiles] = {}
    for file in files:
        for _, path in file.outputs:
            other = owners.setdefault(path, file)
            if other is not file:
                message = f"{file.picture} and {other.picture} would share their files: rename one"
                raise PgpisError(message, hint="where a list names them, rename it there too")


def _of_folder(root: Path, kinds: Sequence[Kind]) -> list[PictureFiles]:
    folder = root if root.is_dir() else root.parent
    candidates = files_below(root, hidden=False) if root.is_dir() else [root]
    names = [path.relative_to(folder) for path in candidates if path.name != NAME]
    below = sorted({folder / place for name in names for place in name.parents if place.parts})
    prepared = {*below} - {*without_prepared(folder, below)}
    names = [name for name in names if prepared.isdisjoint((folder / name).parents)]
    others = [name for name in names if name.suffix.lower() not in IMAGE_SUFFIXES]
    expected = f"expected pictures ({', '.join(IMAGE_SUFFIXES)})"
    files: list[PictureFiles] = []
    for name in (name for name in names if name.suffix.lower() in IMAGE_SUFFIXES):
        picture = folder / name
        outputs = tuple((kind.option, _beside(folder, name, kind)) for kind in kinds)
        files.append(PictureFiles(name.as_posix(), picture, outputs))
    if not files:
        raise PgpisError(f"no pictures in {root}; {expected}")
    if others:
        log.warning("%s: %d files are left out, %s: %s", root, len(others), expected, first_names(others))
    return files


def _beside(folder: Path, name: Path, kind: Kind) -> Path:
    """Return where a condition of a photograph goes, by its name in a folder of photographs."""
    return beside(folder / name.name, kind, below=name.parent)


def tell_of_gone(root: Path, files: Sequence[PictureFiles], outcomes: Iterable[Outcome]) -> None:
    """Warn, once, of what was made of photographs that are gone, as other commands go on to read it.

    Args:
        root: The folder of photographs; of a data set, whose lists choose the pictures, nothing is said.
        files: The pictures that are there.
        outcomes: Those of all runs.
    """
    stems = {file.name.rpartition(".")[0] for file in files}  # anna.jpg replaces anna.png
    made = (each for each in outcomes if each.reason is None and each.name.rpartition(".")[0] not in stems)
    gone = [(Path(each.name), kind_of(each.condition)) for each in made if not (root / each.name).exists()]
    left = [path for name, kind in gone if (path := _beside(root, name, kind)).is_file()]
    if left:
        more = f" and {len(left) - 5} more in {', '.join(sorted({str(path.parent) for path in left}))}"
        message = (
            "%s: %d files were made of pictures that are gone, and stay, so that other commands read them; %s: %s%s"
        )
        mend = "remove them, or bring the pictures back"
        log.warning(message, root, len(left), mend, ", ".join(map(str, left[:5])), more if len(left) > 5 else "")


def _of_phoenix(root: Path, release: Path, kinds: Sequence[Kind]) -> list[PictureFiles]:
    """List the frames of RWTH-PHOENIX-Weather 2014T; what is made of them lies beside them in ``features``."""
    for kind in kinds:
        if kind not in conditions():
            hint = f"--conditions {','.join(known.option for known in conditions())}"
            raise PgpisError(f"Phoenix has no place for '{kind.option}'; its key points are MSKA's", hint=hint)
    frames = frames_of(release, kind_of("picture"))
    files = []
    for picture in (path for path in files_below(frames, hidden=False) if path.suffix == ".png"):
        name = picture.relative_to(frames)
        outputs = [(kind.option, (frames_of(release, kind) / name).with_suffix(str(kind.suffix))) for kind in kinds]
        files.append(PictureFiles(picture.relative_to(root).as_posix(), picture, tuple(outputs)))
    if not files:
        raise PgpisError(f"no frames in {frames}")
    return files


def _of_layout(root: Path, name: str, kinds: Sequence[Kind]) -> list[PictureFiles]:
    """List the pictures that lists name; of ``auto``, what another layout of the folder holds is not made again."""
    files: dict[Path, PictureFiles] = {}
    elsewhere: dict[Path, set[tuple[str, Path]]] = {}
    for split in get_args(Split):
        layouts = layouts_of(root, split, name)
        layout = layouts[0]
        if layout.split != split or not layout.list_path.is_file():
            continue
        found = FoundFiles(layouts if name == "auto" else [layout])
        for kind in kinds:
            if not layout.has_place_for(kind.name):
                raise PgpisError(
                    f"the layout '{layout.name}' of {root} has no place for '{kind.option}'",
                    hint=f"pgpis data link {root} --to mcld adds one that has, beside it",
                )
        for key in dict.fromkeys(key for pair in layout.read_pairs() for key in pair):
            picture = layout.path(key, "picture")
            if DATABASE in picture.parts:
                raise PgpisError(f"{root} keeps its pictures in an LMDB, which stays unopened here", hint="unpack it")
            outputs = tuple((kind.option, layout.path(key, kind.name)) for kind in kinds)
            files.setdefault(picture, PictureFiles(picture.relative_to(root).as_posix(), picture, outputs))
            there = {(kind.option, path) for kind in kinds for path in found.elsewhere([key], kind.name).values()}
            elsewhere[picture] = elsewhere.get(picture, there) & there  # every split has to find it
    if not files:
        raise PgpisError(f"{root} names no pictures", hint=f"pgpis data check {root}")
    return [_with_those(files[picture], dict(elsewhere[picture])) for picture in sorted(files)]


def _with_those(file: PictureFiles, there: Mapping[str, Path]) -> PictureFiles:
    """Take what other layouts hold; their key points, which some keep in another way, are not even opened."""
    held = frozenset({"pose"} & there.keys())
    outputs = tuple((option, path if option in held else there.get(option, path)) for option, path in file.outputs)
    return replace(file, outputs=outputs, held=held)
