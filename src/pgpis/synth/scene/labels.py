"""Key points with visibility, and the face's box.

Orders: ``coco17`` COCO's; ``body18`` OpenPose's, the neck in the middle of the shoulders; ``whole133``
COCO-WholeBody's: body 17, feet 6, face 68 (iBUG), left hand 21, right hand 21. A point is *visible* where nothing but
its own limb lies before it and the picture shows an admissible part of the body there (:data:`ADMISSIBLE`); otherwise
it is hidden, or outside.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgpis.pictures.keypoints import COCO17_TO_BODY18
from pgpis.synth.figure.description import LOOKS, Layer, Pose
from pgpis.synth.figure.mesh import Float
from pgpis.synth.figure.person import DressedPerson
from pgpis.synth.scene.camera import Points, place_person, project
from pgpis.synth.scene.scene import Camera

FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
NECK = 1
"""In body-18."""
FACE68: tuple[int, ...] = LOOKS["keypoints"]["face68"]
HEAD, TORSO = {23, 24}, {1, 2}
LEFT_ARM, RIGHT_ARM = {15, 17, 19, 21}, {16, 18, 20, 22}
LEFT_HAND, RIGHT_HAND = {4, 19, 21}, {3, 20, 22}
# DensePose's parts that a point may be seen on: those that meet at the joint
ADMISSIBLE: tuple[set[int], ...] = (
    *[HEAD] * 5,
    *(TORSO | {15, 17}, TORSO | {16, 18}, LEFT_ARM, RIGHT_ARM, LEFT_HAND, RIGHT_HAND),
    *(TORSO | {8, 10}, TORSO | {7, 9}, {8, 10, 12, 14}, {7, 9, 11, 13}, {12, 14, 5}, {11, 13, 6}),
    *([{5}] * 3 + [{6}] * 3),
    *([HEAD] * 68 + [LEFT_HAND] * 21 + [RIGHT_HAND] * 21),
)
# how far behind the surface a joint may lie, metres: it is inside its limb
DEPTH_OF_JOINT = np.array(
    [0.03, *[0.04] * 2, *[0.05] * 2, *[0.10] * 2, *[0.08] * 2, *[0.06] * 2, *[0.16] * 2, *[0.11] * 2, *[0.09] * 2]
    + [0.05] * 6
    + [0.02] * 68
    + [0.035] * 42,
    np.float32,
)
FACE_POINTS = slice(23, 91)
MIN_FACE_POINTS = 20  # of 68: less is a profile seen from behind
OUTSIDE, HIDDEN, VISIBLE = 0, 1, 2


def stand(person: DressedPerson, pose: Pose) -> tuple[Float, Points]:
    """Place a person before the camera.

    Returns:
        The vertices ``(V, 3)`` in metres, and the key points: COCO's names and feet, ``(1, 3)`` each; ``face``
        ``(68, 3)``; ``left_hand`` and ``right_hand`` ``(21, 3)``.
    """
    vertices, posed = person.pose(pose)
    body = person.body
    points = {name: value[None].astype(np.float32) for name, value in body.keypoints(person.shape, posed).items()}
    points["face"] = vertices[list(FACE68)]
    for number, (side, name) in enumerate((("L", "left_hand"), ("R", "right_hand"))):
        chain = [posed.joints[body.bone[f"wrist.{side}"]]]
        for finger in range(1, 6):
            chain += [posed.joints[body.bone[f"finger{finger}-{joint}.{side}"]] for joint in (1, 2, 3)]
            chain.append(posed.tips[5 * number + finger - 1])
        points[name] = np.stack(chain)
    placed = {name: place_person(value, pose.turn) for name, value in points.items()}
    return place_person(vertices, pose.turn), placed


def keypoint_labels(
    points: Points,
    camera: Camera,
    depth: Float,
    part: npt.NDArray[np.uint8],
    layer: npt.NDArray[np.int8],
) -> tuple[Float, Float, Float]:
    """Project the key points of :func:`stand` and tell which are seen.

    Where nothing is, ``depth`` ``(H, W)``, metres from the camera's plane, is infinite, DensePose's ``part`` 0 and
    ``layer`` -1.

    Returns:
        Body-18, COCO-17 and whole-body-133 ``(K, 3)``: x and y in pixels, visibility 0 outside the picture, 1 hidden,
        2 visible.
    """
    height, width = depth.shape
    coco17 = list(points)[:17]  # the body names them in COCO's order
    world = np.concatenate([points[name] for name in (*coco17, *FEET, "face", "left_hand", "right_hand")])
    image = project(camera, world, height)[:, :2]
    column, row = np.floor(image[:, 0]).astype(int), np.floor(image[:, 1]).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    visibility = np.full(len(world), OUTSIDE, np.float32)
    for number in np.flatnonzero(inside):
        at = row[number], column[number]
        near = camera.distance + world[number, 1] <= depth[at] + DEPTH_OF_JOINT[number]
        own = int(part[at]) in ADMISSIBLE[number]
        if FACE_POINTS.start <= number < FACE_POINTS.stop or number < 3:
            own &= layer[at] in {Layer.SKIN, Layer.EYES}  # a face under hair is hidden
        visibility[number] = VISIBLE if near and own else HIDDEN
    whole = np.column_stack([image, visibility]).astype(np.float32)
    coco = whole[:17]
    body18 = coco[list(COCO17_TO_BODY18)]
    body18[NECK] = *((coco[5, :2] + coco[6, :2]) / 2), min(coco[5, 2], coco[6, 2])
    return body18, coco.copy(), whole


def face_box(whole133: Float) -> tuple[float, float, float, float] | None:
    """Return the box around the face's 68 points, a tenth wider, its top raised to the forehead.

    It is x0, y0, x1, y1 in pixels, or None where fewer than :data:`MIN_FACE_POINTS` of them are visible.
    """
    face = whole133[FACE_POINTS]
    if (face[:, 2] == VISIBLE).sum() < MIN_FACE_POINTS:
        return None
    low, high = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    margin = 0.1 * (high - low)
    top = float(low[1] - 0.3 * (high[1] - low[1]))
    return float(low[0] - margin[0]), top, float(high[0] + margin[0]), float(high[1] + margin[1])
