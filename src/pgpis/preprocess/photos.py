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
from pgpis.data.folder import FolderPairs
from pgpis.data.missing import WHAT, OnMissing
from pgpis.data.pairs import Appearance, Edit, Pair
from pgpis.data.pictures import content_hash
from pgpis.errors import PgpisError
from pgpis.files import file_name, printable
from pgpis.images import IMAGE_SUFFIXES
from pgpis.keypoint_files import read_keypoints
from pgpis.keypoints import Keypoints
from pgpis.preprocess.pictures import ENDINGS
from pgpis.preprocess.record import NAME, Record
from pgpis.preprocess.run import prepare, run_here
from pgpis.preprocess.settings import Condition, PictureFiles, PrepareSettings
from pgpis.retarget import retarget

log = logging.getLogger(__name__)


class PhotoPairs(FolderPairs):
    """Pairs whose textures, faces, DensePose maps and poses are made by the stages of ``pgpis prepare`` where missing.

    Args:
        sources: Folder of source pictures, or one picture.
        poses: With ``driving`` photographs of people in the wanted poses; else as for ``FolderPairs``.
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
        self._folder: Path | None = None
        self._reasons: dict[Path, str] = {}

    def read_pairs(self) -> list[Pair]:
        """Read the pairs; see ``FolderPairs.read_pairs``."""
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
        sources = list(dict.fromkeys(pair.source for pair in self.pairs))
        poses = list(dict.fromkeys(pair.pose for pair in self.pairs if pair.pose is not None))
        if self.driving:
            if "pose" in origins:
                self._make(poses, "pose")
            if "iuv" in origins:
                self._make(poses, "densepose")
            if self.retarget:
                self._make(sources, "pose")
        if "texture" in origins:
            self._make([pair.source for pair in self.pairs if not _exists(pair.appearance.texture)], "texture")
        if "face" in origins:
            self._make([pair.source for pair in self.pairs if not _exists(pair.appearance.face)], "face")
        super().require(origins)

    def read_pose(self, pair: Pair) -> Keypoints | Image.Image:
        """Read the key points that were found in the driving picture, on the source's body if that is asked for."""
        if not self.driving:
            return super().read_pose(pair)
        driving = self._points(str(pair.pose))
        return retarget(driving, self._points(str(pair.source))) if self.retarget else driving

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
            if request.identity is not None:
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
        conditions: list[Condition] = ["densepose", "texture"] if condition == "texture" else [condition]
        files = [
            PictureFiles(str(path), path, tuple((kind, self._place(str(path), kind)) for kind in conditions))
            for path in dict.fromkeys(pictures)
        ]
        files = [file for file in files if not file.path(condition).is_file()]
        if not files:
            return
        log.info("making %s of %d photographs", " and ".join(conditions), len(files))
        result = prepare(files, conditions, self.settings, Record(self._conditions / NAME), run_here)
        for outcome in result.failures:
            self._reasons[self._place(outcome.name, outcome.condition)] = str(outcome.reason)

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


def _exists(path: Path | None) -> bool:
    return path is not None and path.is_file()
