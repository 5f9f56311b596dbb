"""Which of DensePose's parts each face of our body belongs to.

The ideal borders are planes through the joints and surfaces along the limbs. A minimum cut draws each border along
edges of the mesh, close to the ideal one and short, hence with little zigzag.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from tools.body.geometry import (
    FRONT,
    PART_NUMBERS,
    UP,
    ChartMesh,
    Floats,
    Integers,
    Mask,
    Part,
    across,
    directed_edges,
    unit,
)


class Cutter:
    """Cuts a surface in two along short borders near an ideal one."""

    # How dear a square metre on the wrong side is, per metre of distance, against a metre of border.
    STIFFNESS = 1500.0
    # A border across a quad is a little dearer than around it.
    DIAGONAL = 1.2
    RESOLUTION = 1e7

    def __init__(self, vertices: Floats, faces: Integers) -> None:
        corners = vertices[faces]
        self.area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        edges = np.sort(directed_edges(faces), axis=1)
        owner = np.tile(np.arange(len(faces)), 3)
        order = np.lexsort((edges[:, 0], edges[:, 1]))
        edges, owner = edges[order], owner[order]
        twin = np.flatnonzero((edges[1:] == edges[:-1]).all(axis=1))
        length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        longest = np.zeros(len(faces))
        np.maximum.at(longest, owner, length)
        self.pairs = np.stack([owner[twin], owner[twin + 1]], axis=1)
        diagonal = (length[twin, None] >= longest[self.pairs]).all(axis=1)
        self.lengths = length[twin] * np.where(diagonal, self.DIAGONAL, 1.0)

    def cut(self, score: Floats, within: Mask) -> Mask:
        """Return which faces ``within`` lie on the positive side of ``score`` (metres from the ideal border)."""
        index = np.full(len(score), -1)
        index[within] = np.arange(within.sum())
        inside = within[self.pairs].all(axis=1)
        pairs, size = index[self.pairs[inside]], int(within.sum())
        weight = np.rint(self.lengths[inside] * self.RESOLUTION)
        pull = np.rint(self.area * np.abs(score) * self.STIFFNESS * self.RESOLUTION)[within]
        source, sink = size, size + 1
        positive = np.flatnonzero(score[within] > 0)
        negative = np.flatnonzero(score[within] <= 0)
        rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.full(len(positive), source), negative])
        columns = np.concatenate([pairs[:, 1], pairs[:, 0], positive, np.full(len(negative), sink)])
        capacity = np.concatenate([weight, weight, pull[positive], pull[negative]]).astype(np.int32)
        network = sparse.coo_matrix((capacity, (rows, columns)), (size + 2, size + 2)).tocsr()
        rest = network - csgraph.maximum_flow(network, source, sink).flow
        rest.data = np.maximum(rest.data, 0)
        rest.eliminate_zeros()
        reached = csgraph.breadth_first_order(rest, source, return_predecessors=False)
        result = np.zeros(len(score), dtype=bool)
        result[np.flatnonzero(within)[reached[reached < size]]] = True
        return result


def split_body(mesh: ChartMesh) -> Integers:
    """Split a closed body into DensePose's parts; (F,) in 1..24."""
    cutter = Cutter(mesh.vertices, mesh.faces)
    center = mesh.vertices[mesh.faces].mean(axis=1)
    weights = {name: weight[mesh.faces].mean(axis=1) for name, weight in mesh.groups.items()}
    everything = np.ones(len(center), dtype=bool)

    head = cutter.cut(_above_neck(mesh, center), everything)
    part = np.zeros(len(center), dtype=np.int64)
    left_half = cutter.cut(center[:, 0], everything)
    part[head & left_half], part[head & ~left_half] = 24, 23
    trunk = ~head
    for side, half in (("L", left_half), ("R", ~left_half)):
        mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
        points = center * mirror
        joint = {name[:-2]: place * mirror for name, place in mesh.joints.items() if name.endswith(f".{side}")}
        arm = cutter.cut(_beyond_shoulder(points, weights), half & ~head)
        leg = cutter.cut(np.where(arm, -1.0, _below_hip(points)), half & ~head & ~arm)
        trunk &= ~arm & ~leg
        for names, joints, limb in (
            (("uarm", "larm", "hand"), ("upperarm01", "lowerarm01", "wrist", "finger3-1"), arm),
            (("uleg", "lleg", "foot"), ("upperleg01", "lowerleg01", "foot", ""), leg),
        ):
            upper, middle, lower = (joint[name] for name in joints[:3])
            end = joint[joints[3]] if joints[3] else lower - 0.1 * UP
            beyond_middle = (points - middle) @ unit(unit(lower - middle) + unit(middle - upper))
            last_normal = unit(unit(end - lower) + unit(lower - middle)) if joints[3] else -UP
            last = cutter.cut((points - lower) @ last_normal, limb & (beyond_middle > 0.05))
            second = cutter.cut(beyond_middle, limb & ~last)
            first = limb & ~last & ~second
            score = _arm_front(points, joint) if names[0] == "uarm" else _leg_front(points, joint)
            front = cutter.cut(score, first | second)
            part[last] = PART_NUMBERS[Part(names[2], side, "")]
            for name, faces in ((names[0], first), (names[1], second)):
                part[faces & front] = PART_NUMBERS[Part(name, side, "front")]
                part[faces & ~front] = PART_NUMBERS[Part(name, side, "back")]
    front = cutter.cut(_trunk_front(center, mesh), trunk)
    part[trunk & front], part[trunk & ~front] = 2, 1
    return part


def _above_neck(mesh: ChartMesh, points: Floats) -> Floats:
    """Distance above the base of the neck, which is lower in front and rises towards the shoulders."""
    base = mesh.joints["neck01"]
    flare = np.maximum(np.abs(points[:, 0]) - 0.04, 0)
    return points[:, 2] - (base[2] - 0.018) - 0.35 * (points[:, 1] - base[1]) - 0.5 * flare


def _beyond_shoulder(points: Floats, weights: dict[str, Floats]) -> Floats:
    """Distance beyond the arm hole: a plane through armpit and point of the shoulder."""
    normal = unit(np.array([0.120, 0.0, -0.010]))
    arm = weights["uarm"] + weights["larm"] + weights["hand"]
    return np.where(arm > 0.02, (points - np.array([0.149, 0.0, 0.355])) @ normal, -1.0)


HIP_LINE, CROTCH = 0.05, -0.12


def _below_hip(points: Floats) -> Floats:
    """Distance below the top of the legs: level at the back, in front falling from the hip's side to the crotch."""
    groin = CROTCH + (HIP_LINE - CROTCH) * np.clip(points[:, 0] / 0.165, 0, 1)
    backness = np.clip(points[:, 1] / 0.04, 0, 1)
    return np.clip(groin + (HIP_LINE - groin) * backness - points[:, 2], -0.2, 0.2)


def _leg_front(points: Floats, joint: dict[str, Floats]) -> Floats:
    chain = [joint["upperleg01"] + 0.1 * UP, joint["upperleg01"], joint["lowerleg01"], joint["foot"]]
    height = [place[2] for place in chain[::-1]]
    middle = np.interp(points[:, 2], height, [place[1] for place in chain[::-1]])
    return middle - points[:, 1]


def _arm_front(points: Floats, joint: dict[str, Floats]) -> Floats:
    """Distance in front of the arm's sides; its front turns from the chest's over the elbow's bend to the palm's."""
    shoulder, elbow, wrist = (joint[name] for name in ("upperarm01", "lowerarm01", "wrist"))
    upper, lower = elbow - shoulder, wrist - elbow
    thumbward = joint["finger2-1"] - joint["finger5-1"]
    palm = np.cross(joint["finger3-1"] - wrist, thumbward)
    palm = across(palm, lower) * np.sign(palm @ (joint["finger3-3"] - joint["finger3-1"]))
    fronts = np.stack([across(FRONT + 0.3 * UP, upper), across(lower, upper), palm])
    along_upper = np.clip((points - shoulder) @ upper / (upper @ upper), 0, 1)
    along_lower = np.clip((points - elbow) @ lower / (lower @ lower), 0, 1)
    along = np.where(along_lower > 0, 1 + along_lower, along_upper)
    front = np.stack([np.interp(along, [0, 1, 2], fronts[:, axis]) for axis in range(3)], axis=1)
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    axis_point = shoulder + along_upper[:, None] * upper + along_lower[:, None] * lower
    return np.einsum("fk,fk->f", points - axis_point, front)


def _trunk_front(points: Floats, mesh: ChartMesh) -> Floats:
    """Distance in front of the flanks; they run from the hip joint over the waist's middle to the shoulder joint."""
    heights = [HIP_LINE, 0.5 * HIP_LINE + 0.1, 0.2, 0.34, 0.42, 0.5]
    hip, shoulder = mesh.joints["upperleg01.L"][1], mesh.joints["upperarm01.L"][1]
    trunk = np.abs(points[:, 0]) < 0.17
    depth = []
    for height in heights[1:-2]:
        slab = points[trunk & (np.abs(points[:, 2] - height) < 0.03), 1]
        depth.append(np.percentile(slab, (2, 98)).mean())
    middle = np.interp(points[:, 2], heights, [hip, *depth, shoulder, shoulder])
    return middle - points[:, 1]
