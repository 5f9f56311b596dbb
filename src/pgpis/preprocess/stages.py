"""The steps from a photograph to the files that a model reads, one class for each kind of file."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.pictures.arrays import write_array
from pgpis.pictures.backdrop import backdrop_of
from pgpis.pictures.decoding import verified_size
from pgpis.pictures.images import IMAGE_SUFFIXES, read_image, save_image
from pgpis.pictures.iuv import iuv_pixels, part_u_v, read_iuv
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.pictures.kinds import kind_of
from pgpis.pictures.plausibility import check_keypoints
from pgpis.pictures.surface import surface_of
from pgpis.pictures.uv_texture import TextureMapper
from pgpis.preprocess.blazepose.estimator import PERSON, BlazePoseEstimator, see
from pgpis.preprocess.face import Face, FaceParser, face_encoder, face_weights
from pgpis.preprocess.pose import pose_estimator, pose_weights
from pgpis.preprocess.settings import (
    USUAL,
    Box,
    NothingFoundError,
    Outcome,
    PictureFiles,
    PrepareSettings,
    box_of,
    refuse_absent,
)
from pgpis.preprocess.stage import Stage, Uncertain
from pgpis.weight_files import fetch_command, find, locate, require

log = logging.getLogger(__name__)


def _rounded(corners: Iterable[Any]) -> Box:
    return box_of(round(float(corner), 2) for corner in corners)


class PoseStage(Stage):
    """Key points of the person."""

    condition = "pose"
    weights = staticmethod(pose_weights)

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__(settings)
        self.estimator = pose_estimator(settings)

    def make(self, picture: Image.Image, files: PictureFiles) -> Uncertain:
        """See :meth:`Stage.make`."""
        person, doubt = self.settings.person or 0, ""
        if isinstance(self.estimator, BlazePoseEstimator):
            pixels = np.asarray(picture)
            sighting = see(pixels, person)
            doubt = sighting.doubt
            points, scores = self.estimator.keypoints(pixels, sighting)
        else:
            points, scores = self.estimator(picture, person)
        seen = points.visible.all(axis=1)
        if not seen.any():
            raise NothingFoundError("a person was found, but no point of it is certain enough")
        check_keypoints(points, "a person was found")
        write_keypoints(files.path("pose"), points, scores)
        return Uncertain(_rounded([*points.points[seen].min(axis=0), *points.points[seen].max(axis=0)]), doubt)


def densepose_weights(settings: PrepareSettings) -> tuple[str, ...]:
    """Return the catalogue's names of what DensePose's maps are made with."""
    settings = settings.settled()
    is_at_hand = settings.densepose_weights is not None or settings.densepose == "lifter"
    return () if is_at_hand else (f"densepose-{settings.densepose}",)


class DensePoseStage(Stage):
    """the DensePose map."""

    condition = "densepose"
    weights = staticmethod(densepose_weights)

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__(settings)
        settings = self.settings
        self.net: Any
        if settings.densepose == "lifter":
            from pgpis.preprocess.lifter import LiftedDensePose

            self.net = LiftedDensePose()
            return
        if settings.densepose == "detectron2":
            from pgpis.preprocess.densepose.detectron2 import Detectron2DensePose

            assert settings.densepose_config is not None
            assert settings.densepose_weights is not None
            self.net = Detectron2DensePose(
                settings.densepose_config, settings.densepose_weights, settings.chosen_device
            )
            return
        from pgpis.preprocess.densepose import load_densepose

        path = settings.densepose_weights or find(f"densepose-{settings.densepose}", settings.weights)[0]
        self.net = load_densepose(path).to(settings.chosen_device)

    def __call__(self, files: Sequence[PictureFiles]) -> list[Outcome]:
        """See :meth:`Stage.__call__`; pictures go through the net together."""
        pictures: dict[str, Image.Image] = {}
        maps: dict[str, Any] = {}
        for file in files if len(files) > 1 else ():
            with suppress(Exception):  # it is told below
                pictures[file.name] = read_image(file.picture)
        if len(pictures) > 1:
            with suppress(Exception):  # out of memory, say; one by one they may still succeed
                maps = dict(zip(pictures, self.maps(list(pictures.values())), strict=True))
        return [
            self.attempt(file, self._write, maps[file.name], file)
            if file.name in maps
            else self.attempt(file, self._make, file)
            for file in files
        ]

    def maps(self, pictures: Sequence[Image.Image]) -> list[Any]:
        """Return of each picture part, U, V ``(H, W, 3)`` and who is shown; None where nobody is found."""
        enabled = self.settings.dtype == "bf16"
        with torch.autocast(torch.device(self.settings.chosen_device).type, torch.bfloat16, enabled=enabled):
            maps: list[Any] = self.net(pictures, self.settings.overflow, self.settings.person)
        return maps

    def _write(self, result: Any, files: PictureFiles) -> Uncertain:
        if result is None:
            raise NothingFoundError("no people found")
        iuv, person = result
        save_image(Image.fromarray(iuv_pixels(iuv)), files.path("densepose"))
        return Uncertain(_rounded(person.box), getattr(person, "doubt", ""))

    def make(self, picture: Image.Image, files: PictureFiles) -> Uncertain:
        """See :meth:`Stage.make`."""
        return self._write(self.maps([picture])[0], files)


class TextureStage(Stage):
    """Texture of the body, from the picture and the DensePose map."""

    condition = "texture"
    is_neural = False

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__(settings)
        self.mapper = TextureMapper(settings.texture_mask, settings.inpaint)

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        texture = self.mapper(np.asarray(picture), _map_of(picture, files))
        save_image(Image.fromarray(texture), files.path("texture"))
        return None


def _map_of(picture: Image.Image, files: PictureFiles) -> NDArray[np.uint8]:
    """Read the map that was made of a picture, ``(H, W, 3)`` of part, U, V."""
    iuv = read_iuv(files.path("densepose"))
    if picture.size != iuv.size:
        raise PgpisError(f"the picture is {picture.width}x{picture.height}, its DensePose map {iuv.width}x{iuv.height}")
    return part_u_v(iuv)


class SurfaceStage(Stage):
    """What the picture shows of the body, through the DensePose map."""

    condition = "surface"
    is_neural = False

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        save_image(Image.fromarray(surface_of(np.asarray(picture), _map_of(picture, files))), files.path("surface"))
        return None


class BackdropStage(Stage):
    """The picture without the person."""

    condition = "backdrop"

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        pixels = np.asarray(picture)
        person = see(pixels, self.settings.person or 0).silhouette > PERSON
        save_image(Image.fromarray(backdrop_of(pixels, person)), files.path("backdrop"))
        return None


class FaceStage(Stage):
    """Embedding of the face."""

    condition = "face"
    weights = staticmethod(face_weights)

    def __init__(self, settings: PrepareSettings) -> None:
        super().__init__(settings)
        self.encoder = face_encoder(settings)

    def face(self, picture: Image.Image) -> Face:
        """Return the chosen face of a picture.

        Raises:
            NothingFoundError: There is none.
        """
        faces, person = self.encoder(picture), self.settings.person or 0
        refuse_absent("faces", len(faces), person)
        return faces[person]

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        face = self.face(picture)
        write_array(files.path("face"), face.embedding)
        return face.box


class FaceMaskStage(FaceStage):
    """Pixels of the face."""

    condition = "face_mask"
    weights = staticmethod(lambda settings: (*face_weights(settings), "facexlib-parsing"))

    def __init__(self, settings: PrepareSettings) -> None:
        self.parser = FaceParser(find("facexlib-parsing", settings.weights)[0], settings.chosen_device)
        super().__init__(settings)

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        box = self.face(picture).box
        save_image(self.parser(picture, box), files.path("face_mask"))
        return box


@functools.lru_cache(maxsize=8)
def build_stage(condition: str, settings: PrepareSettings) -> Stage:
    """Load what makes one kind of file, once in a process; see :class:`Stage`."""
    return Stage.classes[condition](settings)


def require_weights(conditions: Iterable[str], settings: PrepareSettings) -> None:
    """Look for the weights of all stages before anything starts.

    Raises:
        PgpisError: Files are missing; names all of them and the command that gets them.
    """
    stages = {condition: Stage.classes[condition] for condition in conditions}
    require((name for stage in stages.values() for name in stage.weights(settings)), settings.weights)
    for condition in stages:
        if replaced := settings.replaced(condition):
            log.info(
                "%s by %s, which ships with pgpis; with '%s' by %s",
                *(kind_of(condition).plural, getattr(settings.settled(), condition)),
                *(fetch_command(replaced, settings.weights), USUAL[condition][-1]),
            )


def without_missing(conditions: Iterable[str], settings: PrepareSettings) -> list[str]:
    """Return those of the conditions that no missing weights are needed for."""
    weights = {name: stage.weights(settings) for name, stage in Stage.classes.items()}
    lacking = {
        name
        for name, needed in weights.items()
        if any(None in locate(each, settings.weights).values() for each in needed)
    }
    return [condition for condition in conditions if lacking.isdisjoint(kind_of(condition).chain)]


def is_valid(condition: str, files: PictureFiles) -> bool:
    """Whether a file is there and can be used; cheap, because a resumed job asks it of every file."""
    path, kind = files.path(condition), kind_of(condition)
    try:
        if not path.is_file():
            return False
        if path.suffix in IMAGE_SUFFIXES:
            return kind.size in (None, verified_size(path))
        kind.read(path)
    except Exception:  # noqa: BLE001  libraries raise anything on damaged files, which are made again
        return False
    return True
