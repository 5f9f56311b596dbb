"""A person as the rest of pgpis reads one: named points that can be trusted, and a silhouette."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from operator import itemgetter

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.pictures.keypoints import FACE_START, LEFT_HAND_START, RIGHT_HAND_START, Frame, Keypoints
from pgpis.preprocess.blazepose.body import Body, detect, read_body
from pgpis.preprocess.blazepose.parts import FACE68, LEFT_HAND, RIGHT_HAND, read_face, read_hand
from pgpis.preprocess.blazepose.regions import Pixels, Points, Region
from pgpis.preprocess.blazepose.silhouette import Mask, silhouette
from pgpis.preprocess.settings import SkeletonName, refuse_absent

LEAST_PERSON = 0.3
"""Score of the landmark net below which there is nobody."""
LEAST_SMALL = 0.9
"""The same where somebody is seen in a part of the picture alone, whose mirrored copy must then show somebody too."""
SMALLEST_SQUARE = 64
"""Pixels of a side; in a smaller one nobody is looked for."""
APART = 0.2
"""Of a person's region: the shoulders of others are at least so far away; who is nearer is the same person."""
LEAST_PART = 0.5
"""Score of a hand or face below which it is not seen."""
NO_FACE = 0.1
"""Score of the face net below which the head is seen from behind, or from the side."""
BROAD = 0.45
"""Of the torso's length: shoulders so far apart across it are those of a front or a back, not of a side."""
WIDER = 1.15
"""By how much the region grows for a second look."""
SURE = 0.9
"""Mean score of all looks from which a front without a face is one, cut or hidden: of backs the net is less sure."""
MARGIN = 0.015
"""How far outside the silhouette a point may lie, in sides of the person's region."""
SMALL = 256
"""Pixels of the side of a person's region at which this is looked up."""
PERSON = 0.5
"""Least value of the silhouette at a pixel of the person."""
INSIDE = 0.3
"""The same where a point lies: it may be just outside."""

COCO17 = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
FEET = ((17, 31), (19, 29), (20, 32), (22, 30))
"""Big toes and heels, as COCO-WholeBody and BlazePose count them; the small toes are missing here."""
TORSO = [11, 12, 23, 24]
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
FRONT_OF_HEAD = [*range(7), 9, 10]
OTHER_SIDE = [0, 4, 5, 6, 1, 2, 3, *(index + 1 if index % 2 else index - 1 for index in range(7, 33))]
"""The point of the same name on the other side of the body."""


@dataclass(frozen=True)
class Sighting:
    """A person in a picture."""

    body: Body
    seen: NDArray[np.bool_]
    """``(33,)`` which points lie in the picture and on the person."""
    silhouette: Mask
    """``(H, W)`` probability that a pixel shows the person."""
    doubt: str = ""
    """Why the pose is uncertain; empty where it is not."""


def see(picture: Pixels, person: int = 0, *, mirror: bool = True) -> Sighting:
    """Find a person.

    Args:
        picture: ``(H, W, 3)`` RGB.
        person: The ``person``-th largest one.
        mirror: Whether a front without a face is looked at again, in the mirrored picture and in larger regions: the
            net takes the left of some backs for their right, seldom in all of these, and then with lower scores.

    Raises:
        NothingFoundError: There is nobody.
        PgpisError: There are people, but not so many.
    """
    bodies = [read_body(picture, region) for region in detect(picture)]
    bodies, doubt = [body for body in bodies if body.score >= LEAST_PERSON], ""
    if not bodies:
        bodies, doubt = _small_people(picture), "somebody is seen in a part of the picture alone: crop it to the person"
    refuse_absent("people", len(bodies), person)
    body = bodies[person]
    is_faceless = read_face(picture, body)[1] < NO_FACE
    if mirror and is_faceless and _turn(body) <= -BROAD:
        body, doubt = _looked_at_again(picture, body)
    mask = silhouette(picture, body)
    return Sighting(body, _seen(body, mask, is_back=is_faceless and _turn(body) > 0), mask, doubt)


def _small_people(picture: Pixels) -> list[Body]:
    """Look for people in overlapping squares of a picture in which they are too small for the detector."""
    height, width = picture.shape[:2]
    side = min(height, width, -(-max(height, width) // 2))
    if side < SMALLEST_SQUARE:
        return []
    corners = itertools.product(*(np.linspace(0, long - side, -(-2 * long // side) - 1) for long in (height, width)))
    mirror = np.ascontiguousarray(picture[:, ::-1])
    bodies: list[tuple[float, Body]] = []
    for top, left in ((int(top), int(left)) for top, left in corners):
        for own in detect(np.ascontiguousarray(picture[top : top + side, left : left + side])):
            if own.side <= max(height, width) / 2:  # who is larger would have been seen, and is none
                x, y = own.centre
                region = replace(own, centre=(x + left, y + top))
                body = read_body(picture, region)
                if body.score >= LEAST_SMALL and _read_mirrored(mirror, region).score >= LEAST_PERSON:
                    bodies.append((float(np.hypot(x - side / 2, y - side / 2)), body))
    people: list[Body] = []
    for _, body in sorted(bodies, key=itemgetter(0)):  # squares that show somebody in the middle cut nothing off
        apart = (np.linalg.norm(_chest(body) - _chest(other)) / other.region.side for other in people)
        if all(distance > APART for distance in apart):
            people.append(body)
    return sorted(people, key=lambda body: -body.region.side)


def _chest(body: Body) -> Points:
    return np.asarray(body.points[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=0))


def _turn(body: Body) -> float:
    """Return how far the right shoulder is to the right of the left one, in lengths of the torso: above 0 on backs.

    The torso says where up is: people lie, and stand on their hands.
    """
    left, right, *hips = body.points[TORSO]
    up = (left + right) / 2 - np.mean(hips, axis=0)
    length = max(float(np.linalg.norm(up)), 1e-6)
    return float((right - left) @ [-up[1], up[0]]) / length**2


def _looked_at_again(picture: Pixels, body: Body) -> tuple[Body, str]:
    """Return the best reading of a front without a face, which may be a back, and why it is uncertain."""
    unsure = "it shows no face, and may be a back"
    if not _inside(body.points[[LEFT_SHOULDER, RIGHT_SHOULDER]], picture).all():  # legs: no torso says what they are
        return body, unsure
    wide = replace(body.region, side=body.region.side * WIDER)
    mirror = np.ascontiguousarray(picture[:, ::-1])
    seen = [_mirrored(region, picture.shape[1]) for region in detect(mirror)]
    near = min(seen, key=lambda region: float(np.hypot(*np.subtract(region.centre, body.region.centre))), default=wide)
    wide_near = replace(near, side=near.side * WIDER)
    readings = [_read_mirrored(mirror, near), read_body(picture, wide), _read_mirrored(mirror, wide_near)]
    for reading in readings:
        if _turn(reading) > 0 and reading.score >= LEAST_PERSON:
            return reading, "it shows a back, of which the mirrored picture gives another pose"
    if np.mean([body.score, *(reading.score for reading in readings)]) >= SURE:
        return body, unsure
    exchanged = _exchanged(body, body.points[OTHER_SIDE], body.region)
    return exchanged, "it shows a back that was taken for a front: left and right are exchanged"


def _read_mirrored(mirror: Pixels, region: Region) -> Body:
    """Read a region of a picture in its mirrored copy."""
    width = mirror.shape[1]
    body = read_body(mirror, _mirrored(region, width))
    points = body.points[OTHER_SIDE]
    points[:, 0] = width - points[:, 0]
    segmentation = np.ascontiguousarray(body.segmentation[:, ::-1])
    return replace(_exchanged(body, points, region), segmentation=segmentation)


def _exchanged(body: Body, points: Points, region: Region) -> Body:
    """Exchange the names of left and right."""
    visibility, presence = body.visibility[OTHER_SIDE], body.presence[OTHER_SIDE]
    return replace(body, points=points, visibility=visibility, presence=presence, region=region)


def _mirrored(region: Region, width: int) -> Region:
    return Region((width - region.centre[0], region.centre[1]), region.side, -region.angle)


def _seen(body: Body, mask: Mask, *, is_back: bool) -> NDArray[np.bool_]:
    """Return which points lie in the picture and on the person; of a back without the front of the head."""
    scale = SMALL / body.region.side
    small = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = 2 * round(MARGIN * SMALL) + 1
    person = cv2.dilate(small, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) >= INSIDE
    height, width = mask.shape
    x, y = body.points.T
    columns = (x / width * person.shape[1]).astype(int).clip(0, person.shape[1] - 1)
    rows = (y / height * person.shape[0]).astype(int).clip(0, person.shape[0] - 1)
    seen: NDArray[np.bool_] = _inside(body.points, mask) & person[rows, columns]
    if is_back:
        seen[FRONT_OF_HEAD] = False
    return seen


def _inside(points: Points, picture: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which points lie in a picture ``(H, W, …)``."""
    return np.all((points >= 0) & (points < picture.shape[1::-1]), axis=1)


class BlazePoseEstimator:
    """Key points without any download; see :class:`pgpis.preprocess.pose.PoseEstimator`.

    Args:
        skeleton: Points to return; whole-body-133 has hands, feet without small toes, and the face of its mesh.
        threshold: Probability that a point lies where it is said to, below which it counts as not seen.

    Raises:
        PgpisError: LiteRT is not installed.
    """

    def __init__(self, skeleton: SkeletonName = "body18", threshold: float = 0.3) -> None:
        self.skeleton = skeleton
        self.threshold = threshold

    def __call__(self, picture: Image.Image, person: int = 0) -> tuple[Keypoints, NDArray[np.float64]]:
        """Return the points of a person, and the confidence of each."""
        pixels = np.asarray(picture.convert("RGB"))
        sighting = see(pixels, person)
        return self.keypoints(pixels, sighting)

    def keypoints(self, picture: Pixels, sighting: Sighting) -> tuple[Keypoints, NDArray[np.float64]]:
        """Return the points of a person who was found, and the confidence of each."""
        body = sighting.body
        points, scores = np.zeros((133, 2)), np.zeros(133)
        trust = np.where(sighting.seen, np.minimum(body.visibility, body.presence), 0.0)
        order = list(COCO17)
        points[:17], scores[:17] = body.points[order], trust[order]
        frame = Frame(picture.shape[0], picture.shape[1], name="picture")
        if self.skeleton == "wholebody133":
            for ours, theirs in FEET:
                points[ours], scores[ours] = body.points[theirs], trust[theirs]
            for start, hand in ((LEFT_HAND_START, LEFT_HAND), (RIGHT_HAND_START, RIGHT_HAND)):
                if sighting.seen[hand[0]]:
                    points[start : start + 21], score = read_hand(picture, body, hand)
                    scores[start : start + 21] = score if score >= LEAST_PART else 0.0
            if sighting.seen[0]:
                mesh, score = read_face(picture, body)
                points[FACE_START : FACE_START + 68] = mesh[list(FACE68)]
                scores[FACE_START : FACE_START + 68] = score if score >= LEAST_PART else 0.0
            return _named(points, scores, self.threshold, frame), scores
        body18 = _named(points[:17], scores[:17], self.threshold, frame).to_body18()
        confidences = _named(np.repeat(scores[:17, None], 2, axis=1), scores[:17], self.threshold, frame).to_body18()
        return body18, np.maximum(confidences.points[:, 0], 0.0)


def _named(points: NDArray[np.float64], scores: NDArray[np.float64], threshold: float, frame: Frame) -> Keypoints:
    visible = np.repeat(scores[:, None] > threshold, 2, axis=1)
    return Keypoints.from_visible(points, visible, frame, "coco17" if len(points) == 17 else "wholebody133")
