"""Pairs of plain photographs: what the model reads besides is made of them."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from PIL import Image

from pgpis.data.edits import EditRequest
from pgpis.data.folder import FolderPairs, short_names
from pgpis.data.missing import WHAT, OnMissing
from pgpis.data.pairs import Appearance, Edit, Pair
from pgpis.data.pictures import content_hash
from pgpis.errors import PgpisError
from pgpis.files import file_name, printable
from pgpis.pictures.images import IMAGE_SUFFIXES
from pgpis.pictures.keypoint_files import read_keypoints
from pgpis.pictures.keypoints import Keypoints
from pgpis.pictures.plausibility import check_keypoints
from pgpis.pictures.retarget import retarget
from pgpis.pictures.videos import extract_frames, is_video
from pgpis.preprocess.pictures import ENDINGS
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.settings import NEEDS, Condition, PictureFiles, PrepareSettings
from pgpis.preprocess.tools import require_weights

log = logging.getLogger(__name__)


class PhotoPairs(FolderPairs):
    """Pairs whose textures, faces, DensePose maps and poses are made by the stages of ``pgpis prepare`` where missing.

    Args:
        sources: Folder of source pictures, or one picture.
        poses: With ``driving`` photographs of people in the wanted poses, or one video; else as for ``FolderPairs``.
        pairs_csv: See ``FolderPairs``.
        pairing: See ``FolderPairs``.
        pose_size: See ``FolderPairs``.
        textures: See ``FolderPairs``; a texture that is there is taken, not made.
        faces: Same.
        identity: See ``FolderPairs``.
        clothes: See ``FolderPairs``.
        on_missing: What happens where no face, texture or map could be made.
        driving: Whether ``poses`` are photographs.
        retarget: Give driving poses the limb lengths of the source; for models that read key points.
        settings: With which tools.
        save_conditions: Folder that keeps what is made, and is used again; None: a temporary one.
        every: Of a driving video take the first of so many frames.
    """

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
        driving: bool = True,
        retarget: bool = False,
        settings: PrepareSettings = PrepareSettings(),  # noqa: B008  frozen
        save_conditions: str | os.PathLike[str] | None = None,
        every: int = 1,
    ) -> None:
        super().__init__(
            sources,
            poses,
            pairs_csv=pairs_csv,
            pairing=pairing,
            pose_size=pose_size,
            textures=textures,
            faces=faces,
            identity=identity,
            clothes=clothes,
            on_missing=on_missing,
        )
        if retarget and not driving:
            raise PgpisError("--retarget needs the poses of photographs", hint="--driving FOLDER in place of --poses")
        if settings.skeleton != "body18" and retarget:
            raise PgpisError("--retarget works on 18 body points", hint="leave --prepare-skeleton away")
        self.driving = driving
        self.retarget = retarget
        self.settings = settings
        self.save_conditions = None if save_conditions is None else Path(save_conditions)
        self.every = every
        self._video = self.poses if driving and is_video(self.poses) else None
        self._folder: Path | None = None
        self._reasons: dict[Path, str] = {}

    def read_pairs(self) -> list[Pair]:
        """Read the pairs; see ``FolderPairs.read_pairs``. The frames of a video become pictures first."""
        if self._video is not None:
            name = file_name(self._video.stem, f"-{content_hash(self._video)[:16]}-{self.every}")
            frames = extract_frames(self._video, self._conditions / "frames" / name, self.every)
            self.poses, self.frames_per_second = frames.folder, frames.frames_per_second
        pairs = super().read_pairs()
        if not self.driving:
            return pairs
        for pair in pairs:
            if pair.pose is None or pair.pose.suffix.lower() not in IMAGE_SUFFIXES:
                raise PgpisError(f"{pair.pose} is no photograph", hint="--poses FOLDER in place of --driving")
        return [replace(pair, iuv=self._place(str(pair.pose), "densepose")) for pair in pairs]

    def require(self, origins: Collection[str]) -> None:
        """Make what the model reads and is missing, then look for it as ``FolderPairs`` does.

        Raises:
            PgpisError: Weights or packages are missing that are needed for it.
        """
        if self.retarget and "pose" not in origins:
            raise PgpisError("--retarget moves key points, and this model reads none")
        wanted = self._wanted(origins)
        kinds = [
            kind for pictures, condition in wanted if self._todo(pictures, condition) for kind in _chain(condition)
        ]
        require_weights(kinds, self.settings)
        for pictures, condition in wanted:
            self._make(pictures, condition)
        super().require(origins)

    def _wanted(self, origins: Collection[str]) -> list[tuple[list[Path], Condition]]:
        """Return which files are made of which pictures, where they are not there yet."""
        sources = list(dict.fromkeys(pair.source for pair in self.pairs))
        poses = list(dict.fromkeys(pair.pose for pair in self.pairs if pair.pose is not None))
        wanted: list[tuple[list[Path], Condition]] = []
        if self.driving and "pose" in origins:
            wanted.append(([*poses, *(sources if self.retarget else [])], "pose"))
        if self.driving and "iuv" in origins:
            wanted.append((poses, "densepose"))
        if "texture" in origins:
            wanted.append(([p.source for p in self.pairs if not _exists(p.appearance.texture)], "texture"))
        if "face" in origins and self.on_missing.face_space == "recogniser":
            wanted.append(([p.source for p in self.pairs if not _exists(p.appearance.face)], "face"))
        return wanted

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points that were found in the driving picture, on the source's body if that is asked for."""
        if not self.driving:
            return super().read_pose(pair)
        driving = self._points(str(pair.pose))
        if not self.retarget:
            return driving
        return check_keypoints(retarget(driving, self._points(str(pair.source))), f"{pair.pose} on another body")

    def _pairs_by_pose(self) -> Iterable[Pair]:
        """Return all pairs where the pose also depends on the source."""
        return self.pairs if self.retarget else super()._pairs_by_pose()

    def sequences(self) -> dict[str, list[Pair]]:
        """Return the frames of the driving video by the source that they drive."""
        if self._video is None:
            return {}
        driven: dict[Path, list[Pair]] = {}
        for pair in self.pairs:
            driven.setdefault(pair.source, []).append(pair)
        names = short_names(driven)
        return {f"{names[source]}_2_{self._video.stem}": pairs for source, pairs in driven.items()}

    def _points(self, picture: str) -> Keypoints:
        path = self._place(picture, "pose")
        if path in self._reasons:
            raise PgpisError(f"no key points of {picture}: {self._reasons[path]}")
        return read_keypoints(path)

    def _appearance(self, picture: Path) -> Appearance:
        """Take the files that lie beside a picture, else those that are made."""
        found = super()._appearance(picture)
        return Appearance(
            texture=found.texture if _exists(found.texture) else self._place(str(picture), "texture"),
            face=found.face if _exists(found.face) else self._place(str(picture), "face"),
        )

    def _edit(self, request: EditRequest | None) -> Edit | None:
        """Make what an edit takes from other pictures, which is needed to list the pairs."""
        if request is not None:
            lenders = [name for _, name in request.clothes] + ([request.identity] if request.identity else [])
            pictures = [self._picture(name) for name in lenders]
            self._make([path for path in pictures if not _exists(self._appearance(path).texture)], "texture")
            if request.identity is not None and self.on_missing.face_space == "recogniser":
                self._make([self._picture(request.identity)], "face")
        return super()._edit(request)

    def _existing(self, pair: Pair, origin: str) -> Path | None:
        """Say why a file could not be made."""
        path = pair.file(origin)
        if path in self._reasons and getattr(self.on_missing, origin) != "drop":
            raise PgpisError(f"no {WHAT[origin]}: {self._reasons[path]}")
        return super()._existing(pair, origin)

    def _make(self, pictures: Iterable[Path], condition: Condition) -> None:
        """Make one kind of file of some pictures in this process."""
        files, conditions = self._todo(pictures, condition), _chain(condition)
        if not files:
            return
        log.info("making %s of %d photographs", " and ".join(conditions), len(files))
        result = prepare(files, conditions, self.settings, Record(self._conditions / NAME), run_here)
        for outcome in result.failures:
            self._reasons[self._place(outcome.name, outcome.condition)] = str(outcome.reason)

    def _todo(self, pictures: Iterable[Path], condition: Condition) -> list[PictureFiles]:
        files = [
            PictureFiles(str(path), path, tuple((kind, self._place(str(path), kind)) for kind in _chain(condition)))
            for path in dict.fromkeys(pictures)
        ]
        return [file for file in files if not file.path(condition).is_file()]

    def _place(self, picture: str, condition: Condition) -> Path:
        """Return where a condition of a picture is kept; the name changes with the picture's content and the tools."""
        path = Path(picture)
        stamp = f"{content_hash(path) or printable(str(path.absolute()))} {self.settings.tools(condition)}"
        digits = hashlib.sha256(stamp.encode()).hexdigest()[:16]
        cut = file_name(path.stem, f"-{digits}{ENDINGS[condition][1]}")
        return self._conditions / condition / cut

    def file_content(self, path: Path | None) -> str:
        """Identify a file that is made of a photograph by its name; nets may give other last bits the next time."""
        if path is not None and self._conditions in path.parents:
            return path.name if path.is_file() else ""
        return super().file_content(path)

    def pose_content(self, pair: Pair) -> str:
        """Identify the key points that were found in photographs."""
        if not self.driving:
            return super().pose_content(pair)
        pictures = [pair.pose, pair.source] if self.retarget else [pair.pose]
        files = [self.file_content(self._place(str(picture), "pose")) for picture in pictures]
        return "" if "" in files else f"{files} retargeted" if self.retarget else str(files)

    @property
    def _conditions(self) -> Path:
        if self._folder is None:
            if self.save_conditions is not None:
                self._folder = self.save_conditions
            else:
                self._folder = Path(tempfile.mkdtemp(prefix="pgpis-conditions-"))
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


def _chain(condition: Condition) -> list[Condition]:
    """Return what is made, in order, where a kind of file is wanted."""
    return [NEEDS[condition], condition] if condition in NEEDS else [condition]


def _exists(path: Path | None) -> bool:
    return path is not None and path.is_file()
