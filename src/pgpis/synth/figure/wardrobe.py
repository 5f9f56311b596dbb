"""Outfits that go together: curated palettes, garments that are worn with each other, one print at most."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pgpis.synth.figure.description import LOOKS, Fabric, Outfit, Triple, choose, triple
from pgpis.synth.figure.fabric import LOGOS

Color = tuple[int, int, int]
TABLES: dict[str, Any] = LOOKS["wardrobe"]
COLORS: dict[str, Color] = TABLES["colors"]
WHITE, BLACK, CHARCOAL, GREY, NAVY = (COLORS[name] for name in ("white", "black", "charcoal", "grey", "navy"))
DENIMS: tuple[Color, ...] = TABLES["denims"]
PALETTES = tuple(tuple(COLORS[name] for name in palette) for palette in TABLES["palettes"])
DENIM_FRIENDS = tuple(COLORS[name] for name in TABLES["denim_friends"])
SKIRT_HEMS = ((-0.30, -0.22), (-0.44, -0.36), (-0.64, -0.56))
CALM = {"plain", "knit", "ribbed", "denim"}
SLEEVES = {"tank": -0.12, "short": 0.55, "elbow": 0.98, "three_quarter": 1.45, "long": 1.88}


def sample_outfit(rng: np.random.Generator, female: bool) -> Outfit:
    """Draw an outfit for a catalogue picture."""
    rng.integers(len(PALETTES))  # the fabrics are drawn below; without this draw a seed would give other people
    kind = choose(rng, {"trousers": 0.52, "skirt": 0.20, "dress": 0.28} if female else {"trousers": 1.0})
    sleeve = choose(rng, TABLES["sleeves_female" if female else "sleeves_male"])
    neck = choose(rng, TABLES["necks_female" if female else "necks_male"])
    if neck == "turtle" and sleeve in {"tank", "short"}:
        sleeve = "long"
    jacket = kind != "dress" and sleeve != "elbow" and rng.random() < 0.16
    cut = {
        "sleeve": SLEEVES[sleeve] + (rng.uniform(-0.05, 0.05) if sleeve != "tank" else 0.0),
        "hem": rng.uniform(-0.06, 0.02) if neck != "shirt" else rng.uniform(-0.08, -0.03),
        "loose": rng.uniform(0.002, 0.010),
        "leg": rng.choice([1.92, 1.88, 1.72, 0.85, 0.5], p=[0.4, 0.25, 0.15, 0.12, 0.08]),
        "leg_loose": rng.uniform(0.001, 0.016) if rng.random() < 0.8 else rng.uniform(0.02, 0.03),
        "waist": rng.uniform(0.075, 0.12),
        "skirt_hem": rng.choice([rng.uniform(*span) for span in SKIRT_HEMS], p=[0.4, 0.4, 0.2]),
        "flare": rng.uniform(0.0, 0.05),
        "pleats": rng.choice([0.0, rng.uniform(0.004, 0.008)]),
        "boot": rng.choice([1.94, 1.94, 1.80]),
        "jacket_open": rng.uniform(0.03, 0.055),
        "jacket_hem": rng.uniform(-0.10, -0.02),
    }
    if kind != "trousers":
        cut["leg"] = 1.9 if rng.random() < 0.18 else -0.05
        cut["leg_loose"] = 0.0  # tights
    cut = {name: float(value) for name, value in cut.items()}
    tucked = kind == "skirt" or (kind == "trousers" and neck != "crew" and rng.random() < 0.35)
    plain = Fabric("plain", _colors(WHITE, GREY, BLACK))
    skirt, outer = plain if kind != "trousers" else None, plain if jacket else None
    return sample_fabrics(rng, Outfit(plain, plain, skirt, outer, plain, neck, kind == "dress", tucked, cut))


def sample_fabrics(rng: np.random.Generator, outfit: Outfit) -> Outfit:
    """Return the same garments in other colours and patterns; the cut stays as it is."""
    top_color, bottom_color, accent, shoe_color = PALETTES[rng.integers(len(PALETTES))]
    patterned = outfit.skirt is not None or rng.random() < 0.9
    patterns = TABLES["dress" if outfit.dress else "top"]
    top = _fabric(rng, choose(rng, patterns) if patterned else "plain", top_color, accent, bottom_color)
    if outfit.neckline == "shirt" and not outfit.dress:
        shirt = choose(rng, {"plain": 0.5, "plaid": 0.2, "vertical": 0.15, "check": 0.15})
        top = dataclasses.replace(_fabric(rng, shirt, top_color, accent, bottom_color), placket=True)
    elif top.pattern == "plain" and not outfit.dress and outfit.jacket is None and rng.random() < 0.35:
        logo, size, height = str(rng.choice(LOGOS)), float(rng.uniform(0.10, 0.17)), float(rng.uniform(0.27, 0.31))
        top = dataclasses.replace(top, logo=logo, logo_size=size, details={"logo_height": height})
    calm_top = top.pattern in CALM

    if outfit.skirt is None and rng.random() < 0.42:
        if top_color not in DENIM_FRIENDS:
            friend = DENIM_FRIENDS[rng.integers(len(DENIM_FRIENDS))]
            top = dataclasses.replace(top, colors=_colors(friend, accent, NAVY))
        bottom = _fabric(rng, "denim", DENIMS[rng.integers(len(DENIMS))], accent, WHITE)
    else:
        pattern = "herringbone" if calm_top and rng.random() < 0.08 else "plain"
        bottom = _fabric(rng, pattern, bottom_color, accent, top_color)
    skirt = None
    if outfit.dress:
        skirt = top
    elif outfit.skirt is not None:
        skirt = _fabric(rng, choose(rng, TABLES["skirt"]) if calm_top else "plain", bottom_color, accent, top_color)
    if outfit.skirt is not None:  # tights
        bottom = _fabric(rng, "plain", CHARCOAL if rng.random() < 0.5 else BLACK, accent, top_color)
    jacket = None
    if outfit.jacket is not None:
        pattern = choose(rng, {"plain": 0.55, "denim": 0.2, "knit": 0.15, "herringbone": 0.1})
        color = bottom_color if bottom.pattern != "denim" else accent
        if pattern == "denim":
            color = DENIMS[rng.integers(len(DENIMS))]
        jacket = _fabric(rng, pattern, color, CHARCOAL, WHITE)
    sole = WHITE if rng.random() < 0.6 else shoe_color
    shoes = Fabric("plain", _colors(shoe_color, sole, BLACK))
    return dataclasses.replace(outfit, top=top, bottom=bottom, skirt=skirt, jacket=jacket, shoes=shoes)


def signer_outfit(rng: np.random.Generator) -> Outfit:
    """Draw the dark plain clothes of a sign-language interpreter."""
    outfit = sample_outfit(rng, female=False)
    color = (BLACK, CHARCOAL, NAVY, (44, 40, 46))[rng.integers(4)]
    cut = outfit.cut | {"sleeve": SLEEVES["long"], "leg": 1.92, "waist": 0.1}
    plain = Fabric("plain", _colors(color, CHARCOAL, GREY))
    trousers = Fabric("plain", _colors(BLACK, CHARCOAL, GREY))
    neck = str(rng.choice(["crew", "v", "shirt"]))
    return dataclasses.replace(
        outfit, top=plain, bottom=trousers, jacket=None, shoes=trousers, neckline=neck, tucked=False, cut=cut
    )


def _fabric(rng: np.random.Generator, pattern: str, first: Color, second: Color, third: Color) -> Fabric:
    scale = {"horizontal": (0.03, 0.06), "floral": (0.05, 0.09), "dots": (0.03, 0.06)}.get(pattern, (0.035, 0.075))
    tint = rng.normal(0, 5, 3)
    shaded = triple(np.clip(value + shift, 14, 248) for value, shift in zip(first, tint, strict=True))
    if sum(abs(a - b) for a, b in zip(first, second, strict=True)) < 150:
        second = WHITE if sum(first) < 384 else NAVY
    details = {"height": float(rng.uniform(0.20, 0.32))} if pattern == "block" else {}
    return Fabric(pattern, (shaded, triple(second), triple(third)), float(rng.uniform(*scale)), details=details)


def _colors(first: Color, second: Color, third: Color) -> tuple[Triple, Triple, Triple]:
    return triple(first), triple(second), triple(third)
