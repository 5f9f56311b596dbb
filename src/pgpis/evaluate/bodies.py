"""Whether the person of a generated picture stands where the true one does, by the same detector on both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pgpis.data.pairs import Pair
from pgpis.errors import PgpisError
from pgpis.evaluate.people import Values, as_image, why_not
from pgpis.jobs import reason_of
from pgpis.metrics.body import oks, pck, pckh
from pgpis.pictures.keypoints import Keypoints
from pgpis.preprocess.pose import pose_estimator
from pgpis.preprocess.settings import NothingFoundError, PrepareSettings

MEASURES = {"pck": pck, "pckh": pckh, "oks": oks}


class BodyScores:
    """PCK, PCKh, OKS, and whether nobody is found, for batches of pairs.

    Pairs in whose true picture nobody is found have no value.

    Args:
        weights: Folder of weights; None: the usual places. rtmlib is taken where its weights are, else BlazePose.
        device: Where nets run.
    """

    def __init__(self, weights: Path | None, device: str) -> None:
        settings = PrepareSettings(weights=weights, device=device).settled()
        self.detector = "BlazePose" if settings.pose == "blazepose" else f"rtmlib {settings.pose}"
        """What key points are found by, as tables name it."""
        self.not_computed: dict[str, str] = {}
        """Score, and why there is none."""
        self.failures: list[tuple[str, str]] = []
        """Pairs in which people could not be looked for, and why."""
        self._truths: dict[Path, Keypoints | None] = {}
        try:
            self._estimator = pose_estimator(settings)
            self.names: tuple[str, ...] = (*MEASURES, "nobody")
        except PgpisError as error:
            self.names, self.not_computed["key_points"] = (), why_not(error)

    def __call__(
        self, pairs: Sequence[Pair], generated: torch.Tensor, target: torch.Tensor, centers: torch.Tensor
    ) -> Values:
        """Score pairs of uint8 pictures ``(B, 3, H, W)``; by name ``(B,)``, NaN where there is nothing to measure."""
        values = {name: np.full(len(pairs), np.nan) for name in self.names}
        for row, (pair, ours, theirs) in enumerate(zip(pairs, generated, target, strict=True)):
            if not self.names:
                break
            try:
                truth = self._truth(pair, theirs)
                result = None if truth is None else self._find(ours)
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd pictures, which cost their score
                self.failures.append((pair.pair_id, f"no key points are compared: {reason_of(error)}"))
                continue
            if truth is not None:
                scores = {name: measure(result, truth) for name, measure in MEASURES.items()}
                for name, value in {**scores, "nobody": float(result is None)}.items():
                    values[name][row] = value
        return values

    def _truth(self, pair: Pair, picture: torch.Tensor) -> Keypoints | None:
        """Find the person of a target, once for all pairs that have it."""
        assert pair.target is not None
        if pair.target not in self._truths:
            self._truths[pair.target] = self._find(picture)
        return self._truths[pair.target]

    def _find(self, picture: torch.Tensor) -> Keypoints | None:
        try:
            return self._estimator(as_image(picture))[0]
        except NothingFoundError:
            return None
