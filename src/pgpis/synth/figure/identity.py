"""Who a person is: body, face and colours; and a stand-in for what a face recogniser would make of them."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import load_body
from pgpis.synth.figure.description import LOOKS, Identity, choose, triple

TABLES = LOOKS["identity"]
SKIN_TONES, HAIR_COLORS = TABLES["skin_tones"], TABLES["hair_colors"]
CODE_SIZE, CODE_NORM = 512, 22.0  # as raw ArcFace embeddings


HAIR_SHAPE = ("hair_volume", "hair_length", "parting")
"""The numbers of an identity's paint that shape hair instead of colouring it."""
UNPAINTED = (0.0, 0.0, 0.0)


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
    face = {name: float(np.clip(rng.normal(0, spread), -0.85, 0.85)) for name, spread in TABLES["face_spread"].items()}
    for name, spread in TABLES["paired_spread"].items():
        strength = np.clip(rng.normal(0, spread), -0.85, 0.85)
        for side in ("l-", "r-"):
            face[side + name] = float(strength + rng.normal(0, 0.02))
    smile = float(rng.uniform(0, 0.45))
    lids = float(rng.uniform(0.12, 0.24))  # a relaxed eye is not wide open
    face |= {"mouthSmileLeft": smile, "mouthSmileRight": smile, "eyeBlinkLeft": lids, "eyeBlinkRight": lids}
    hair = choose(rng, TABLES["hair_female" if female else "hair_male"])
    numbers = (rng.uniform(0.85, 1.2), rng.uniform(0, 1), rng.choice([-1, 0, 1]))
    hair_shape = {name: float(value) for name, value in zip(HAIR_SHAPE, numbers, strict=True)}
    shape = {name: float(value) for name, value in shape.items()}
    person = Identity(female, shape, face, UNPAINTED, hair, UNPAINTED, UNPAINTED, hair_shape)
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
    eyes, lips = TABLES["eye_colors"], TABLES["lip_colors"]
    eye_color = triple(eyes[rng.integers(0, 2 if dark else len(eyes))])
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
        eye_color=eye_color,
        lip_color=triple(lips[rng.integers(len(lips))]),
        paint=hair_shape | {name: float(value) for name, value in paint.items()},
    )


def face_code(identity: Identity) -> npt.NDArray[np.float32]:
    """Return a stand-in for a face recogniser's embedding, ``(512,)`` float32 with norm 22.

    It is a fixed random projection of the numbers that make the face, so it is equal for equal faces, similar for
    similar ones, and nearly orthogonal for strangers. No network has seen it.
    """
    values = [identity.face.get(name, 0.0) / 0.35 for name in sorted(load_body().face_shapes)]
    values += [(identity.shape[name] - 0.5) / 0.2 for name in sorted(identity.shape)]
    colors = (identity.skin, identity.hair_color, identity.eye_color, identity.lip_color)
    for color, middle in zip(colors, (150, 80, 80, 120), strict=True):
        values += [(value - middle) / 45 for value in color]
    paint = identity.paint
    values += [(paint["brow_width"] - 0.003) / 0.001, (paint["brow_height"] - 0.021) / 0.002]
    values += [paint[name] * 2 - 1 for name in ("brow_arch", "lipstick", "lashes", "beard", "freckles", "mole")]
    code = np.array(values) @ _projection(len(values))
    return (code / np.linalg.norm(code) * CODE_NORM).astype(np.float32)


@lru_cache(maxsize=1)
def _projection(size: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(20_24).normal(size=(size, CODE_SIZE))
