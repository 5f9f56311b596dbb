"""Scores that need to find faces or hands in pictures: identity and hand pose."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pairs import Pair
from pgpis.errors import PgpisError
from pgpis.jobs import reason_of
from pgpis.metrics import HandSSIM, hand_crops
from pgpis.metrics.face import cosine_similarity, euclidean_distance
from pgpis.pictures.keypoints import LEFT_HAND_START, POINT_COUNTS
from pgpis.preprocess.face import FaceEncoder, face_encoder
from pgpis.preprocess.pose import PoseEstimator, pose_estimator
from pgpis.preprocess.settings import NothingFoundError, PrepareSettings

log = logging.getLogger(__name__)

FACE_SCORES = ("face_cosine_source", "face_cosine_target", "face_euclidean_source", "face_euclidean_target")
HANDS = slice(LEFT_HAND_START, POINT_COUNTS["wholebody133"])

Values = dict[str, NDArray[np.float64]]
ReadSource = Callable[[Path], torch.Tensor]
"""Reads a picture as uint8 ``(3, H, W)`` as the protocol compares it."""


class FaceScores:
    """Cosine and distance between the largest face of a generated picture and those of its source and target.

    Pairs in which either face is not found, or the source cannot be read, have no value.

    Args:
        encoder: Finds and embeds faces.
        read: Reads sources.

    Source: MCLD, official evaluation: insightface's buffalo_s on pictures of the compared size.
    """

    def __init__(self, encoder: FaceEncoder, read: ReadSource) -> None:
        self.encoder = encoder
        self.read = read
        self._sources: dict[Path, torch.Tensor | None] = {}

    def __call__(self, pair: Pair, generated: torch.Tensor, target: torch.Tensor) -> Mapping[str, float]:
        """Return the scores of a pair of uint8 pictures ``(3, H, W)``; NaN where a face is not found."""
        ours = self._embedding(generated)
        others = {"source": self._source(pair.source), "target": self._embedding(target)}
        values = dict.fromkeys(FACE_SCORES, float("nan"))
        for name, other in others.items():
            if ours is not None and other is not None:
                values[f"face_cosine_{name}"] = float(cosine_similarity(ours, other))
                values[f"face_euclidean_{name}"] = float(euclidean_distance(ours, other))
        return values

    def _embedding(self, picture: torch.Tensor) -> torch.Tensor | None:
        faces = self.encoder(_image(picture))
        return torch.from_numpy(faces[0].embedding)[None] if faces else None

    def _source(self, path: Path) -> torch.Tensor | None:
        if path not in self._sources:
            try:
                self._sources[path] = self._embedding(self.read(path))
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, which cost their score
                log.warning("no face is compared with a source: %s", reason_of(error))
                self._sources[path] = None
        return self._sources[path]


class HandPoseScores:
    """Mean distance in pixels, along x and y, of the hands' points found in a generated picture and in its target.

    Points that are not seen in both pictures do not count; a pair without any has no value.

    Args:
        estimator: Finds whole-body-133 points.

    Source: SignGAN (Saunders et al. 2022), as FPDM reports it with HRNetV2 on crops; here RTMW on whole pictures.
    """

    def __init__(self, estimator: PoseEstimator) -> None:
        self.estimator = estimator

    def __call__(self, generated: torch.Tensor, target: torch.Tensor) -> float:
        """Return the score of a pair of uint8 pictures ``(3, 260, 210)``; NaN where no hand is seen in both."""
        try:
            ours, others = (self.estimator(_image(picture))[0] for picture in (generated, target))
        except NothingFoundError:
            return float("nan")
        both = ours.visible[HANDS] & others.visible[HANDS]
        if not both.any():
            return float("nan")
        return float(np.abs(ours.points[HANDS] - others.points[HANDS])[both].mean())


class PeopleScores:
    """All scores of this module for batches of pairs; what cannot be measured is in ``not_computed``.

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
        self._faces: FaceScores | None = None
        self._hand_pose: HandPoseScores | None = None
        settings = PrepareSettings(
            weights=weights, device=device, face="buffalo_s", upscale_faces=0, skeleton="wholebody133"
        )
        try:
            self._faces = FaceScores(face_encoder(settings), read)
        except PgpisError as error:
            self.not_computed["face_similarity"] = _reason(error)
        try:
            self._hand_pose = HandPoseScores(pose_estimator(settings)) if hands else None
        except PgpisError as error:
            self.not_computed["hand_pose"] = _reason(error)

    @property
    def names(self) -> tuple[str, ...]:
        """What is measured."""
        hand_pose = () if self._hand_pose is None else ("hand_pose",)
        return (
            *(FACE_SCORES if self._faces is not None else ()),
            *(("hand_ssim", *hand_pose) if self.hands else ()),
        )

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
            values["hand_ssim"] = hand_values(generated, target, centers)
        for row, (pair, ours, theirs) in enumerate(zip(pairs, generated, target, strict=True)):
            try:
                scores = {} if self._faces is None else dict(self._faces(pair, ours, theirs))
                if self._hand_pose is not None:
                    scores["hand_pose"] = self._hand_pose(ours, theirs)
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd pictures, which cost their score
                self.failures.append((pair.pair_id, f"no face or hand is compared: {reason_of(error)}"))
                continue
            for name, value in scores.items():
                values[name][row] = value
        return values


def hand_values(generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor) -> NDArray[np.float64]:
    """Return the mean Hand SSIM of each pair's hands; NaN where neither is seen.

    Args:
        generated: uint8 ``(B, 3, H, W)``.
        target: Same.
        centers: ``(B, 2, 2)``, NaN for a hand that is not seen.
    """
    metric = HandSSIM()
    both = []
    for hand in range(2):
        seen = centers[:, hand].isfinite().all(dim=1)
        values = torch.full((len(centers),), torch.nan, dtype=torch.float64)
        if seen.any():
            crops = [hand_crops(images[seen], centers[seen, hand]) for images in (generated, target)]
            metric.update(*crops)
            values[seen] = metric.last_values
        both.append(values)
    return torch.stack(both).nanmean(dim=0).numpy()


def _reason(error: PgpisError) -> str:
    return f"not computed: {error.message}" + (f", get it with: {error.hint}" if error.hint else "")


def _image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
