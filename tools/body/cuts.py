"""Where DensePose cuts hands, feet and heads open, as paths on our body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csgraph

from tools.body.geometry import (
    FRONT,
    LEFT,
    PART_NUMBERS,
    PARTS,
    UP,
    ChartMesh,
    Floats,
    Integers,
    Part,
    across,
    boundary_vertices,
    edge_graph,
    segment_distance,
    unit,
)


def cut_path(mesh: ChartMesh, part: Integers, number: int) -> tuple[list[int], dict[int, str]]:
    """Return the path along which DensePose cuts the part open, from its border inwards, and the landmarks on it."""
    name, side, _ = PARTS[number]
    if name == "hand":
        return _hand_cut(mesh, part, number, side), {}
    if name == "foot":
        return _foot_cut(mesh, part, number, side)
    if name == "head":
        return _head_cut(mesh, part, number)
    return [], {}


def _route(mesh: ChartMesh, faces: Integers, stops: Sequence[int], cost: Floats, closed: Iterable[int]) -> list[int]:
    """Return the cheapest path along the edges of ``faces`` over the stops; it keeps off ``closed`` and off itself."""
    path = [stops[0]]
    barred = set(closed)
    for start, stop in pairwise(stops):
        blocked = np.array(sorted((barred | set(path)) - {start, stop}), dtype=np.int64)
        price = cost.copy()
        price[blocked] = 1e6
        graph = edge_graph(mesh.vertices, faces, price)
        _, previous = csgraph.dijkstra(graph, indices=start, return_predecessors=True)
        leg = [stop]
        while leg[-1] != start:
            leg.append(int(previous[leg[-1]]))
        path += leg[-2::-1]
    return path


def border_between(mesh: ChartMesh, part: Integers, number: int, others: Iterable[int]) -> Integers:
    """Return the vertices that a part shares with all of the others."""
    shared = np.unique(mesh.faces[part == number])
    for other in others:
        shared = np.intersect1d(shared, mesh.faces[part == other])
    return shared


def _hand_cut(mesh: ChartMesh, part: Integers, number: int, side: str) -> list[int]:
    """From the thumb's side of the wrist over thumb, webs and fingertips to the tip of the little finger."""
    faces = mesh.faces[part == number]
    inside = np.unique(faces)
    points = mesh.vertices
    joint = {name[:-2]: place for name, place in mesh.joints.items() if name.endswith(f".{side}")}
    thumbward = unit(joint["finger2-1"] - joint["finger5-1"])
    chains, best, height = [], np.full(len(points), np.inf), np.zeros(len(points))
    for finger in range(1, 6):
        chain = [joint["wrist"], *(joint[f"finger{finger}-{i}"] for i in (1, 2, 3))]
        tip = chain[-1] + 1.3 * (chain[-1] - chain[-2])
        chain.append(tip)
        chains.append(chain)
        bend = unit(tip - chain[2])
        palmward = (
            np.cross(bend, thumbward)
            if finger > 1
            else across(np.cross(thumbward, joint["finger3-1"] - joint["wrist"]), bend)
        )
        palmward = across(palmward, bend)
        for start, end in pairwise(chain):
            offset, _ = segment_distance(points, start, end)
            distance = np.linalg.norm(offset, axis=1)
            closer = distance < best
            best[closer], height[closer] = distance[closer], (offset @ palmward)[closer]
    tips = [
        int(
            inside[
                np.argmax(
                    (points[inside] - chain[-2]) @ unit(chain[-1] - chain[-2])
                    - 3 * np.linalg.norm(segment_distance(points[inside], chain[-2], chain[-1])[0], axis=1)
                )
            ]
        )
        for chain in chains
    ]
    front, back = (PART_NUMBERS[Part("larm", side, face)] for face in ("front", "back"))
    corners = border_between(mesh, part, number, (front, back))
    start = int(corners[np.argmax(points[corners] @ thumbward)])
    # DensePose's cut starts a little on the palm's side of the seam of the lower arm.
    border = border_between(mesh, part, number, (front,))
    near = border[np.argsort(np.linalg.norm(points[border] - points[start], axis=1))]
    start = int(near[1])
    rim = np.setdiff1d(boundary_vertices(faces), [start])
    cost = 1 + (height / 0.003) ** 2
    return _route(mesh, faces, [start, *tips], cost, rim.tolist())


def _foot_cut(mesh: ChartMesh, part: Integers, number: int, side: str) -> tuple[list[int], dict[int, str]]:
    """From the back of the ankle over the heel, along the outer edge of the sole and the toes' tips to the big toe."""
    faces = mesh.faces[part == number]
    points, inside = mesh.vertices, np.unique(faces)
    joint = {name[:-2]: place for name, place in mesh.joints.items() if name.endswith(f".{side}")}
    rim = boundary_vertices(faces)
    outward = LEFT if side == "L" else -LEFT
    ankle = points[rim] - joint["foot"]
    start = int(rim[np.argmax(ankle @ -FRONT - 2 * np.abs(ankle @ LEFT))])
    foot = points[inside]
    ground = foot[:, 2].min()
    above = foot[:, 2] - ground
    middle = np.abs(foot[:, 0] - joint["foot"][0])
    heel = int(inside[np.argmax(foot @ -FRONT - np.abs(above - 0.015) - 2 * middle)])
    tips = []
    for toe in (5, 4, 3, 2, 1):
        last, before = ("3", "2") if toe > 1 else ("2", "1")
        ahead = unit(joint[f"toe{toe}-{last}"] - joint[f"toe{toe}-{before}"])
        offset = foot - joint[f"toe{toe}-{last}"]
        along = offset @ ahead
        tips.append(int(inside[np.argmax(along - 2 * np.linalg.norm(offset - along[:, None] * ahead, axis=1))]))
    # the outer side of the little toe
    base = foot - joint["toe5-2"]
    small_toe = int(
        inside[np.argmax(base @ outward - np.linalg.norm(base - (base @ outward)[:, None] * outward, axis=1))]
    )
    height = points[:, 2] - ground - 0.012
    cost = 1 + (height / 0.006) ** 2 + 30 * np.maximum(-(points - joint["foot"]) @ outward - 0.0, 0) / 0.03
    forward = (points - joint["foot"]) @ FRONT
    cost[forward > 0.1] = (1 + (height / 0.004) ** 2)[forward > 0.1]
    # down from the ankle to the heel the height must not count
    first = _route(mesh, faces, [start, heel], np.ones(len(points)), np.setdiff1d(rim, [start]).tolist())
    rest = _route(mesh, faces, [heel, small_toe, *tips], cost, [*rim.tolist(), *first[:-1]])
    return first + rest[1:], {heel: "heel", small_toe: "small toe"}


HAIRLINE, SLIT = 0.085, 0.045


def _head_cut(mesh: ChartMesh, part: Integers, number: int) -> tuple[list[int], dict[int, str]]:
    """The slit at the hairline: from the middle of the head outwards; and the tip of the nose as a landmark."""
    points = mesh.vertices
    faces = mesh.faces[part == number]
    seam = border_between(mesh, part, 23, (24,))
    nose = int(seam[np.argmin(points[seam, 1])])
    eyes = mesh.joints["eye.L"]
    front = seam[points[seam, 1] < mesh.joints["head"][1] + 0.02]
    start = int(front[np.argmin(np.abs(points[front, 2] - eyes[2] - HAIRLINE))])
    outward = LEFT if number == 24 else -LEFT
    inside = np.setdiff1d(np.unique(faces), boundary_vertices(faces))
    end = int(inside[np.argmin(np.linalg.norm(points[inside] - points[start] - SLIT * outward + 0.012 * UP, axis=1))])
    rim = np.setdiff1d(boundary_vertices(faces), [start])
    return _route(mesh, faces, [start, end], np.ones(len(points)), rim.tolist()), {nose: "nose"}
