"""Key points of a person in a picture, by rtmlib's ONNX models or by BlazePose."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError, first_line
from pgpis.lazy import optional_module
from pgpis.pictures.keypoints import Frame, Keypoints, Skeleton
from pgpis.preprocess.blazepose.estimator import BlazePoseEstimator
from pgpis.preprocess.settings import INSTALL, PrepareSettings, SkeletonName, refuse_absent
from pgpis.weight_files import find

HALPE26_TO_BODY18 = (0, 18, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Halpe's 26 points have a neck of their own, the 18th."""


def pose_estimator(settings: PrepareSettings) -> PoseEstimator | BlazePoseEstimator:
    """Load the models that find people and their key points.

    Raises:
        PgpisError: A package or file is missing.
    """
    names = pose_weights(settings)
    if not names:
        return BlazePoseEstimator(settings.skeleton, settings.pose_threshold)
    detector, estimator = (find(name, settings.weights)[0] for name in names)
    return PoseEstimator(detector, estimator, settings.skeleton, settings.pose_threshold, settings.onnx_device)


def pose_weights(settings: PrepareSettings) -> tuple[str, ...]:
    """Return the catalogue's names of what key points are found with; none for BlazePose, which ships."""
    pose = settings.settled().pose
    return () if pose == "blazepose" else ("pose-detector", f"pose-{pose}")


class PoseEstimator:
    """YOLOX finds people, RTMPose (RTMW, DWPose) their points.

    Args:
        detector: YOLOX's ``.onnx``.
        estimator: RTMPose's ``.onnx`` for COCO's 17, Halpe's 26 or COCO-WholeBody's 133 points.
        skeleton: Points to return.
        threshold: Confidence below which a point counts as not seen.
        device: ``cpu`` or ``cuda``.

    Raises:
        PgpisError: rtmlib is not installed, or a file is not such a model.
    """

    def __init__(
        self,
        detector: Path,
        estimator: Path,
        skeleton: SkeletonName = "body18",
        threshold: float = 0.3,
        device: str = "cpu",
    ) -> None:
        self.skeleton = skeleton
        self.threshold = threshold
        self.detector = _load("YOLOX", detector, device)
        self.estimator = _load("RTMPose", estimator, device)

    def __call__(self, picture: Image.Image, person: int = 0) -> tuple[Keypoints, NDArray[np.float64]]:
        """Return the points of the ``person``-th largest person, and the confidence of each point.

        Raises:
            NothingFoundError: There is no such person.
        """
        pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])  # rtmlib reads BGR
        boxes = np.asarray(self.detector(pixels), dtype=np.float64).reshape(-1, 4)
        boxes = boxes[np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")]
        refuse_absent("people", len(boxes), person)
        points, scores = (np.asarray(rows[0], np.float64) for rows in self.estimator(pixels, bboxes=[boxes[person]]))
        if len(points) == 26:
            order = list(HALPE26_TO_BODY18)
            points, scores = points[order], scores[order]
        skeletons: dict[int, Skeleton] = {18: "body18", 17: "coco17", 133: "wholebody133"}
        if len(points) not in skeletons:
            raise PgpisError(f"the pose model gives {len(points)} points, expected 17, 26 or 133")
        skeleton, frame = skeletons[len(points)], Frame(picture.height, picture.width, name="picture")
        confidences = np.repeat(scores[:, None], 2, axis=1)
        visible = confidences > self.threshold
        keypoints = Keypoints.from_visible(points, visible, frame, skeleton)
        if self.skeleton == "body18" and skeleton != "body18":
            moved = Keypoints.from_visible(confidences, visible, frame, skeleton).to_body18()
            return keypoints.to_body18(), np.maximum(moved.points[:, 0], 0.0)
        if skeleton != self.skeleton:
            raise PgpisError(f"the pose model gives {len(points)} points; {self.skeleton} needs one that gives 133")
        return keypoints, scores


def _load(kind: str, path: Path, device: str) -> Any:
    tool = getattr(optional_module("rtmlib", "poses need the package rtmlib", INSTALL), kind)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            model = tool(str(path), backend="onnxruntime", device=device)
    except Exception as error:
        raise PgpisError(f"cannot load {path}: {first_line(error)}; expected {kind}'s .onnx") from error
    height, width = model.session.get_inputs()[0].shape[2:4]
    if isinstance(height, int) and isinstance(width, int):
        # rtmlib keeps the detector's size as rows and columns, the estimator's as columns and rows
        model.model_input_size = (height, width) if kind == "YOLOX" else (width, height)
    return model
