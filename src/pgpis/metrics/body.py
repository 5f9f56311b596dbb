"""How far the key points that a detector finds in a picture agree with those it finds in the true one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgpis.pictures.keypoints import COCO17_TO_BODY18, NECK, Keypoints

HEAD = [0, NECK, 14, 15, 16, 17]
"""Nose, neck, eyes and ears of body-18, whose box is PCKh's measure."""
_FACE, _ARMS, _LEGS = (
    (0.026, 0.025, 0.025, 0.035, 0.035),
    (0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    (0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
SIGMAS = np.array([*_FACE, *_ARMS, *_LEGS])[list(COCO17_TO_BODY18)]
"""How far annotators of COCO differ on each point, in lengths of the body; COCO has no neck."""


def pck(result: Keypoints | None, truth: Keypoints, alpha: float = 0.1) -> float:
    """Return the share of the truth's points that the result has within ``alpha`` of the person's longer side.

    Args:
        result: body-18 points found in a generated picture; None: nobody was found, which misses them all.
        truth: The same of the true picture, in the same frame.
        alpha: Of the longer side of the box around the truth's points.

    Returns:
        NaN where the truth has less than two points.

    Source: Yang and Ramanan 2013.
    """
    reach = alpha * _box(truth, truth.seen).max(initial=0.0)
    return _share(np.linalg.norm(_moves(result, truth), axis=1) <= reach, truth)


def pckh(result: Keypoints | None, truth: Keypoints) -> float:
    """Return the share of the truth's points that the result has within half of the head's box, along x and along y.

    Arguments and result as of :func:`pck`; NaN too where the truth has less than two points of the head.

    Source: Zhu et al. 2019 (PATN), official evaluation. Deviation: the mean over pairs of their shares, not the share
    of all points; a point on the border counts.
    """
    head = np.isin(np.arange(len(truth.seen)), HEAD) & truth.seen
    if head.sum() < 2:
        return float("nan")
    right = np.abs(_moves(result, truth)) <= 0.5 * _box(truth, head)
    return _share(np.logical_and(right[:, 0], right[:, 1]), truth)


def oks(result: Keypoints | None, truth: Keypoints) -> float:
    """Return COCO's object key point similarity over the truth's points but the neck; one that is missing counts 0.

    Arguments and result as of :func:`pck`.

    Source: COCO's key point evaluation. Deviation: the person's area is that of the box around the truth's points.
    """
    area = _box(truth, truth.seen).prod()
    counted = truth.seen & (np.arange(len(truth.seen)) != NECK)
    if counted.sum() < 2 or not area:
        return float("nan")
    squares = np.square(_moves(result, truth)).sum(axis=1)[counted]
    return float(np.exp(-squares / (2 * area * np.square(2 * SIGMAS[counted]))).mean())


def _moves(result: Keypoints | None, truth: Keypoints) -> NDArray[np.float64]:
    """Return how far each point lies from the truth's, ``(18, 2)``; infinitely where it is missing."""
    if result is None:
        return np.full(truth.points.shape, np.inf)
    return np.where(result.seen[:, None], result.points - truth.points, np.inf)


def _box(truth: Keypoints, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return width and height of the box around some points; none of none."""
    points = truth.points[chosen]
    return np.ptp(points, axis=0) if len(points) else np.zeros(0)


def _share(right: NDArray[np.bool_], truth: Keypoints) -> float:
    return float(right[truth.seen].mean()) if truth.seen.sum() >= 2 else float("nan")
