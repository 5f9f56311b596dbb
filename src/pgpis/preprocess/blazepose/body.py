"""A person's 33 points and segmentation: the detector's region, then the landmark net.

Source: Bazarevsky et al., BlazePose (2020), and the model cards of the two nets.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pgpis.preprocess.blazepose.nets import Array, load_net, sigmoid
from pgpis.preprocess.blazepose.regions import Pixels, Points, Region

LEAST_SCORE = 0.3
"""Of a detection."""
OVERLAP = 0.3
"""Boxes that overlap by more are the same person."""
SIDE = 2.5
"""Of the region of a person, in distances between the hips' middle and the point above it: the circle and a quarter."""
POINTS = 33
"""Of the net's 39; the others say where to look in the next frame of a video."""
WINDOW, LEAST_PEAK = 3, 0.5
"""Heat maps refine a point within so many cells of it, where their peak is at least this."""


@dataclass(frozen=True)
class Body:
    """What the landmark net says of a person."""

    points: Points
    """``(33, 2)`` x, y in pixels of the picture."""
    visibility: Array
    """``(33,)`` probability that a point is seen, and not hidden."""
    presence: Array
    """``(33,)`` probability that a point is within the region."""
    score: float
    """Probability that there is a person."""
    region: Region
    segmentation: Array
    """``(256, 256)`` probability that a pixel of the region shows the person."""


def _anchors() -> NDArray[np.float64]:
    """Return the middles of the detector's 2,254 anchors ``(N, 2)``, in [0, 1]."""
    levels = []
    for cells, count in ((28, 2), (14, 2), (7, 6)):
        middles = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(middles, middles)
        levels.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(levels)


def detect(picture: Pixels) -> list[Region]:
    """Return the regions of the people in a picture ``(H, W, 3)`` RGB, the largest first."""
    height, width = picture.shape[:2]
    net, longer = load_net("pose_detection"), max(height, width)
    scale = net.side / longer
    # as a bilinear resize of the square around the picture would, which puts the middles of pixels on each other
    place = (np.array([width, height]) * -scale + net.side + scale - 1) / 2
    matrix = np.array([[scale, 0, place[0]], [0, scale, place[1]]])
    padded = cv2.warpAffine(picture, matrix, (net.side, net.side), flags=cv2.INTER_LINEAR)
    outputs = net((padded / 127.5 - 1).astype(np.float32))
    corner = np.array([width - longer, height - longer]) / 2
    scores, boxes = sigmoid(outputs["Identity_1"][:, 0]), outputs["Identity"].astype(np.float64) / net.side
    anchors = _anchors()
    middles, sizes = boxes[:, :2] + anchors, boxes[:, 2:4]
    points = boxes[:, 4:8].reshape(-1, 2, 2) + anchors[:, None]  # hips' middle, and what is above it
    left = scores >= LEAST_SCORE
    regions = []
    while left.any():
        best = int(np.argmax(np.where(left, scores, 0)))
        same = left & (_overlap(middles, sizes, best) > OVERLAP)
        same[best] = True
        weights = scores[same] / scores[same].sum()
        centre, top = np.einsum("n,nkc->kc", weights, points[same]) * longer + corner
        regions.append(Region.upright(centre, top, SIDE))
        left &= ~same
    return sorted(regions, key=lambda region: -region.side)


def _overlap(middles: NDArray[np.float64], sizes: NDArray[np.float64], one: int) -> NDArray[np.float64]:
    """Return the intersection over union of all boxes with one of them."""
    low, high = middles - sizes / 2, middles + sizes / 2
    inner = np.clip(np.minimum(high, high[one]) - np.maximum(low, low[one]), 0, None).prod(axis=1)
    union = sizes.prod(axis=1) + sizes[one].prod() - inner
    return np.asarray(inner / np.maximum(union, 1e-9))


def read_body(picture: Pixels, region: Region) -> Body:
    """Return the person in a region."""
    net = load_net("pose_landmark_full")
    outputs = net((region.crop(picture, net.side) / 255).astype(np.float32))
    rows = outputs["Identity"].reshape(-1, 5)[:POINTS]
    points = _refined(rows[:, :2].astype(np.float64), sigmoid(outputs["Identity_3"]), net.side)
    return Body(
        region.to_picture(points, net.side),
        sigmoid(rows[:, 3]),
        sigmoid(rows[:, 4]),
        float(outputs["Identity_1"][0]),
        region,
        sigmoid(outputs["Identity_2"][..., 0]),
    )


def _refined(points: Points, heat: Array, side: int) -> Points:
    """Move points to the middle of the heat around them; ``heat`` is ``(rows, columns, N)``."""
    cells = len(heat)
    refined = points.copy()
    for index, (x, y) in enumerate((points / side * cells).astype(int)):
        if not (0 <= x < cells and 0 <= y < cells):
            continue
        rows = np.arange(max(0, y - WINDOW), min(cells, y + WINDOW + 1))
        columns = np.arange(max(0, x - WINDOW), min(cells, x + WINDOW + 1))
        window = heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, index]
        if window.max() >= LEAST_PEAK:
            mass = window / window.sum()
            refined[index] = np.array([mass.sum(axis=0) @ columns, mass.sum(axis=1) @ rows]) / cells * side
    return refined
