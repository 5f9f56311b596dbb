"""Loading the models that find people, their key points and their faces."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from pgpis.preprocess.settings import PrepareSettings
from pgpis.weight_files import find

if TYPE_CHECKING:  # a worker loads the libraries of its own stage only
    from pgpis.preprocess.face import FaceEncoder
    from pgpis.preprocess.pose import PoseEstimator

log = logging.getLogger(__name__)

ONNX_GPU = "pip install onnxruntime-gpu in place of onnxruntime"


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
    """Return where ONNX models can run: the CPU, with a warning, where the runtime does not support the GPU."""
    if device.startswith("cuda"):
        try:
            providers = importlib.import_module("onnxruntime").get_available_providers()
        except ImportError:
            return device  # the message that it is missing comes from the library that needs it
        if "CUDAExecutionProvider" not in providers:
            log.warning(
                "this onnxruntime does not support the GPU; poses and faces are detected on the CPU: %s", ONNX_GPU
            )
            return "cpu"
    return device
