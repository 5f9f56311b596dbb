"""What is different about people who are to look photographed: prints, looser and longer clothes, more long hair."""

from __future__ import annotations

import dataclasses

import numpy as np

from pgpis.synth.figure.description import Fabric, Identity, Outfit, choose
from pgpis.synth.figure.photographs import PHOTOGRAPHS

PRINTED = 0.3
"""Share of the people whose top or dress is printed with a photograph."""
LONG_HAIR = {"long": 0.55, "wavy": 0.45}
LONGEST_HEM = -0.74  # of a skirt: the ankles


def longer_hair(rng: np.random.Generator, identity: Identity) -> Identity:
    """Let the hair of some people grow, past the shoulders at most; the face stays."""
    grown = rng.random() < (0.35 if identity.female else 0.10)
    style, length = choose(rng, LONG_HAIR), float(rng.uniform(0, 1.3))
    if not grown and identity.hair not in LONG_HAIR:
        return identity
    return dataclasses.replace(
        identity, hair=style if grown else identity.hair, paint=identity.paint | {"hair_length": length}
    )


def restyle(rng: np.random.Generator, outfit: Outfit) -> Outfit:
    """Cut some garments wider and longer, and print a photograph on some tops and dresses."""
    cut = outfit.cut
    wide, leg, hem, flare = rng.uniform(0.012, 0.030), rng.uniform(0.024, 0.05), rng.uniform(-1, 0), rng.uniform(0, 1)
    if rng.random() < 0.4:
        cut = cut | {"loose": float(wide)}
    if rng.random() < 0.35 and outfit.skirt is None:
        cut = cut | {"leg_loose": float(leg)}
    if rng.random() < 0.35 and outfit.skirt is not None:
        cut = cut | {"skirt_hem": float(-0.5 + hem * (-0.5 - LONGEST_HEM)), "flare": float(0.04 + 0.06 * flare)}
    printed, top = rng.random() < PRINTED, _printed(rng, outfit)
    if not printed:
        return dataclasses.replace(outfit, cut=cut)
    return dataclasses.replace(outfit, cut=cut, top=top, skirt=top if outfit.dress else outfit.skirt)


def _printed(rng: np.random.Generator, outfit: Outfit) -> Fabric:
    """Return the fabric of the top with a photograph all over, or on the chest."""
    top, names = outfit.top, list(PHOTOGRAPHS)
    name = names[rng.integers(len(names))]
    x, y = rng.uniform(0, 1, 2)
    everywhere = outfit.dress or top.placket or outfit.jacket is not None or rng.random() < 0.5
    if everywhere:
        two_tone = not PHOTOGRAPHS[name].colored or rng.random() < 0.3
        details = {"x": float(x), "y": float(y), "two_tone": float(two_tone)}
        scale = float(np.exp(rng.uniform(np.log(0.15), np.log(0.7))))
        return dataclasses.replace(top, pattern=name, scale=scale, logo=None, details=details)
    share = float(rng.uniform(0.45, 0.95))
    details = {
        "logo_height": float(rng.uniform(0.24, 0.30)),
        "shape": float(rng.uniform(0.8, 1.3)),
        "round": float(rng.random() < 0.25),
        "share": share,
        "x": float(x * (1 - share)),
        "y": float(y * 0.2),
    }
    size = float(rng.uniform(0.15, 0.25))
    return dataclasses.replace(top, pattern="plain", logo=name, logo_size=size, details=details)
