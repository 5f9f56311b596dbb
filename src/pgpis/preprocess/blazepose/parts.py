"""Hands and face: their nets, on regions that the body's points give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgpis.preprocess.blazepose.body import Body
from pgpis.preprocess.blazepose.nets import load_net, sigmoid
from pgpis.preprocess.blazepose.regions import Pixels, Points, Region

LEFT_HAND, RIGHT_HAND = (15, 19, 17), (16, 20, 18)
"""Wrist, knuckle of the index finger, that of the little one."""
HAND_SIDE, HAND_MARGIN, HAND_SHIFT = 5.0, 2.0, 0.1
"""Of the first region, in lengths of the palm; of the next, in sides of the points' box; how far it is moved up."""
FACE_SIDE, FACE_MARGIN = 6.0, 1.5
"""Of the first region, in distances of eyes and mouth; of the next, in sides of the mesh's box."""
EYES, MOUTH = (2, 5), (9, 10)
MESH_EYES, MESH_CHIN, MESH_BROW = (33, 263), 152, 10

FACE68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
)
"""Points of the mesh at the places of iBUG's 68."""


def read_hand(picture: Pixels, body: Body, hand: tuple[int, int, int]) -> tuple[Points, float]:
    """Return the 21 points of a hand in COCO-WholeBody's order, and the probability that there is one."""
    wrist, index, little = body.points[list(hand)]
    knuckles = (2 * index + little) / 3
    region = Region.upright(knuckles, 2 * knuckles - wrist, HAND_SIDE)
    net = load_net("hand_landmark_full")
    for _ in range(2):
        outputs = net((region.crop(picture, net.side) / 255).astype(np.float32))
        crop = outputs["Identity"].reshape(21, 3)[:, :2].astype(np.float64)
        points = region.to_picture(crop, net.side)
        region = _around(points, points[0], (points[5] + points[9] + points[13]) / 3, HAND_MARGIN, HAND_SHIFT)
    return points, float(outputs["Identity_1"][0])


def read_face(picture: Pixels, body: Body) -> tuple[Points, float]:
    """Return the 468 points of the face's mesh, and the probability that the face is seen."""
    eyes, mouth = (body.points[list(pair)].mean(axis=0) for pair in (EYES, MOUTH))
    region = Region.upright((eyes + mouth) / 2, eyes + (eyes - mouth) / 2, FACE_SIDE)
    net = load_net("face_landmark")
    for _ in range(2):
        outputs = net((region.crop(picture, net.side) / 255).astype(np.float32))
        crop = outputs["conv2d_21"].reshape(468, 3)[:, :2].astype(np.float64)
        points = region.to_picture(crop, net.side)
        region = _around(points, points[MESH_CHIN], points[MESH_BROW], FACE_MARGIN, 0.0)
    return points, float(sigmoid(outputs["conv2d_31"].ravel())[0])


def _around(points: Points, low: Points, high: Points, margin: float, shift: float) -> Region:
    """Return the region around points in which ``high`` lies above ``low``."""
    up = (high - low) / max(float(np.linalg.norm(high - low)), 1e-6)
    axes: NDArray[np.float64] = np.stack([[-up[1], up[0]], up])
    along = points @ axes.T
    span = float(np.ptp(along, axis=0).max())
    middle = (along.min(axis=0) + along.max(axis=0)) / 2 @ axes
    return Region.upright(middle, middle + up * max(span, 1e-6), margin, shift)
