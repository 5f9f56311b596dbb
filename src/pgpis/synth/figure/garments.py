"""Garments: shells around the body, cut by fields that say how far a point is inside the hem.

Top, trousers, jacket and shoes are offsets of the ``tights`` shell, skirts of the ``skirt`` shell. Everything is laid
out on the canonical body (metres), so a garment of one cut covers the same texels on everybody.

``Outfit.cut``, all on the canonical body:

==============  ================================================================================
sleeve          end of the sleeve on the arm's coordinate: 0 shoulder, 1 elbow, 2 wrist; below 0 no sleeve
hem             height of the top's lower edge; the hip joints are at 0, the waist at 0.1
loose           how far the top stands off the body
leg             end of the trousers on the leg's coordinate: 1 knee, 2 ankle; 0 or less: briefs under a skirt
leg_loose       how far the trousers stand off the leg
waist           height of the trousers' upper edge
skirt_hem       height of the skirt's lower edge; the knees are at -0.4
flare           how much the skirt widens downwards
pleats          depth of its folds
boot            upper edge of the shoes on the leg's coordinate; 2 is the ankle
jacket_open     half the width by which an open jacket gapes
jacket_hem      height of the jacket's lower edge
==============  ================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import Body, Shape
from pgpis.synth.figure.description import Layer, Outfit
from pgpis.synth.figure.mesh import Float, Shell, smooth_points, smoothstep, vertex_normals

NECKLINES = ("crew", "v", "scoop", "turtle", "shirt")
AWAY = np.float32(0.3)  # far inside a garment: a field's value where no hem is near
SKIRT_TOP = 0.115


@dataclass(frozen=True)
class Garments:
    """What an outfit becomes on a body.

    Attributes:
        shells: The sheets, from the inside out.
        coverage: ``(V,)`` metres inside the nearest hem of whatever covers a vertex; negative where the skin is bare.
        fields: Of each garment, ``(V,)`` metres inside its hem on the canonical body.
    """

    shells: list[Shell]
    coverage: Float
    fields: dict[Layer, Float]


def clothe(body: Body, shape: Shape, outfit: Outfit) -> Garments:
    """Cut the garments of an outfit and put them around a body at rest.

    Raises:
        KeyError: A length is missing from the cut, or the neckline is unknown.
    """
    cut, z = outfit.cut, body.canonical[:, 2]
    fields = {Layer.TROUSERS: trousers_field(body, outfit), Layer.TOP: top_field(body, outfit)}
    below_edge = np.minimum((body.along_leg - cut["boot"]) * 0.4, 0.06)
    shoes = np.where((body.arm > 0.2) | (body.along_leg < 1), -1.0, below_edge)
    fields[Layer.SHOES] = shoes.astype(np.float32)
    drawn = dict(fields)
    if outfit.skirt is not None:
        skirt = np.where(body.arm < 0.2, np.minimum(z - cut["skirt_hem"], SKIRT_TOP - z), -1.0)
        fields[Layer.SKIRT] = skirt.astype(np.float32)
        drawn[Layer.TROUSERS] = np.minimum(fields[Layer.TROUSERS], cut["skirt_hem"] + 0.06 - z)
        if cut["leg"] <= 0:
            del drawn[Layer.TROUSERS], fields[Layer.TROUSERS]
    elif not outfit.tucked:  # the trousers end a hand's breadth under the top
        drawn[Layer.TROUSERS] = np.minimum(fields[Layer.TROUSERS], 0.03 - fields[Layer.TOP])
    if outfit.jacket is not None:
        fields[Layer.JACKET] = drawn[Layer.JACKET] = jacket_field(body, outfit)

    coverage = np.maximum.reduce([fields[layer] for layer in fields if layer not in {Layer.SKIRT, Layer.JACKET}])
    if Layer.SKIRT in fields:
        under_skirt = (body.arm < 0.2) & (z < 0.05)
        coverage = np.maximum(coverage, np.where(under_skirt, fields[Layer.SKIRT] - 0.05, -1))
    shells = _tights_shells(body, shape, outfit, drawn)
    if outfit.skirt is not None:
        shells.append(_skirt_shell(body, shape, outfit))
    return Garments(shells, coverage.astype(np.float32), fields)


def top_field(body: Body, outfit: Outfit) -> Float:
    """Metres inside the top's hem, sleeves and neckline, ``(V,)``."""
    cut = outfit.cut
    x, z = np.abs(body.canonical[:, 0]), body.canonical[:, 2]
    if cut["sleeve"] >= 0:
        sleeve = np.where(body.arm > 0.01, (cut["sleeve"] - body.along_arm) * 0.28, AWAY)
    else:  # the armhole of a tank top
        armhole = 0.125 - x + 1.6 * np.maximum(0, 0.37 - z)
        sleeve = np.minimum(armhole, (0.30 - body.arm) * 0.15)
    bottom = cut["hem"]
    if outfit.dress:
        bottom = 0.06
    elif outfit.tucked:
        bottom = (SKIRT_TOP - 0.030 if outfit.skirt is not None else cut["waist"]) - 0.012
    below = np.where(body.arm > 0.3, AWAY, z - bottom)
    return np.minimum(np.minimum(neck_field(body, outfit.neckline), sleeve), below).astype(np.float32)


def neck_field(body: Body, neckline: str) -> Float:
    """Metres below the neckline, ``(V,)``; KeyError: it is none of :data:`NECKLINES`."""
    x, y, z = np.abs(body.canonical[:, 0]), body.canonical[:, 1], body.canonical[:, 2]
    front = smoothstep(-y, -0.02, 0.07)
    collar = 0.497 - 0.040 * front * np.maximum(0, 1 - (x / 0.085) ** 2)
    round_neck = collar + 0.03 * smoothstep(x, 0.055, 0.09) - z  # the shoulders are covered
    drops = {
        "crew": np.zeros_like(x),
        "v": 0.12 * np.maximum(0, 1 - x / 0.085) * front,
        "scoop": 0.065 * np.maximum(0, 1 - (x / 0.095) ** 2) * front,
        "turtle": np.full_like(x, -0.045),
        "shirt": 0.055 * np.maximum(0, 1 - x / 0.045) * front - 0.012,
    }
    drop = drops[neckline]
    if neckline in {"turtle", "shirt"}:
        field = np.maximum(round_neck, collar - drop - z)
    elif neckline == "crew":
        field = round_neck
    else:
        field = np.minimum(round_neck, np.where(front > 0.02, np.maximum(collar - drop - z, x - 0.088), AWAY))
    return np.where(body.arm > 0.3, AWAY, field).astype(np.float32)


def trousers_field(body: Body, outfit: Outfit) -> Float:
    """Metres inside the waistband and the legs' hems, ``(V,)``."""
    cut = outfit.cut
    z = body.canonical[:, 2]
    leg = np.where(body.along_leg > 0, (cut["leg"] - body.along_leg) * 0.4, AWAY)
    field = np.minimum(cut["waist"] - z, leg)
    if cut["leg"] <= 0:
        field = np.minimum(field, z + 0.10)
    return np.where(body.arm > 0.25, -0.1, field).astype(np.float32)


def jacket_field(body: Body, outfit: Outfit) -> Float:
    """Metres inside the edges of an open jacket with long sleeves, ``(V,)``."""
    cut = outfit.cut
    x, y, z = np.abs(body.canonical[:, 0]), body.canonical[:, 1], body.canonical[:, 2]
    radius = np.hypot(x, (y + 0.008) * 0.85)
    neck = np.where(body.arm > 0.3, AWAY, np.maximum(0.500 - z, np.minimum(radius - 0.084, 0.518 - z)))
    sleeve = (1.88 - body.along_arm) * 0.28
    below = np.where(body.arm > 0.3, AWAY, z - cut["jacket_hem"])
    gap = cut["jacket_open"] + 0.045 * smoothstep(0.45 - z, 0, 0.4)
    opening = np.where((y < 0) & (body.arm < 0.3), x - gap, AWAY)
    return np.minimum(np.minimum(neck, sleeve), np.minimum(below, opening)).astype(np.float32)


def _tights_shells(body: Body, shape: Shape, outfit: Outfit, fields: dict[Layer, Float]) -> list[Shell]:
    """Offset the tights for trousers, top, shoes and jacket."""
    cut = outfit.cut
    part = body.parts["tights"]
    first, last = part.vertices
    offsets, indices = body.tights_neighbors
    arm, along_arm, along_leg = body.arm[first:last], body.along_arm[first:last], body.along_leg[first:last]
    z = body.canonical[first:last, 2]

    close = smooth_points(shape.vertices[first:last], offsets, indices, 0.6, 2)
    draped = smooth_points(close, offsets, indices, 1.0, 16)
    torso = 0.8 * (1 - np.clip(arm * 4, 0, 1)) * smoothstep(z, -0.12, 0.0)
    sheet = close * (1 - torso[:, None]) + draped * torso[:, None]
    normals = vertex_normals(sheet, part.own_faces)

    def shell(layer: Layer, base: Float, distance: npt.NDArray[np.floating]) -> Shell:
        return part.shell(layer, base + normals * distance.astype(np.float32)[:, None], fields[layer][first:last])

    shells = []
    leg_offset = 0.005 + cut["leg_loose"] * 0.9 * smoothstep(along_leg, 0.15, 1.0)
    if Layer.TROUSERS in fields:
        shells.append(shell(Layer.TROUSERS, sheet, leg_offset))
    on_arm = smoothstep(arm, 0.15, 0.6)
    body_offset = 0.008 + cut["loose"] * smoothstep(0.5 - z, 0, 0.35)
    sleeve_offset = 0.007 + cut["loose"] * 0.7 * smoothstep(along_arm, 0.1, 0.7)
    offset = body_offset * (1 - on_arm) + sleeve_offset * on_arm
    near_neck = smoothstep(neck_field(body, outfit.neckline)[first:last], 0, 0.06)
    offset = 0.004 + (offset - 0.004) * np.where(arm > 0.3, 1, near_neck)
    if outfit.tucked or outfit.dress or outfit.skirt is not None:
        limit = cut["waist"] if outfit.skirt is None else 0.085
        close_fitting = (offset - 0.003) * smoothstep(z, limit - 0.03, limit + 0.06) + 0.003
        offset = np.where(z < limit + 0.06, close_fitting, offset)
    else:  # over the trousers
        offset = np.maximum(offset, np.where(arm < 0.3, 0.011, 0))
    shells.append(shell(Layer.TOP, sheet, offset))
    shells.append(shell(Layer.SHOES, close, 0.006 + 0.004 * (z < -0.80)))
    if Layer.JACKET in fields:
        shells.append(shell(Layer.JACKET, sheet, np.maximum(offset, 0.006) + 0.009))
    return shells


def _skirt_shell(body: Body, shape: Shape, outfit: Outfit) -> Shell:
    """Let the skirt fall from the hips: a little wider downwards, in folds."""
    cut = outfit.cut
    part = body.parts["skirt"]
    first, last = part.vertices
    rest = shape.vertices[first:last]
    z = body.canonical[first:last, 2]
    outward = (rest - np.array([0, rest[:, 1].mean(), 0], np.float32)) * np.array([1, 1, 0], np.float32)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    angle = np.arctan2(outward[:, 1], outward[:, 0])
    below = smoothstep(-z, 0.0, 0.5)
    distance = 0.0045 + 0.009 * smoothstep(-z, -0.09, 0.02) + cut["flare"] * below
    distance = distance + cut["pleats"] * np.sin(angle * 13) * below
    moved = rest + outward * distance.astype(np.float32)[:, None]
    return part.shell(Layer.SKIRT, moved, np.minimum(z - cut["skirt_hem"], SKIRT_TOP - z))
