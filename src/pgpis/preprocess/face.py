"""Faces in a picture and what identifies them: insightface's and facexlib's models behind one protocol."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError, first_line
from pgpis.lazy import optional_module
from pgpis.preprocess.settings import INSTALL, Box

MARGIN = 1.5
"""Side of the region that is enlarged, by that of the face's box."""
DETECTION_SIZE = (640, 640)
FACEXLIB_CONFIDENCE = 0.8
FACEXLIB_WEIGHTS = "pgpis weights fetch facexlib-detection facexlib-recognition facexlib-parsing"
PARSED_FACE = tuple(range(1, 14))
"""Skin, brows, eyes, glasses, ears, nose, mouth, lips among the classes of facexlib's parser."""
PARSER_SIDE = 512

Pixels = NDArray[np.uint8]


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


@dataclass(frozen=True)
class FaceLandmarks:
    """A face before it is embedded."""

    box: Box
    landmarks: NDArray[np.float32]
    """Eyes, nose, corners of the mouth: x, y, ``(5, 2)``."""


class FaceEncoder(Protocol):
    """Finds and embeds faces."""

    def __call__(self, picture: Image.Image) -> list[Face]:
        """Return the faces of an RGB picture, the largest first."""


class _LandmarkEncoder(ABC):
    """Detection, enlargement of small faces, embedding.

    Args:
        upscale: Faces smaller than this many pixels are enlarged bicubically to it before they are aligned, with half
            their size around them; 0: never.

    Source: MCLD, limitations: faces of a few pixels embed badly; the released code does nothing about it.
    """

    def __init__(self, upscale: int) -> None:
        self.upscale = upscale

    def __call__(self, picture: Image.Image) -> list[Face]:
        """See :class:`FaceEncoder`."""
        pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
        faces = [Face(face.box, self._embed(picture, pixels, face)) for face in self.detect(pixels)]
        return sorted(faces, key=lambda face: -face.area)

    def _embed(self, picture: Image.Image, pixels: Pixels, face: FaceLandmarks) -> NDArray[np.float32]:
        left, top, right, bottom = face.box
        side = max(right - left, bottom - top)
        if side >= self.upscale or side <= 0:
            return self.embed(pixels, face.landmarks)
        scale = math.ceil(self.upscale / side)
        place = _around(face.box, picture.size)
        region = picture.crop(place)
        enlarged = region.resize((region.width * scale, region.height * scale), Image.Resampling.BICUBIC)
        # centres of pixels: 0 of the small picture lies at (scale - 1) / 2 of the large one
        landmarks = (face.landmarks - np.array(place[:2], np.float32)) * scale + (scale - 1) / 2
        return self.embed(np.ascontiguousarray(np.asarray(enlarged)[..., ::-1]), landmarks.astype(np.float32))

    @abstractmethod
    def detect(self, pixels: Pixels) -> list[FaceLandmarks]:
        """Return the faces of a BGR picture."""

    @abstractmethod
    def embed(self, pixels: Pixels, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embedding of the face at the landmarks of a BGR picture."""


class InsightFaceEncoder(_LandmarkEncoder):
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

    def detect(self, pixels: Pixels) -> list[FaceLandmarks]:
        """Return the faces of a BGR picture."""
        boxes, landmarks = self._detector.detect(pixels, max_num=0, metric="default")
        return [FaceLandmarks(_box(box), points) for box, points in zip(boxes, landmarks, strict=True)]

    def embed(self, pixels: Pixels, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw embedding of the face at the landmarks."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # insightface calls scikit-image the old way
            return np.asarray(self._recogniser.get(pixels, self._face(kps=landmarks)), np.float32)


class FacexlibEncoder(_LandmarkEncoder):
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
        for path in (detection, recognition):
            if not path.is_file():  # its loader would ask the network
                raise PgpisError(f"weights not found: {path}", hint=FACEXLIB_WEIGHTS)
        if detection.name not in self.DETECTORS:
            raise PgpisError(f"{detection} is not named like facexlib's {' or '.join(self.DETECTORS)}")
        self.device = device
        detectors, recognisers = _facexlib("detection"), _facexlib("recognition.arcface_arch")
        self._align = _facexlib("detection.align_trans").warp_and_crop_face
        with _facexlib_errors(detection):
            name = self.DETECTORS[detection.name]
            self._detector = detectors.init_detection_model(name, device=device, model_rootpath=str(detection.parent))
        with _facexlib_errors(recognition):  # its own loader insists on a GPU
            net = recognisers.Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
            net.load_state_dict(torch.load(recognition, map_location="cpu", weights_only=True))
            self._recogniser = net.to(device).eval()

    def detect(self, pixels: Pixels) -> list[FaceLandmarks]:
        """Return the faces of a BGR picture."""
        with torch.inference_mode():
            rows = self._detector.detect_faces(pixels, FACEXLIB_CONFIDENCE)
        return [FaceLandmarks(_box(row), np.asarray(row[5:15], np.float32).reshape(5, 2)) for row in rows]

    def embed(self, pixels: Pixels, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embedding of length 1 of the face at the landmarks."""
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
        if not path.is_file():
            raise PgpisError(f"weights not found: {path}", hint=FACEXLIB_WEIGHTS)
        with _facexlib_errors(path):
            parsing = _facexlib("parsing")
            self._net = parsing.init_parsing_model("bisenet", device=device, model_rootpath=str(path.parent))

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


def _box(row: Any) -> Box:
    left, top, right, bottom = (float(value) for value in row[:4])
    return left, top, right, bottom


def _facexlib(module: str) -> Any:
    return optional_module(f"facexlib.{module}", "this needs facexlib", INSTALL)


@contextlib.contextmanager
def _facexlib_errors(path: Path) -> Any:
    try:
        yield
    except PgpisError:
        raise
    except Exception as error:
        raise PgpisError(f"cannot load {path}: {first_line(error)}", hint=FACEXLIB_WEIGHTS) from error
