"""The models behind the stages: which weights they need, and loading them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pgpis.preprocess.settings import Condition, PrepareSettings
from pgpis.weight_files import find, require

if TYPE_CHECKING:  # a worker loads the libraries of its own stage only
    from pgpis.preprocess.face import FaceEncoder
    from pgpis.preprocess.pose import PoseEstimator

log = logging.getLogger(__name__)

ONNX_GPU = "pip install onnxruntime-gpu in place of onnxruntime"


def weights_of(condition: Condition, settings: PrepareSettings) -> tuple[str, ...]:
    """Return the catalogue's names of the weights that a stage loads."""
    face = ("facexlib-detection", "facexlib-recognition") if settings.face == "facexlib" else (f"face-{settings.face}",)
    own = settings.densepose_weights is not None
    names: dict[Condition, tuple[str, ...]] = {
        "pose": ("pose-detector", f"pose-{settings.pose}"),
        "densepose": () if own else (f"densepose-{settings.densepose}",),
        "face": face,
        "face_mask": (*face, "facexlib-parsing"),
    }
    return names.get(condition, ())


def require_weights(conditions: Iterable[Condition], settings: PrepareSettings) -> None:
    """Look for the weights of all stages before anything starts.

    Raises:
        PgpisError: Files are missing; names all of them and the command that gets them.
    """
    require((name for condition in conditions for name in weights_of(condition, settings)), settings.weights)


def face_encoder(settings: PrepareSettings) -> FaceEncoder:
    """Load the models that find and embed faces.

    Raises:
        PgpisError: A package or file is missing.
    """
    from pgpis.preprocess.face import FacexlibEncoder, InsightFaceEncoder

    if settings.face == "facexlib":
        detection, recognition = (
            find(f"facexlib-{part}", settings.weights)[0] for part in ("detection", "recognition")
        )
        return FacexlibEncoder(detection, recognition, settings.upscale_faces, settings.device)
    folder = find(f"face-{settings.face}", settings.weights)[0].parent
    return InsightFaceEncoder(folder, settings.upscale_faces, onnx_device(settings.device))


def pose_estimator(settings: PrepareSettings) -> PoseEstimator:
    """Load the models that find people and their key points.

    Raises:
        PgpisError: A package or file is missing.
    """
    from pgpis.preprocess.pose import RTMPoseEstimator

    detector, estimator = (find(f"pose-{name}", settings.weights)[0] for name in ("detector", settings.pose))
    device = onnx_device(settings.device)
    return RTMPoseEstimator(detector, estimator, settings.skeleton, settings.pose_threshold, device)


def onnx_device(device: str) -> str:
    """Return where ONNX models can run: the CPU, with a warning, where the runtime knows no GPU."""
    if device.startswith("cuda"):
        try:
            providers = importlib.import_module("onnxruntime").get_available_providers()
        except ImportError:
            return device  # the message that it is missing comes from the library that needs it
        if "CUDAExecutionProvider" not in providers:
            log.warning("this onnxruntime knows no GPU, poses and faces are found on the CPU: %s", ONNX_GPU)
            return "cpu"
    return device
