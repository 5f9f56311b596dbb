"""Faces in a picture and what identifies them: insightface's and facexlib's models behind one protocol."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError, first_line
from pgpis.lazy import optional_module
from pgpis.preprocess.settings import INSTALL, Box, PrepareSettings, box_of
from pgpis.weight_files import find

MARGIN = 1.5
"""Side of the region that is enlarged, by that of the face's box."""
DETECTION_SIZE = (640, 640)
FACEXLIB_CONFIDENCE = 0.8
FACEXLIB_WEIGHTS = "pgpis weights fetch facexlib-detection facexlib-recognition facexlib-parsing"
PARSED_FACE = tuple(range(1, 14))
"""Skin, brows, eyes, glasses, ears, nose, mouth, lips among the classes of facexlib's parser."""
PARSER_SIDE = 512

Pixels = NDArray[np.uint8]
Landmarks = NDArray[np.float32]
"""Eyes, nose, corners of the mouth: x, y, ``(5, 2)``."""


def face_weights(settings: PrepareSettings) -> tuple[str, ...]:
    """Return the catalogue's names of the weights that find and embed faces."""
    return ("facexlib-detection", "facexlib-recognition") if settings.face == "facexlib" else (f"face-{settings.face}",)


def face_encoder(settings: PrepareSettings) -> FaceEncoder:
    """Load the models that find and embed faces.

    Raises:
        PgpisError: A package or file is missing.
    """
    files = [find(name, settings.weights)[0] for name in face_weights(settings)]
    if settings.face == "facexlib":
        return FacexlibEncoder(files[0], files[1], settings.upscale_faces, settings.chosen_device)
    return InsightFaceEncoder(files[0].parent, settings.upscale_faces, settings.onnx_device)


@dataclass(frozen=True)
class Face:
    """One face."""

    box: Box
    """x0, y0, x1, y1 in pixels of the picture."""
    embedding: NDArray[np.float32]
    """``(N,)``; insightface's is raw, facexlib's has length 1."""

    @property
    def area(self) -> float:
        """Of its box, in pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class FaceEncoder(ABC):
    """Finds and embeds faces.

    Args:
        upscale: Faces smaller than this many pixels are enlarged bicubically to it before they are aligned, with half
            their size around them; 0: never.

    Source: MCLD, limitations: faces of a few pixels embed badly; the released code does nothing about it.
    """

    def __init__(self, upscale: int) -> None:
        self.upscale = upscale

    def __call__(self, picture: Image.Image) -> list[Face]:
        """Return the faces of an RGB picture, the largest first."""
        pixels = _bgr(picture)
        faces = [Face(box, self._embed(picture, pixels, box, points)) for box, points in self.detect(pixels)]
        return sorted(faces, key=lambda face: -face.area)

    def _embed(self, picture: Image.Image, pixels: Pixels, box: Box, points: Landmarks) -> NDArray[np.float32]:
        side = max(box[2] - box[0], box[3] - box[1])
        if side >= self.upscale or side <= 0:
            return self.embed(pixels, points)
        scale = math.ceil(self.upscale / side)
        place = _around(box, picture.size)
        region = picture.crop(place)
        enlarged = region.resize((region.width * scale, region.height * scale), Image.Resampling.BICUBIC)
        # centres of pixels: 0 of the small picture lies at (scale - 1) / 2 of the large one
        moved = (points - np.array(place[:2], np.float32)) * scale + (scale - 1) / 2
        return self.embed(_bgr(enlarged), moved.astype(np.float32))

    @abstractmethod
    def detect(self, pixels: Pixels) -> list[tuple[Box, Landmarks]]:
        """Return the faces of a BGR picture."""

    @abstractmethod
    def embed(self, pixels: Pixels, landmarks: Landmarks) -> NDArray[np.float32]:
        """Return the embedding of the face at the landmarks of a BGR picture, ``(N,)``."""


class InsightFaceEncoder(FaceEncoder):
    """SCRFD and ArcFace of an insightface pack, such as antelopev2 or buffalo_l.

    Args:
        folder: The pack's folder of ``.onnx`` files.
        upscale: See above.
        device: ``cpu`` or ``cuda``.

    Raises:
        PgpisError: insightface is not installed, or the folder holds no such pack.
    """

    def __init__(self, folder: Path, upscale: int = 112, device: str = "cpu") -> None:
        super().__init__(upscale)
        app = optional_module("insightface.app", "faces need insightface", INSTALL)
        self._face = importlib.import_module("insightface.app.common").Face
        gpu = device.startswith("cuda")
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if gpu else ["CPUExecutionProvider"]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                analysis = app.FaceAnalysis(
                    str(folder), allowed_modules=["detection", "recognition"], providers=providers
                )
                analysis.prepare(ctx_id=0 if gpu else -1, det_size=DETECTION_SIZE)
            self._detector, self._recogniser = analysis.det_model, analysis.models["recognition"]
        except Exception as error:
            raise PgpisError(
                f"{folder} is not an insightface pack ({first_line(error)}); "
                "expected .onnx files of detection and recognition",
                hint="pgpis weights fetch face-antelopev2 --accept-licence",
            ) from error

    def detect(self, pixels: Pixels) -> list[tuple[Box, Landmarks]]:
        """See :meth:`FaceEncoder.detect`."""
        boxes, landmarks = self._detector.detect(pixels, max_num=0, metric="default")
        return [(box_of(box), points) for box, points in zip(boxes, landmarks, strict=True)]

    def embed(self, pixels: Pixels, landmarks: Landmarks) -> NDArray[np.float32]:
        """See :meth:`FaceEncoder.embed`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls scikit-image the old way
            return np.asarray(self._recogniser.get(pixels, self._face(kps=landmarks)), np.float32)


class FacexlibEncoder(FaceEncoder):
    """facexlib's RetinaFace and ArcFace; a licence without restrictions is stated for its code, none for its weights.

    Args:
        detection: ``detection_Resnet50_Final.pth`` or ``detection_mobilenet0.25_Final.pth``.
        recognition: ``recognition_arcface_ir_se50.pth``.
        upscale: See above.
        device: ``cpu`` or ``cuda``.

    Raises:
        PgpisError: facexlib is not installed, or a file is missing or another one.
    """

    DETECTORS: ClassVar[dict[str, str]] = {
        "detection_Resnet50_Final.pth": "retinaface_resnet50",
        "detection_mobilenet0.25_Final.pth": "retinaface_mobile0.25",
    }

    def __init__(self, detection: Path, recognition: Path, upscale: int = 112, device: str = "cpu") -> None:
        super().__init__(upscale)
        if detection.name not in self.DETECTORS:
            raise PgpisError(f"{detection} is not named like facexlib's {' or '.join(self.DETECTORS)}")
        self.device = device
        self._align = _facexlib("detection.align_trans").warp_and_crop_face
        with _loading(detection):
            name, init = self.DETECTORS[detection.name], _facexlib("detection").init_detection_model
            self._detector = init(name, device=device, model_rootpath=str(detection.parent))
        with _loading(recognition):  # its own loader insists on a GPU
            arcface = _facexlib("recognition.arcface_arch")
            net = arcface.Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
            net.load_state_dict(torch.load(recognition, map_location="cpu", weights_only=True))
            self._recogniser = net.to(device).eval()

    def detect(self, pixels: Pixels) -> list[tuple[Box, Landmarks]]:
        """See :meth:`FaceEncoder.detect`."""
        with torch.inference_mode():
            rows = self._detector.detect_faces(pixels, FACEXLIB_CONFIDENCE)
        return [(box_of(row), np.asarray(row[5:15], np.float32).reshape(5, 2)) for row in rows]

    def embed(self, pixels: Pixels, landmarks: Landmarks) -> NDArray[np.float32]:
        """See :meth:`FaceEncoder.embed`."""
        aligned = self._align(pixels, landmarks.tolist(), self._detector.reference, crop_size=(112, 112))
        values = torch.from_numpy(np.ascontiguousarray(aligned[..., ::-1])).permute(2, 0, 1)[None]
        with torch.inference_mode():
            embedding: torch.Tensor = self._recogniser((values.to(self.device).float() / 255 - 0.5) / 0.5)
        return embedding[0].float().cpu().numpy()


class FaceParser:
    """facexlib's BiSeNet: which pixels of a picture are a face.

    Args:
        path: ``parsing_bisenet.pth``.
        device: ``cpu`` or ``cuda``.

    Raises:
        PgpisError: facexlib is not installed, or the file is missing or another one.
    """

    MEAN = (0.485, 0.456, 0.406)
    DEVIATION = (0.229, 0.224, 0.225)

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.device = device
        with _loading(path):
            init = _facexlib("parsing").init_parsing_model
            self._net = init("bisenet", device=device, model_rootpath=str(path.parent))

    def __call__(self, picture: Image.Image, box: Box) -> Image.Image:
        """Return a mask ``L`` of the picture's size, 255 where the face in ``box`` is.

        The region is the box and half its size around it, squashed to the parser's 512 x 512.
        """
        region = _around(box, picture.size)
        squashed = picture.crop(region).resize((PARSER_SIDE, PARSER_SIDE), Image.Resampling.BILINEAR)
        values = torch.from_numpy(np.array(squashed)).permute(2, 0, 1)[None].to(self.device).float() / 255
        mean, deviation = (values.new_tensor(row).view(1, 3, 1, 1) for row in (self.MEAN, self.DEVIATION))
        with torch.inference_mode():
            classes = self._net((values - mean) / deviation)[0].argmax(dim=1)[0].cpu().numpy()
        face = Image.fromarray(np.isin(classes, PARSED_FACE).astype(np.uint8) * 255)
        mask = Image.new("L", picture.size)
        mask.paste(face.resize((region[2] - region[0], region[3] - region[1]), Image.Resampling.NEAREST), region[:2])
        return mask


def _around(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box and half its size around it, in whole pixels of a picture of (width, height)."""
    reach = (MARGIN - 1) / 2 * max(box[2] - box[0], box[3] - box[1])
    left, top = (max(0, math.floor(corner - reach)) for corner in box[:2])
    right, bottom = (min(most, math.ceil(corner + reach)) for most, corner in zip(size, box[2:], strict=True))
    return left, top, right, bottom


def _bgr(picture: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


def _facexlib(module: str) -> Any:
    return optional_module(f"facexlib.{module}", "this needs facexlib", INSTALL)


@contextlib.contextmanager
def _loading(path: Path) -> Iterator[None]:
    """Refuse a file of facexlib's that is missing, for which its loader would ask the network, or another one."""
    if not path.is_file():
        raise PgpisError(f"weights not found: {path}", hint=FACEXLIB_WEIGHTS)
    try:
        yield
    except PgpisError:
        raise
    except Exception as error:
        raise PgpisError(f"cannot load {path}: {first_line(error)}", hint=FACEXLIB_WEIGHTS) from error
