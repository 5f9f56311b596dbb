"""Scores that need to find faces or hands in pictures: identity and hand pose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pairs import Pair
from pgpis.errors import PgpisError
from pgpis.jobs import reason_of
from pgpis.metrics import hand_similarity
from pgpis.pictures.keypoints import LEFT_HAND_START, POINT_COUNTS
from pgpis.preprocess.blazepose.estimator import BlazePoseEstimator
from pgpis.preprocess.face import FaceEncoder, face_encoder
from pgpis.preprocess.pose import PoseEstimator, pose_estimator
from pgpis.preprocess.settings import NothingFoundError, PrepareSettings

log = logging.getLogger(__name__)

FACE_SCORES = ("face_cosine_source", "face_cosine_target", "face_euclidean_source", "face_euclidean_target")
HANDS = slice(LEFT_HAND_START, POINT_COUNTS["wholebody133"])

Net = TypeVar("Net")
Values = dict[str, NDArray[np.float64]]
ReadSource = Callable[[Path], torch.Tensor]
"""Reads a picture as uint8 ``(3, H, W)`` as the protocol compares it."""


class FaceScores:
    """Cosine and distance between the largest face of a generated picture and those of its source and target.

    Pairs in which either face is not found, or the source cannot be read, have no value.

    Source: MCLD, official evaluation: insightface's buffalo_s on pictures of the compared size.
    """

    def __init__(self, encoder: FaceEncoder, read: ReadSource) -> None:
        self.encoder = encoder
        self.read = read
        self._sources: dict[Path, torch.Tensor | None] = {}

    def __call__(self, pair: Pair, generated: torch.Tensor, target: torch.Tensor) -> Mapping[str, float]:
        """Return the scores of a pair of uint8 pictures ``(3, H, W)``; none of a face that is not found."""
        ours = self._embedding(generated)
        others = {"source": self._source(pair.source), "target": self._embedding(target)}
        values = {}
        for name, other in others.items():
            if ours is not None and other is not None:
                # rounding makes a little more than 1 of a face and itself
                values[f"face_cosine_{name}"] = float(torch.cosine_similarity(ours, other).clamp(-1, 1))
                values[f"face_euclidean_{name}"] = float((ours - other).norm(dim=1))
        return values

    def _embedding(self, picture: torch.Tensor) -> torch.Tensor | None:
        faces = self.encoder(as_image(picture))
        return torch.from_numpy(faces[0].embedding)[None] if faces else None

    def _source(self, path: Path) -> torch.Tensor | None:
        if path not in self._sources:
            try:
                self._sources[path] = self._embedding(self.read(path))
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, which cost their score
                log.warning("no face is compared with a source: %s", reason_of(error))
                self._sources[path] = None
        return self._sources[path]


def hand_distance(
    estimator: PoseEstimator | BlazePoseEstimator, generated: torch.Tensor, target: torch.Tensor
) -> float:
    """Return the mean distance in pixels, along x and y, of the hands' points found in both of two pictures.

    Args:
        estimator: Finds whole-body-133 points.
        generated: uint8 ``(3, 260, 210)``.
        target: Same.

    Returns:
        NaN where no point of a hand is seen in both.

    Source: SignGAN (Saunders et al. 2022), as FPDM reports it with HRNetV2 on crops; here RTMW on whole pictures.
    """
    try:
        ours, others = (estimator(as_image(picture))[0] for picture in (generated, target))
    except NothingFoundError:
        return float("nan")
    both = ours.visible[HANDS] & others.visible[HANDS]
    return float(np.abs(ours.points[HANDS] - others.points[HANDS])[both].mean()) if both.any() else float("nan")


class PeopleScores:
    """All scores of this module for batches of pairs.

    Args:
        weights: Folder of weights; None: the usual places.
        device: Where nets run.
        read: Reads sources.
        hands: Whether hands are scored too.
    """

    def __init__(self, weights: Path | None, device: str, read: ReadSource, *, hands: bool) -> None:
        self.not_computed: dict[str, str] = {}
        """Score, and why there is none."""
        self.failures: list[tuple[str, str]] = []
        """Pairs whose faces or hands could not be looked for, and why."""
        self.hands = hands
        settings = PrepareSettings(
            weights=weights,
            device=device,
            face="buffalo_s",
            upscale_faces=0,
            pose="wholebody133",
            skeleton="wholebody133",
        )
        encoder = self._net("face_similarity", lambda: face_encoder(settings))
        self._faces = None if encoder is None else FaceScores(encoder, read)
        self._estimator = self._net("hand_pose", lambda: pose_estimator(settings)) if hands else None
        of_hands = ("hand_ssim", "hand_pose") if self._estimator else ("hand_ssim",)
        self.names = (*(FACE_SCORES if self._faces else ()), *(of_hands if hands else ()))

    def _net(self, name: str, load: Callable[[], Net]) -> Net | None:
        try:
            return load()
        except PgpisError as error:
            self.not_computed[name] = why_not(error)
            return None

    def __call__(
        self, pairs: Sequence[Pair], generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor
    ) -> Values:
        """Score pairs.

        Args:
            pairs: The pairs.
            generated: uint8 ``(B, 3, H, W)``.
            target: Same.
            centers: x and y of both middle knuckles, ``(B, 2, 2)``; NaN for a hand that is not seen.

        Returns:
            By name ``(B,)``, NaN where there is nothing to measure.
        """
        values = {name: np.full(len(pairs), np.nan) for name in self.names}
        if self.hands:
            values["hand_ssim"] = hand_similarity(generated, target, centers)
        for row, (pair, ours, theirs) in enumerate(zip(pairs, generated, target, strict=True)):
            try:
                scores = {} if self._faces is None else dict(self._faces(pair, ours, theirs))
                if self._estimator is not None:
                    scores["hand_pose"] = hand_distance(self._estimator, ours, theirs)
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd pictures, which cost their score
                self.failures.append((pair.pair_id, f"no face or hand is compared: {reason_of(error)}"))
                continue
            for name, value in scores.items():
                values[name][row] = value
        return values


def as_image(picture: torch.Tensor) -> Image.Image:
    """Return a uint8 picture ``(3, H, W)`` as PIL's."""
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())


def why_not(error: PgpisError) -> str:
    """Return what stands in place of a score whose net cannot be loaded."""
    return f"not computed: {error.message}{f'; hint: {error.hint}' if error.hint else ''}"
