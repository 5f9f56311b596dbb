"""Laying our part over DensePose's chart: both are flattened onto one disc on which like borders coincide."""

from __future__ import annotations

import logging

import numpy as np
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import spsolve

from tools.body.geometry import (
    Floats,
    Integers,
    cross,
    signed_areas,
)
from tools.body.patches import EYE, Patch

logger = logging.getLogger(__name__)


def unfold(patch: Patch, target: Patch) -> Floats:
    """Return the chart coordinates (N, 2) of ``patch``'s points: those of ``target`` under them on a common disc."""
    around_target, around_patch = _common_border(patch, target)
    disc_target = _flatten(target, around_target)
    disc_patch = _flatten(patch, around_patch)
    return _locate(disc_patch, disc_target, target.faces, target.points)


def _common_border(patch: Patch, target: Patch) -> tuple[Floats, Floats]:
    """Place both borders on the circle (turns, 0..1): DensePose's by its length, ours between like anchors."""
    anchors = _match(patch, target)
    lengths = [border_lengths(item) for item in (target, patch)]
    around_target = lengths[0] / lengths[0][-1]
    mine = np.array([pair[0] for pair in anchors])
    theirs = np.array([around_target[pair[1]] for pair in anchors])
    order = np.argsort(mine)
    mine, theirs = mine[order], theirs[order]
    turn = int(np.argmin(theirs))
    theirs = np.concatenate([theirs[:turn] - (1 if turn else 0), theirs[turn:]])
    if (np.diff(theirs) <= 0).any():
        raise ValueError(f"the anchors of a part of labels {sorted(set(patch.labels))} follow each other differently")
    total = lengths[1][-1]
    where = lengths[1][mine]
    around = np.interp(lengths[1][:-1], np.append(where, where[0] + total), np.append(theirs, theirs[0] + 1))
    early = lengths[1][:-1] < where[0]
    around[early] = np.interp(
        lengths[1][:-1][early] + total, np.append(where, where[0] + total), np.append(theirs, theirs[0] + 1)
    )
    return around_target[:-1], around


def border_lengths(patch: Patch) -> Floats:
    """Return the length along the border up to each vertex, and the whole (N + 1,)."""
    points = patch.points[patch.border + patch.border[:1]]
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _runs(patch: Patch) -> list[tuple[int, int, float]]:
    """Return label, first position and length of each stretch of border with one neighbour."""
    lengths = border_lengths(patch)
    starts = [i for i in range(len(patch.labels)) if patch.labels[i] != patch.labels[i - 1]]
    ends = [*starts[1:], len(patch.labels)]
    return [(patch.labels[a], a, (lengths[b] - lengths[a]) / lengths[-1]) for a, b in zip(starts, ends, strict=True)]


def _match(patch: Patch, target: Patch) -> list[tuple[int, int]]:
    """Return pairs of positions on the two borders that are the same place.

    Neighbours along the border must follow each other alike. Where one of the two has a short stretch more (four parts
    meet in one vertex of the other), it is skipped.
    """
    mine, theirs = _runs(patch), _runs(target)
    while True:
        labels = [run[0] for run in theirs]
        turned = [mine[shift:] + mine[:shift] for shift in range(len(mine))]
        alike = [runs for runs in turned if [run[0] for run in runs] == labels]
        if alike:
            best = min(alike, key=lambda runs: sum(abs(a[2] - b[2]) for a, b in zip(runs, theirs, strict=True)))
            pairs = {(a[1], b[1]) for a, b in zip(best, theirs, strict=True)}
            return sorted(pairs | {(patch.anchors[name], target.anchors[name]) for name in target.anchors})
        longer = (
            mine
            if len(mine) > len(theirs) or (len(mine) == len(theirs) and _shortest(mine) < _shortest(theirs))
            else theirs
        )
        if _shortest(longer) > 0.08:
            raise ValueError(
                f"neighbours differ: {[run[:1] + run[2:] for run in mine]}, {[run[:1] + run[2:] for run in theirs]}"
            )
        logger.info("skipping a short border: %s", min(longer, key=lambda run: run[2]))
        longer.remove(min(longer, key=lambda run: run[2]))
        for index in range(len(longer) - 1, -1, -1):
            if len(longer) > 1 and longer[index][0] == longer[index - 1][0]:
                del longer[index]


def _shortest(runs: list[tuple[int, int, float]]) -> float:
    return min(run[2] for run in runs)


def _mean_value_weights(points: Floats, faces: Integers) -> sparse.csr_matrix:
    """Return Floater's mean value weights, which are positive and reproduce a flat patch."""
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = faces[:, corner], faces[:, (corner + 1) % 3], faces[:, (corner + 2) % 3]
        to_j, to_k = points[j] - points[i], points[k] - points[i]
        length_j, length_k = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_k, axis=1)
        cosine = np.einsum("nd,nd->n", to_j, to_k) / (length_j * length_k)
        tangent = np.tan(np.arccos(np.clip(cosine, -0.9999, 0.9999)) / 2)
        rows += [i, i]
        columns += [j, k]
        values += [tangent / length_j, tangent / length_k]
    size = len(points)
    index = (np.concatenate(rows), np.concatenate(columns))
    return sparse.coo_matrix((np.concatenate(values), index), (size, size)).tocsr()


def _flatten(patch: Patch, around: Floats) -> Floats:
    """Tutte's embedding: the border on the unit circle, each inner point at the weighted mean of its neighbours."""
    weights = _mean_value_weights(patch.points, patch.faces)
    place = np.zeros((len(patch.points), 2))
    angle = 2 * np.pi * around
    place[patch.border] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    inner = np.setdiff1d(np.arange(len(place)), patch.border)
    system = sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights
    known = -system[inner][:, patch.border] @ place[patch.border]
    place[inner] = spsolve(system[inner][:, inner].tocsc(), known).reshape(-1, 2)
    return place


def _locate(points: Floats, corners: Floats, faces: Integers, values: Floats) -> Floats:
    """Interpolate ``values`` of a flat mesh at points; a point just outside takes the nearest face, extended."""
    triangle = corners[faces]
    edge_1, edge_2 = triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    determinant = cross(edge_1, edge_2)
    result = np.zeros((len(points), values.shape[1]))
    for index, point in enumerate(points):
        offset = point - triangle[:, 0]
        second, third = cross(offset, edge_2) / determinant, cross(edge_1, offset) / determinant
        inside = np.minimum(np.minimum(second, third), 1 - second - third)
        best = int(np.argmax(inside))
        weights = np.array([1 - second[best] - third[best], second[best], third[best]])
        result[index] = weights @ values[faces[best]]
    return result


def settle_eye(patch: Patch, place: Floats, target: Patch, joints: dict[str, Floats], side: str) -> Floats:
    """Shift the inside of a head's chart smoothly, the border staying, such that the eye lies where DensePose's does.

    Without it our face, whose mesh is denser than the skull's, huddles at the middle of the head.
    """
    mine = int(np.argmin(np.linalg.norm(patch.points - joints[f"eye.{side}"], axis=1)))
    theirs = target.points[np.flatnonzero(target.body == EYE[side])[0]]
    fixed = place[np.append(patch.border[::4], mine)]
    shift = np.zeros_like(fixed)
    shift[-1] = theirs - place[mine]
    inner = np.setdiff1d(np.arange(len(place)), patch.border)
    moved = place.copy()
    moved[inner] += RBFInterpolator(fixed, shift, kernel="thin_plate_spline")(place[inner])
    return moved


# A face smaller than this (chart areas) counts as collapsed; the charts have about one face in 1e-3 to 1e-4.
SMALLEST_FACE = 2e-6


def repair(faces: Integers, place: Floats, turns: int = 3000) -> Floats:
    """Turn the few faces that folded over: move their corners as little as gives each a small area again."""
    place = place.copy()
    sign = np.sign(signed_areas(place, faces).sum())
    folded = np.flatnonzero(sign * signed_areas(place, faces) < SMALLEST_FACE)
    if len(folded):
        logger.info("turning %d of %d faces", len(folded), len(faces))
    for _ in range(turns):
        bad = np.flatnonzero(sign * signed_areas(place, faces) < SMALLEST_FACE)
        if not len(bad):
            return place
        for face in faces[bad]:
            corners = place[face]
            opposite = corners[[2, 0, 1]] - corners[[1, 2, 0]]
            gradient = sign * np.stack([-opposite[:, 1], opposite[:, 0]], axis=1) / 2
            lacking = 1.5 * SMALLEST_FACE - sign * signed_areas(corners, np.array([[0, 1, 2]]))[0]
            if lacking > 0:
                place[face] += np.clip(lacking / max((gradient**2).sum(), 1e-9), 0, 0.5) * gradient
    raise ValueError(f"{len(bad)} faces of {len(faces)} stay folded")
