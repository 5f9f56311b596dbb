"""A user's own pictures and poses: two folders, or a CSV that pairs them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from pgpis.data.edits import EditRequest, edit_name
from pgpis.data.identity import refuse_shared, with_names_of_their_own
from pgpis.data.missing import WHAT, OnMissing
from pgpis.data.pairs import Appearance, Edit, Pair, PairDataset
from pgpis.data.pictures import picture_exists
from pgpis.data.tables import EDIT_SEPARATOR, read_table
from pgpis.errors import PgpisError, refuse_if_all_fail
from pgpis.files import is_file, printable
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoints import Frame
from pgpis.pictures.uv_texture import parts_of
from pgpis.pictures.videos import is_video

log = logging.getLogger(__name__)

KEYPOINT_SUFFIXES = (".txt", ".json", ".npy")
POSE_SUFFIXES = (*KEYPOINT_SUFFIXES, *IMAGE_SUFFIXES)

Row = tuple[Path, Path, Path | None]


class FolderPairs(PairDataset):
    """Pairs of source pictures and poses in folders.

    A pose is an 18-line or 133-line ``.txt``, an OpenPose ``.json``, a 133-point ``.npy``, a picture of a drawn
    skeleton, or DensePose's map as ``.png`` for models that read one. The result of a pair is called ``SOURCE_2_POSE``,
    after the two files without their suffixes; where two files share that name, their suffix or folder is kept.

    Textures and faces of ``photos/anna.jpg`` are ``photos_texture/anna.png`` and ``photos_face/anna.npy``; the
    DensePose map of a pose file ``poses/walk.txt`` is ``poses_densepose/walk.png``.

    Args:
        sources: Folder of source pictures, or one picture.
        poses: Folder of poses, or one pose.
        pairs_csv: Table with columns ``source,pose[,target][,identity][,clothes]``; names are looked up in the folders,
            then beside the table. Replaces ``pairing``. ``clothes`` holds ``GROUP=PICTURE``, several parted by ``|``.
        pairing: ``product`` pairs every source with every pose, ``stem`` pairs files of the same name
            (``anna.jpg`` with ``anna.txt`` or ``anna_keypoints.json``).
        pose_size: (height, width) of the pictures that the key points were found in. Needed for 133-point files;
            without it, 18-line files are read in DeepFashion's frame and OpenPose files must name their canvas.
        textures: Folder of texture maps instead of ``SOURCES_texture``, or the one of a single source.
        faces: Folder of face embeddings instead of ``SOURCES_face``, or the one of a single source.
        identity: A picture whose face and head all results take.
        clothes: ``GROUP=PICTURE``: parts of the texture that all results take from another picture.
        on_missing: What happens where a face, texture or DensePose map does not exist that the model reads.
    """

    complete = False

    def __init__(
        self,
        sources: str | os.PathLike[str],
        poses: str | os.PathLike[str],
        pairs_csv: str | os.PathLike[str] | None = None,
        pairing: Literal["product", "stem"] = "product",
        pose_size: tuple[int, int] | None = None,
        textures: str | os.PathLike[str] | None = None,
        faces: str | os.PathLike[str] | None = None,
        identity: str | None = None,
        clothes: tuple[str, ...] = (),
        on_missing: OnMissing = OnMissing(),  # noqa: B008  frozen
    ) -> None:
        frame = None if pose_size is None else Frame(*pose_size, name="pose_size")
        super().__init__(pose_frame=frame, on_missing=on_missing)
        self.sources = Path(sources)
        self.poses = Path(poses)
        self.pairs_csv = None if pairs_csv is None else Path(pairs_csv)
        self.pairing = pairing
        self.textures = None if textures is None else Path(textures)
        self.faces = None if faces is None else Path(faces)
        self.identity = identity
        self.clothes = clothes

    def read_pairs(self) -> list[Pair]:
        """List the folders or read the table.

        Raises:
            PgpisError: A folder is missing or empty, a file has an unknown suffix, nothing pairs up, a pair is
                named twice, or an edit names a picture that does not exist.
        """
        everywhere = EditRequest.parse(self.identity, self.clothes)
        edits: list[EditRequest | None] = []
        if self.pairs_csv is not None:
            rows, edits = self._rows_of_table(self.pairs_csv)
        else:
            sources = list_files(self.sources, IMAGE_SUFFIXES, "source pictures")
            poses = list_files(self.poses, POSE_SUFFIXES, "poses")
            if self.pairing == "stem":
                rows = pair_by_stem(sources, poses)
            else:
                rows = [(source, pose, None) for source in sources for pose in poses]
        edits = [edit or everywhere for edit in edits or [None] * len(rows)]
        source_names = short_names(source for source, _, _ in rows)
        pose_names = short_names(pose for _, pose, _ in rows)
        return with_names_of_their_own(
            Pair(
                f"{source_names[source]}_2_{pose_names[pose]}{edit_name(edit)}",
                source,
                pose,
                target,
                iuv=iuv_of(pose),
                appearance=self._appearance(source),
                edit=self._edit(edit),
                noise_name=printable(
                    source_names[source]
                ),  # a person moves through the poses of a video without flicker
            )
            for (source, pose, target), edit in zip(rows, edits, strict=True)
        )

    def require(self, origins: Collection[str]) -> None:
        """Look for the files that a model reads; see ``PairDataset.require``.

        Raises:
            PgpisError: Files are missing that may not be, two pictures or poses would share one that was made of one
                of them, or no pose at all can be read.
        """
        for origin in WHAT:
            if origin in origins:
                refuse_shared(origin, ((pair.pose if origin == "iuv" else pair.source, pair) for pair in self.pairs))
        super().require(origins)
        if "pose" in origins:
            refuse_if_all_fail(self.read_pose, self._pairs_by_pose())

    def _pairs_by_pose(self) -> Iterable[Pair]:
        """Return a pair of each pose."""
        return {pair.pose: pair for pair in self.pairs}.values()

    def _appearance(self, picture: Path) -> Appearance:
        return Appearance(
            texture=beside(picture, "_texture", ".png", self.textures),
            face=beside(picture, "_face", ".npy", self.faces),
        )

    def _edit(self, request: EditRequest | None) -> Edit | None:
        if request is None:
            return None
        identity = None if request.identity is None else self._appearance(self._picture(request.identity))
        clothes = []
        for group, name in request.clothes:
            texture = self._appearance(self._picture(name)).texture
            if texture is None or not is_file(texture):
                raise PgpisError(
                    f"clothes {group}={name}: no texture map {texture}", hint=self.on_missing.hint("texture")
                )
            clothes.append((parts_of(group), texture))
        for what, path in () if identity is None else (("face", identity.face), ("texture", identity.texture)):
            droppable = what == "face" and self.on_missing.face == "drop"
            if not droppable and (path is None or not is_file(path)):
                raise PgpisError(
                    f"identity {request.identity}: no {WHAT[what]} {path}", hint=self.on_missing.hint(what)
                )
        return Edit(identity, tuple(clothes))

    def _picture(self, name: str) -> Path:
        places = [self.sources, Path(), *([] if self.pairs_csv is None else [self.pairs_csv.parent])]
        path = find_file(name, places)
        if not picture_exists(path):
            raise PgpisError(f"picture not found: {name}; looked in {self.sources} and in the working directory")
        return path

    def _rows_of_table(self, path: Path) -> tuple[list[Row], list[EditRequest | None]]:
        lines = read_table(path)
        rows: list[Row] = []
        edits: list[EditRequest | None] = []
        first_lines: dict[tuple[str, ...], int] = {}
        for number, line in lines:
            key = tuple(line.get(column, "") for column in ("source", "pose", "identity", "clothes"))
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
            clothes = [word for word in line.get("clothes", "").split(EDIT_SEPARATOR) if word.strip()]
            edits.append(EditRequest.parse(line.get("identity"), clothes))
        if not any(picture_exists(source) and picture_exists(pose) for source, pose, _ in rows):
            source, pose, _ = rows[0]
            raise PgpisError(
                f"{path}: none of its pairs exists; the first one would be {source} and {pose}",
                hint="names are relative to the folders of sources and poses, or to the table",
            )
        return rows, edits


def iuv_of(pose: Path) -> Path | None:
    """Return the DensePose map of a pose: the file itself where it can be one, else the one beside its folder."""
    return pose if pose.suffix.lower() == ".png" else beside(pose, "_densepose", ".png", None)


def beside(path: Path, ending: str, suffix: str, given: Path | None) -> Path:
    """``photos/anna.jpg`` to ``photos_texture/anna.png``; ``given`` replaces the folder or, as a file, the result."""
    if given is not None and given.suffix.lower() == suffix:
        return given
    parent = path.parent if path.parent.name not in ("", "..") else path.absolute().parent
    folder = parent.with_name(f"{parent.name}{ending}") if given is None else given
    return folder / f"{stem_of(path)}{suffix}"


def list_files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """List the files of a folder that end in one of ``suffixes``, by name; a single file stands for itself.

    Raises:
        PgpisError: The folder is missing or holds no such file.
    """
    expected = f"expected {what} ({', '.join(suffixes)})"
    if picture_exists(folder):
        if folder.suffix.lower() not in suffixes:
            hint = "--driving takes the poses from a video" if is_video(folder) else None
            raise PgpisError(f"{folder}: unknown suffix '{folder.suffix}', {expected}", hint=hint)
        return [folder]
    if not os.path.isdir(folder):  # noqa: PTH112  false also for a name that no file system takes
        raise PgpisError(f"folder not found: {folder}; {expected}")
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in shown if path.is_dir()]
    named = [path for path in shown if not path.is_dir()]
    files = [path for path in named if path.suffix.lower() in suffixes]
    others = [path for path in named if path.suffix.lower() not in suffixes]
    if any(is_file(path) for path in files):
        if left_out := [*folders, *others]:
            names = _first_names(left_out)
            log.warning("%s: %d files and folders are left out, %s: %s", folder, len(left_out), expected, names)
        return files  # links that lead nowhere among them: their pairs fail
    reasons = [f"{len(files)} links lead nowhere: {_first_names(files)}"] if files else []
    reasons += [f"it holds {len(folders)} folders, which are not searched: {_first_names(folders)}"] if folders else []
    reasons += [f"its {len(others)} files have other suffixes, e.g. {_first_names(others)}"] if others else []
    if not reasons:
        reasons = ["its files are hidden ones"] if any(folder.iterdir()) else ["it is empty"]
    hint = "name one of its folders, or list the files in a table for --pairs" if folders else None
    raise PgpisError(f"nothing to read in {folder}: {'; '.join(reasons)}; {expected}", hint=hint)


def _first_names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:5])


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


def find_file(name: str, folders: Sequence[Path]) -> Path:
    """Look a name up in folders; where it is in none, return where it was expected first."""
    candidates = [folder / name if folder.is_dir() else folder.parent / name for folder in folders]
    return next((path for path in candidates if picture_exists(path)), candidates[0])


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
