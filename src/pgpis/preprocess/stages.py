"""The steps from a photograph to the files that a model reads, one class for each kind of file."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image

from pgpis.errors import PgpisError
from pgpis.files import UnwritableError
from pgpis.jobs import reason_of
from pgpis.pictures.arrays import write_array
from pgpis.pictures.conditions import read_face, read_iuv
from pgpis.pictures.images import read_image, save_image
from pgpis.pictures.keypoint_files import read_keypoints, write_keypoints
from pgpis.pictures.picture_files import verified_size
from pgpis.pictures.plausibility import check_keypoints
from pgpis.pictures.uv_texture import TEXTURE_SIZE, TextureMapper
from pgpis.preprocess.settings import (
    Box,
    Condition,
    NothingFoundError,
    Outcome,
    PictureFiles,
    PrepareSettings,
    refuse_absent,
)
from pgpis.preprocess.tools import face_encoder, pose_estimator
from pgpis.weight_files import find

if TYPE_CHECKING:  # a worker loads the libraries of its own stage only
    from pgpis.preprocess.face import Face, FaceEncoder, FaceParser
    from pgpis.preprocess.pose import PoseEstimator

log = logging.getLogger(__name__)


class Stage(ABC):
    """Makes one kind of file for pictures; a picture that fails does not stop the others."""

    condition: ClassVar[Condition]

    def __call__(self, files: Sequence[PictureFiles]) -> list[Outcome]:
        """Make the files of some pictures, each atomically.

        Returns:
            What became of each, in their order.
        """
        return [self._attempt(file) for file in files]

    def _attempt(self, files: PictureFiles) -> Outcome:
        try:
            return Outcome(files.name, self.condition, box=self.make(read_image(files.picture), files))
        except UnwritableError:  # it ends the job
            raise
        except Exception as error:  # noqa: BLE001  libraries raise anything on odd pictures, and the job goes on
            return self.failure(files, error)

    def failure(self, files: PictureFiles, error: Exception) -> Outcome:
        """Return the outcome of a picture that has no such file."""
        log.debug("%s of %s", self.condition, files.picture, exc_info=error)
        return Outcome(files.name, self.condition, reason_of(error), found=not isinstance(error, NothingFoundError))

    @abstractmethod
    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """Make the file of one picture; return where in the picture it comes from.

        Raises:
            NothingFoundError: The picture shows no such thing.
            PgpisError: Something else is missing or unreadable.
        """


class PoseStage(Stage):
    """Key points of the person."""

    condition = "pose"

    def __init__(self, estimator: PoseEstimator, person: int | None = None) -> None:
        self.estimator = estimator
        self.person = person or 0

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        points, scores = self.estimator(picture, self.person)
        seen = points.visible.all(axis=1)
        if not seen.any():
            raise NothingFoundError("a person was found, but no point of it is certain enough")
        check_keypoints(points, "a person was found")
        write_keypoints(files.path("pose"), points, scores)
        corners = [*points.points[seen].min(axis=0), *points.points[seen].max(axis=0)]
        left, top, right, bottom = (round(float(value), 2) for value in corners)
        return left, top, right, bottom


class DensePoseStage(Stage):
    """DensePose's map."""

    condition = "densepose"

    def __init__(self, settings: PrepareSettings) -> None:
        self.settings = settings
        self.net: Any
        if settings.densepose == "detectron2":
            from pgpis.preprocess.densepose.detectron2 import Detectron2DensePose

            assert settings.densepose_config is not None
            assert settings.densepose_weights is not None
            self.net = Detectron2DensePose(settings.densepose_config, settings.densepose_weights, settings.device)
            return
        from pgpis.preprocess.densepose import load_densepose

        path = settings.densepose_weights or find(f"densepose-{settings.densepose}", settings.weights)[0]
        self.net = load_densepose(path).to(settings.device)

    def __call__(self, files: Sequence[PictureFiles]) -> list[Outcome]:
        """See :meth:`Stage.__call__`; pictures go through the net in batches."""
        outcomes: dict[str, Outcome] = {}
        for start in range(0, len(files), self.settings.batch_size):
            read = [(file, self._read(file)) for file in files[start : start + self.settings.batch_size]]
            outcomes |= {file.name: picture for file, picture in read if isinstance(picture, Outcome)}
            made = self._batch([(file, picture) for file, picture in read if isinstance(picture, Image.Image)])
            outcomes |= {outcome.name: outcome for outcome in made}
        return [outcomes[file.name] for file in files]

    def _read(self, files: PictureFiles) -> Image.Image | Outcome:
        try:
            return read_image(files.picture)
        except Exception as error:  # noqa: BLE001  as above
            return self.failure(files, error)

    def _batch(self, batch: Sequence[tuple[PictureFiles, Image.Image]]) -> list[Outcome]:
        if not batch:
            return []
        enabled = self.settings.dtype == "bf16"
        try:
            with torch.autocast(torch.device(self.settings.device).type, torch.bfloat16, enabled=enabled):
                found = self.net([picture for _, picture in batch], self.settings.overflow, self.settings.person)
        except Exception as error:  # noqa: BLE001  out of memory, say; one by one the others may still succeed
            if len(batch) == 1:
                return [self.failure(batch[0][0], error)]
            return [outcome for item in batch for outcome in self._batch([item])]
        outcomes = []
        for (files, _), result in zip(batch, found, strict=True):
            if result is None:
                outcomes.append(self.failure(files, self._nobody()))
                continue
            iuv, person = result
            try:
                # the file holds V, U, part
                save_image(Image.fromarray(np.ascontiguousarray(iuv[..., ::-1])), files.path("densepose"))
            except UnwritableError:
                raise
            except Exception as error:  # noqa: BLE001  a name that is too long, say
                outcomes.append(self.failure(files, error))
                continue
            left, top, right, bottom = (round(float(value), 2) for value in person.box)
            outcomes.append(Outcome(files.name, self.condition, box=(left, top, right, bottom)))
        return outcomes

    def _nobody(self) -> PgpisError:
        if self.settings.person:
            return PgpisError(f"--person {self.settings.person} is not among the people found")
        return NothingFoundError("no people found")

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        outcome = self._batch([(files, picture)])[0]
        return outcome.box


class TextureStage(Stage):
    """Texture of the body, from the picture and DensePose's map."""

    condition = "texture"

    def __init__(self, mask: Path | None = None) -> None:
        self.mapper = TextureMapper(mask)

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        iuv = read_iuv(files.path("densepose"))
        if picture.size != iuv.size:
            raise PgpisError(
                f"the picture is {picture.width}x{picture.height}, its DensePose map {iuv.width}x{iuv.height}"
            )
        # the file holds V, U, part
        texture = self.mapper(np.asarray(picture), np.ascontiguousarray(np.asarray(iuv)[..., ::-1]))
        save_image(Image.fromarray(texture), files.path("texture"))
        return None


class FaceStage(Stage):
    """Embedding of the face."""

    condition: ClassVar[Condition] = "face"

    def __init__(self, encoder: FaceEncoder, person: int | None = None) -> None:
        self.encoder = encoder
        self.person = person or 0

    def face(self, picture: Image.Image) -> Face:
        """Return the chosen face of a picture.

        Raises:
            NothingFoundError: There is none.
        """
        faces = self.encoder(picture)
        refuse_absent("faces", len(faces), self.person)
        return faces[self.person]

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        face = self.face(picture)
        write_array(files.path("face"), face.embedding)
        return face.box


class FaceMaskStage(FaceStage):
    """Pixels of the face."""

    condition = "face_mask"

    def __init__(self, encoder: FaceEncoder, parser: FaceParser, person: int | None = None) -> None:
        super().__init__(encoder, person)
        self.parser = parser

    def make(self, picture: Image.Image, files: PictureFiles) -> Box | None:
        """See :meth:`Stage.make`."""
        box = self.face(picture).box
        save_image(self.parser(picture, box), files.path("face_mask"))
        return box


@functools.lru_cache(maxsize=8)
def build_stage(condition: Condition, settings: PrepareSettings) -> Stage:
    """Load what makes one kind of file, once in a process.

    Raises:
        PgpisError: A package or file of weights is missing; names it and the command that gets it.
    """
    if condition == "pose":
        return PoseStage(pose_estimator(settings), settings.person)
    if condition == "densepose":
        return DensePoseStage(settings)
    if condition == "texture":
        return TextureStage(settings.texture_mask)
    if condition == "face":
        return FaceStage(face_encoder(settings), settings.person)
    from pgpis.preprocess.face import FaceParser

    parser = FaceParser(find("facexlib-parsing", settings.weights)[0], settings.device)
    return FaceMaskStage(face_encoder(settings), parser, settings.person)


def is_valid(condition: Condition, files: PictureFiles) -> bool:
    """Whether a file is there and can be used; cheap, because a resumed job asks it of every file."""
    path = files.path(condition)
    try:
        if not path.is_file():
            return False
        if condition == "pose":
            read_keypoints(path)
        elif condition == "face":
            read_face(path)
        else:
            size = verified_size(path)
            return condition != "texture" or size == (TEXTURE_SIZE, TEXTURE_SIZE)
    except Exception:  # noqa: BLE001  libraries raise anything on damaged files, which are made again
        return False
    return True
