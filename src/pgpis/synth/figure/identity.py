"""Who a person is: body, face and colours; and a stand-in for what a face recogniser would make of them."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import Identity, triple

SKIN_TONES = (
    (244, 214, 196), (235, 197, 172), (224, 180, 150), (200, 150, 116), (168, 118, 86), (128, 86, 62), (96, 64, 48),
)  # fmt: skip
HAIR_COLORS = (
    (28, 22, 20), (46, 33, 27), (74, 50, 36), (112, 78, 50), (160, 120, 76), (198, 164, 112), (138, 64, 38),
    (150, 146, 142),
)  # fmt: skip
EYE_COLORS = ((66, 46, 32), (92, 64, 40), (74, 106, 142), (94, 120, 86), (92, 96, 100))
LIP_COLORS = ((190, 70, 76), (168, 46, 62), (204, 104, 100), (148, 66, 74), (196, 120, 112))
HAIR_FEMALE = {"long": 0.32, "wavy": 0.18, "bob": 0.18, "bun": 0.12, "ponytail": 0.14, "short": 0.06}
HAIR_MALE = {"short": 0.40, "crop": 0.22, "quiff": 0.16, "buzz": 0.12, "bald": 0.04, "afro": 0.06}
# standard deviation of each face shape's strength; those not named are left alone
FACE_SPREAD = {
    "nose-scale-horiz-incr": 0.40, "nose-scale-vert-incr": 0.35, "nose-scale-depth-incr": 0.35, "nose-hump-incr": 0.35,
    "nose-point-up": 0.35, "nose-volume-incr": 0.35, "nose-width2-incr": 0.35, "nose-flaring-incr": 0.3,
    "chin-width-incr": 0.40, "chin-height-incr": 0.35, "chin-prominent-incr": 0.35, "chin-bones-incr": 0.35,
    "mouth-scale-horiz-incr": 0.40, "mouth-lowerlip-height-incr": 0.40, "mouth-upperlip-height-incr": 0.40,
    "mouth-trans-up": 0.30, "mouth-angles-up": 0.25, "head-scale-horiz-incr": 0.35, "head-scale-vert-incr": 0.35,
    "head-fat-incr": 0.40, "head-angle-out": 0.2, "eyebrows-trans-up": 0.35, "eyebrows-angle-up": 0.40,
    "forehead-scale-vert-incr": 0.35, "neck-scale-horiz-incr": 0.25,
}  # fmt: skip
PAIRED_SPREAD = {
    "cheek-volume-incr": 0.40, "cheek-bones-incr": 0.40, "eye-scale-incr": 0.35, "eye-trans-out": 0.35,
    "eye-height2-incr": 0.35, "ear-scale-incr": 0.35, "eye-corner1-up": 0.40, "eye-corner2-up": 0.40,
}  # fmt: skip
CODE_SIZE, CODE_NORM = 512, 22.0  # as raw ArcFace embeddings


HAIR_SHAPE = ("hair_volume", "hair_length", "parting")
"""The numbers of an identity's paint that shape hair instead of colouring it."""


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw an adult."""
    female = bool(rng.random() < 0.55)
    origin = rng.dirichlet([0.55, 0.5, 0.6])
    shape = {
        "gender": rng.uniform(0.88, 0.98) if female else rng.uniform(0.02, 0.14),  # 0 is male
        "age": rng.uniform(0.60, 0.84),
        "muscle": rng.uniform(0.38, 0.58) if female else rng.uniform(0.45, 0.72),
        "weight": rng.uniform(0.25, 0.68),
        "height": rng.uniform(0.27, 0.52),
        "proportions": rng.uniform(0.05, 0.55),
        "cupsize": rng.uniform(0.30, 0.58),
        "african": origin[0],
        "asian": origin[1],
        "caucasian": origin[2],
    }
    face = {name: float(np.clip(rng.normal(0, spread), -0.85, 0.85)) for name, spread in FACE_SPREAD.items()}
    for name, spread in PAIRED_SPREAD.items():
        strength = np.clip(rng.normal(0, spread), -0.85, 0.85)
        for side in ("l-", "r-"):
            face[side + name] = float(strength + rng.normal(0, 0.02))
    smile = float(rng.uniform(0, 0.45))
    lids = float(rng.uniform(0.12, 0.24))  # a relaxed eye is not wide open
    face |= {"mouthSmileLeft": smile, "mouthSmileRight": smile, "eyeBlinkLeft": lids, "eyeBlinkRight": lids}
    styles = HAIR_FEMALE if female else HAIR_MALE
    names = list(styles)
    hair = names[int(rng.choice(len(names), p=np.array([styles[name] for name in names])))]
    person = Identity(
        female,
        {name: float(value) for name, value in shape.items()},
        face,
        skin=(0.0, 0.0, 0.0),
        hair=hair,
        hair_color=(0.0, 0.0, 0.0),
        eye_color=(0.0, 0.0, 0.0),
        paint={
            "hair_volume": float(rng.uniform(0.85, 1.2)),
            "hair_length": float(rng.uniform(0, 1)),
            "parting": float(rng.choice([-1, 0, 1])),
        },
    )
    tone = 5.4 * origin[0] + 2.0 * origin[1] + 0.8 * origin[2] + rng.normal(0, 0.5)
    return _painted(rng, person, float(np.clip(tone, 0, len(SKIN_TONES) - 1)))


def sample_paint(rng: np.random.Generator, identity: Identity) -> Identity:
    """Return someone of the same shape and hair style in other colours: skin, hair, eyes, brows, lips, beard, marks."""
    return _painted(rng, identity, float(rng.uniform(0, len(SKIN_TONES) - 1)))


def _painted(rng: np.random.Generator, identity: Identity, tone: float) -> Identity:
    female = identity.female
    low = min(int(tone), len(SKIN_TONES) - 2)
    skin = np.array(SKIN_TONES[low]) * (1 - tone + low) + np.array(SKIN_TONES[low + 1]) * (tone - low)
    dark = tone > 2.6
    hair = np.array(HAIR_COLORS[rng.integers(0, 3 if dark else len(HAIR_COLORS))]) * rng.uniform(0.88, 1.12)
    eyes = EYE_COLORS[rng.integers(0, 2 if dark else len(EYE_COLORS))]
    beard = 0.0 if female or rng.random() < 0.45 else float(rng.choice([0.3, 0.55, 0.85]))
    paint = {
        "brow_width": rng.uniform(0.0020, 0.0036) if female else rng.uniform(0.0030, 0.0050),
        "brow_height": rng.uniform(0.018, 0.024),
        "brow_arch": rng.uniform(0.2, 1.0),
        "lipstick": rng.uniform(0.15, 0.85) if female else rng.uniform(0, 0.15),
        "lashes": rng.uniform(0.5, 0.9) if female else rng.uniform(0.25, 0.45),
        "shadow": rng.uniform(0, 0.35) if female else 0.0,
        "blush": rng.uniform(0.05, 0.35) if female else rng.uniform(0, 0.12),
        "beard": beard,
        "beard_shape": rng.uniform(0, 1),
        "freckles": rng.uniform(0.2, 0.6) if tone < 2 and rng.random() < 0.3 else 0.0,
        "mole_x": float(rng.choice([-1, 1])) * rng.uniform(0.016, 0.045),
        "mole_z": rng.uniform(-0.062, -0.012),
        "mole": float(rng.random() < 0.35),
        "lines": float(np.clip((identity.shape["age"] - 0.7) * 5, 0, 0.7)),
    }
    hair_shape = {name: identity.paint[name] for name in HAIR_SHAPE}
    return dataclasses.replace(
        identity,
        skin=triple(skin),
        hair_color=triple(np.clip(hair, 8, 235)),
        eye_color=triple(np.array(eyes)),
        lip_color=triple(np.array(LIP_COLORS[rng.integers(len(LIP_COLORS))])),
        paint=hair_shape | {name: float(value) for name, value in paint.items()},
    )


def face_code(identity: Identity) -> npt.NDArray[np.float32]:
    """Return a stand-in for a face recogniser's embedding, ``(512,)`` float32 with norm 22.

    It is a fixed random projection of the numbers that make the face, so it is equal for equal faces, similar for
    similar ones, and nearly orthogonal for strangers. No network has seen it.
    """
    values = [identity.face.get(name, 0.0) / 0.35 for name in sorted(load_body().face_shapes)]
    values += [(identity.shape[name] - 0.5) / 0.2 for name in sorted(identity.shape)]
    for color, middle in (
        (identity.skin, 150),
        (identity.hair_color, 80),
        (identity.eye_color, 80),
        (identity.lip_color, 120),
    ):
        values += [(value - middle) / 45 for value in color]
    values += [(identity.paint["brow_width"] - 0.003) / 0.001, (identity.paint["brow_height"] - 0.021) / 0.002]
    values += [
        identity.paint[name] * 2 - 1 for name in ("brow_arch", "lipstick", "lashes", "beard", "freckles", "mole")
    ]
    code = np.array(values) @ _projection(len(values))
    return (code / np.linalg.norm(code) * CODE_NORM).astype(np.float32)


@lru_cache(maxsize=1)
def _projection(size: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(20_24).normal(size=(size, CODE_SIZE))
