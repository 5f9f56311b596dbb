"""Paint: skin with the features of a face, eyes, and hair, as colours at points of the canonical body."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.description import Identity
from pgpis.synth.figure.mesh import Float, Surface, mix, smoothstep
from pgpis.synth.figure.noise import grain, value_noise

HEAD_BELOW_EYES = 0.145  # metres: chin and jaw are within this


def skin_color(identity: Identity, surface: Surface, eye: Float) -> Float:
    """Return the colours ``(N, 3)`` of skin, 0..255; ``eye`` ``(3,)`` is the left eye on the canonical body."""
    tone = np.array(identity.skin, np.float32)
    position = surface.position
    mottled = 1 + np.float32(0.03) * value_noise(position, 30) + np.float32(0.015) * grain(position, 140)
    color = tone[None] * mottled[:, None]
    reddish = np.float32(0.05) * smoothstep(value_noise(position, 14, 1), 0.1, 0.7)
    color *= 1 - reddish[:, None] * np.array([0, 1, 1], np.float32)
    mix(color, 0.5 * surface.nails, tone * np.array([1.08, 0.95, 0.95], np.float32))
    head = np.flatnonzero(position[:, 2] > eye[2] - HEAD_BELOW_EYES)
    if len(head):
        _paint_head(identity, color, head, surface.take(head), eye)
    return color


def _paint_head(identity: Identity, color: Float, head: npt.NDArray[np.int64], surface: Surface, eye: Float) -> None:
    paint, tone = identity.paint, np.array(identity.skin, np.float32)
    hair = np.array(identity.hair_color, np.float32)
    x, y, z = np.abs(surface.position[:, 0]), surface.position[:, 1], surface.position[:, 2]
    beside, above = x - eye[0], z - eye[2]
    front = (y < -0.070).astype(np.float32)
    lips = surface.lips

    def paint_on(amount: npt.NDArray[np.floating], other: npt.ArrayLike) -> None:
        mix(color, amount, other, head)

    cheek = np.exp(-(((x - 0.042) / 0.018) ** 2) - ((above + 0.035) / 0.016) ** 2)
    paint_on(0.55 * paint["blush"] * front * cheek, (212, 96, 92))
    under_eye = np.exp(-((beside / 0.014) ** 2) - ((above + 0.015) / 0.006) ** 2)
    paint_on(0.16 * front * under_eye, tone * np.array([0.74, 0.66, 0.70]))
    natural = tone * np.array([0.80, 0.56, 0.54])
    lipstick = natural * (1 - paint["lipstick"]) + np.array(identity.lip_color) * paint["lipstick"]
    paint_on(front * smoothstep(lips, 0.15, 0.6) * 0.9, lipstick)
    lid = surface.lids * front
    paint_on(lid * 0.28, tone * 0.5)
    shadow = paint["shadow"] * front * np.exp(-((beside / 0.016) ** 2) - ((above - 0.009) / 0.006) ** 2)
    paint_on(shadow, tone * np.array([0.55, 0.42, 0.45]))
    rim = np.hypot(beside / 1.35, above * 1.1)
    lashes = paint["lashes"] * front * smoothstep(-np.abs(rim - 0.0108), -0.0032, -0.0010)
    paint_on(lashes * (above > -0.002), (28, 20, 18))
    paint_on(_brows(paint, front, beside, above, surface.position), hair * 0.72)
    wings = np.exp(-(((x - 0.008) / 0.004) ** 2) - ((above + 0.042) / 0.003) ** 2)
    paint_on(0.45 * front * wings, tone * 0.38)
    fold = np.exp(-(((x - 0.026 - 0.35 * (-above - 0.045)) / 0.003) ** 2))
    fold = fold * smoothstep(-above, 0.042, 0.05) * smoothstep(above, -0.072, -0.06)
    paint_on(paint["lines"] * 0.35 * front * fold, tone * 0.62)
    forehead = smoothstep(np.sin(above * 900), 0.75, 1.0) * smoothstep(above, 0.035, 0.045)
    paint_on(paint["lines"] * 0.18 * front * (forehead * smoothstep(-x, -0.04, -0.02)), tone * 0.7)
    if paint["beard"]:
        beard = paint["beard"] * 0.8 * _beard(paint["beard_shape"], x, y, above)
        paint_on(beard * (1 - lips) * (0.8 + 0.2 * grain(surface.position, 500)), hair * 0.8)
    if paint["freckles"]:
        spots = smoothstep(value_noise(surface.position, 420), 0.40, 0.55)
        paint_on(paint["freckles"] * front * spots * np.exp(-(((above + 0.03) / 0.03) ** 2)), tone * 0.64)
    if paint["mole"]:
        away = np.hypot(surface.position[:, 0] - paint["mole_x"], above - paint["mole_z"])
        paint_on(0.85 * front * smoothstep(-away, -0.0028, -0.0016), (66, 42, 34))
    line = surface.hairline
    if identity.hair == "buzz":
        paint_on(0.82 * smoothstep(line, -0.004, 0.008) * (0.85 + 0.15 * grain(surface.position, 600)), hair)
    elif identity.hair != "bald":
        paint_on(0.95 * smoothstep(line, -0.004, 0.004), hair * 0.72)


def _brows(paint: dict[str, float], front: Float, beside: Float, above: Float, position: Float) -> Float:
    """Where brows grow."""
    arch = 0.006 * paint["brow_arch"] * (1 - ((beside - 0.006) / 0.020) ** 2) - 0.10 * np.maximum(beside - 0.004, 0)
    width = paint["brow_width"] * (1 - 0.4 * smoothstep(beside, 0.004, 0.02))
    ridge = smoothstep(width - np.abs(above - paint["brow_height"] - arch), -0.0010, 0.0010)
    ends = smoothstep(-np.abs(beside - 0.001), -0.023, -0.018)
    strands = 0.75 + 0.25 * grain(position * np.array([1, 1, 0.35], np.float32), 900)
    return 0.92 * front * ridge * ends * strands


def _beard(shape: float, x: Float, y: Float, above: Float) -> Float:
    """Where a beard grows: moustache and chin, and for larger shapes the cheeks along the jaw."""
    chin = smoothstep(-above, 0.080, 0.092) * smoothstep(-x, -0.055 if shape > 0.35 else -0.026, -0.018)
    moustache = smoothstep(-above, 0.050, 0.056) * smoothstep(above, -0.066, -0.062) * smoothstep(-x, -0.030, -0.022)
    jaw = smoothstep(-above + 0.55 * np.maximum(x - 0.045, 0), 0.052, 0.066) * smoothstep(x, 0.026, 0.036)
    grown = np.maximum(chin, moustache)
    if shape > 0.35:
        grown = np.maximum(grown, jaw)
    return grown * smoothstep(-y, 0.035, 0.055) * smoothstep(above, -0.118, -0.108)


def eye_color(identity: Identity, surface: Surface, eye: Float) -> Float:
    """Return the colours ``(N, 3)`` of the eyes: white, iris with a dark rim, pupil and a highlight."""
    position = surface.position
    side = np.sign(position[:, 0])
    beside, above = np.abs(position[:, 0]) - eye[0], position[:, 2] - eye[2]
    radius = np.hypot(beside, above)
    color = np.repeat(np.array([[224, 218, 212]], np.float32), len(position), axis=0)
    iris = np.array(identity.eye_color, np.float32)
    mix(color, smoothstep(-radius, -0.0072, -0.0064), iris * 0.45)
    mix(color, smoothstep(-radius, -0.0062, -0.0054), iris)
    mix(color, smoothstep(-radius, -0.0034, -0.0027), (12, 12, 12))
    glint = np.hypot(side * beside + 0.002, above - 0.002)
    mix(color, smoothstep(-glint, -0.0018, -0.001), (255, 255, 255))
    mix(color, 0.45 * smoothstep(above, 0.003, 0.008), (60, 45, 40))
    return color


def hair_color(identity: Identity, surface: Surface) -> Float:
    """Return the colours ``(N, 3)`` of hair: strands that run down and around the head."""
    position = surface.position
    angle = np.arctan2(position[:, 0], position[:, 1] + np.float32(0.03))
    flow = np.stack([angle * 6, position[:, 1] * 4, position[:, 2] * 3], axis=1)
    strands = value_noise(flow, 9) + np.float32(0.5) * value_noise(flow, 23, 1)
    if identity.hair in {"afro", "wavy"}:
        strands = strands + np.float32(0.8) * value_noise(position, 95, 2)
    amount = np.float32(0.94) + np.float32(0.24) * strands + np.float32(0.06) * grain(position, 300)
    return np.array(identity.hair_color, np.float32)[None] * amount[:, None]
