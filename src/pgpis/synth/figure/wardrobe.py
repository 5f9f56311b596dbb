"""Outfits that go together: curated palettes, garments that are worn with each other, one print at most."""

from __future__ import annotations

import dataclasses

import numpy as np

from pgpis.synth.figure.description import Fabric, Outfit, Triple, triple
from pgpis.synth.figure.fabric import LOGOS

Color = tuple[int, int, int]
WHITE, OFF_WHITE, CREAM = (242, 242, 240), (232, 228, 220), (236, 224, 200)
SAND, CAMEL = (206, 188, 156), (172, 132, 88)
BLACK, CHARCOAL, GREY, SILVER = (30, 30, 33), (66, 67, 72), (128, 130, 135), (190, 192, 196)
NAVY, BLUE, SKY, TEAL = (38, 48, 82), (62, 96, 158), (158, 188, 218), (44, 106, 110)
OLIVE, SAGE, FOREST, MINT = (98, 100, 64), (152, 168, 142), (44, 80, 60), (180, 214, 196)
BURGUNDY, RED, RUST, CORAL = (108, 32, 46), (178, 42, 48), (166, 86, 50), (226, 130, 110)
MUSTARD, LEMON, BROWN, ROSE = (204, 158, 60), (238, 218, 132), (98, 68, 48), (218, 164, 168)
LILAC, PLUM, PINK = (184, 168, 206), (92, 54, 92), (230, 176, 190)
DENIMS: tuple[Color, ...] = ((58, 80, 124), (40, 50, 76), (112, 142, 180), (150, 172, 198))
# top, bottom, accent, shoes: each four go together
PALETTES: tuple[tuple[Color, Color, Color, Color], ...] = (
    (WHITE, NAVY, RED, WHITE), (WHITE, BLACK, GREY, BLACK), (OFF_WHITE, CAMEL, BROWN, BROWN),
    (CREAM, OLIVE, RUST, BROWN), (GREY, BLACK, WHITE, WHITE), (BLACK, BLACK, WHITE, BLACK),
    (BLACK, SAND, WHITE, BLACK), (CHARCOAL, GREY, WHITE, BLACK), (NAVY, SAND, WHITE, BROWN),
    (NAVY, CREAM, CORAL, WHITE), (SKY, NAVY, WHITE, BROWN), (BLUE, CHARCOAL, WHITE, WHITE),
    (TEAL, BLACK, CREAM, BLACK), (SAGE, CREAM, FOREST, WHITE), (FOREST, SAND, CREAM, BROWN),
    (OLIVE, BLACK, SAND, BLACK), (BURGUNDY, CHARCOAL, ROSE, BLACK), (BURGUNDY, NAVY, CREAM, BROWN),
    (RED, BLACK, WHITE, WHITE), (RUST, NAVY, CREAM, BROWN), (CORAL, WHITE, NAVY, WHITE),
    (MUSTARD, NAVY, WHITE, BROWN), (MUSTARD, CHARCOAL, CREAM, BLACK), (LEMON, SKY, WHITE, WHITE),
    (PINK, GREY, WHITE, WHITE), (ROSE, BURGUNDY, CREAM, BLACK), (LILAC, CHARCOAL, WHITE, WHITE),
    (PLUM, BLACK, LILAC, BLACK), (MINT, WHITE, TEAL, WHITE), (SILVER, NAVY, BLUE, WHITE),
    (CAMEL, CREAM, BLACK, BROWN), (BROWN, SAND, CREAM, BROWN),
)  # fmt: skip
DENIM_FRIENDS: tuple[Color, ...] = (
    *(WHITE, BLACK, GREY, NAVY, CREAM, RED, MUSTARD),
    *(OLIVE, BURGUNDY, PINK, SKY, SAGE, CORAL),
)
TOP_PATTERNS = {
    "plain": 0.42, "horizontal": 0.13, "knit": 0.10, "ribbed": 0.07, "check": 0.05, "plaid": 0.06, "dots": 0.05,
    "floral": 0.05, "vertical": 0.03, "block": 0.03, "camouflage": 0.01,
}  # fmt: skip
SKIRT_PATTERNS = {"plain": 0.5, "floral": 0.14, "dots": 0.1, "plaid": 0.1, "horizontal": 0.08, "knit": 0.08}
DRESS_PATTERNS = {
    "plain": 0.36, "floral": 0.22, "dots": 0.12, "horizontal": 0.12, "plaid": 0.06, "ribbed": 0.06, "vertical": 0.06,
}  # fmt: skip
SKIRT_HEMS = ((-0.30, -0.22), (-0.44, -0.36), (-0.64, -0.56))
CALM = {"plain", "knit", "ribbed", "denim"}
SLEEVES = {"tank": -0.12, "short": 0.55, "elbow": 0.98, "three_quarter": 1.45, "long": 1.88}


def sample_outfit(rng: np.random.Generator, female: bool) -> Outfit:
    """Draw an outfit for a catalogue picture."""
    rng.integers(len(PALETTES))  # the fabrics are drawn below; without this draw a seed would give other people
    kind = _choose(rng, {"trousers": 0.52, "skirt": 0.20, "dress": 0.28} if female else {"trousers": 1.0})
    sleeve = _choose(
        rng,
        {"tank": 0.14, "short": 0.38, "elbow": 0.08, "three_quarter": 0.08, "long": 0.32}
        if female
        else {"tank": 0.03, "short": 0.45, "elbow": 0.05, "long": 0.47},
    )
    neck = _choose(
        rng,
        {"crew": 0.36, "v": 0.22, "scoop": 0.24, "turtle": 0.06, "shirt": 0.12}
        if female
        else {"crew": 0.58, "v": 0.12, "turtle": 0.05, "shirt": 0.25},
    )
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
    plain = Fabric("plain", _colors(WHITE, GREY, BLACK))
    outfit = Outfit(
        top=plain,
        bottom=plain,
        skirt=plain if kind != "trousers" else None,
        jacket=plain if jacket else None,
        shoes=plain,
        neckline=neck,
        dress=kind == "dress",
        tucked=kind == "skirt" or (kind == "trousers" and neck != "crew" and rng.random() < 0.35),
        cut={name: float(value) for name, value in cut.items()},
    )
    return sample_fabrics(rng, outfit)


def sample_fabrics(rng: np.random.Generator, outfit: Outfit) -> Outfit:
    """Return the same garments in other colours and patterns; the cut stays as it is."""
    top_color, bottom_color, accent, shoe_color = PALETTES[rng.integers(len(PALETTES))]
    patterned = outfit.skirt is not None or rng.random() < 0.9
    patterns = DRESS_PATTERNS if outfit.dress else TOP_PATTERNS
    top = _fabric(rng, _choose(rng, patterns) if patterned else "plain", top_color, accent, bottom_color)
    if outfit.neckline == "shirt" and not outfit.dress:
        shirt = _choose(rng, {"plain": 0.5, "plaid": 0.2, "vertical": 0.15, "check": 0.15})
        top = dataclasses.replace(_fabric(rng, shirt, top_color, accent, bottom_color), placket=True)
    elif top.pattern == "plain" and not outfit.dress and outfit.jacket is None and rng.random() < 0.35:
        top = dataclasses.replace(
            top,
            logo=str(rng.choice(LOGOS)),
            logo_size=float(rng.uniform(0.10, 0.17)),
            details={"logo_height": float(rng.uniform(0.27, 0.31))},
        )
    calm_top = top.pattern in CALM

    if outfit.skirt is None and rng.random() < 0.42:
        if top_color not in DENIM_FRIENDS:
            top = dataclasses.replace(
                top, colors=_colors(DENIM_FRIENDS[rng.integers(len(DENIM_FRIENDS))], accent, NAVY)
            )
        bottom = _fabric(rng, "denim", DENIMS[rng.integers(len(DENIMS))], accent, WHITE)
    else:
        pattern = "herringbone" if calm_top and rng.random() < 0.08 else "plain"
        bottom = _fabric(rng, pattern, bottom_color, accent, top_color)
    skirt = None
    if outfit.dress:
        skirt = top
    elif outfit.skirt is not None:
        skirt = _fabric(rng, _choose(rng, SKIRT_PATTERNS) if calm_top else "plain", bottom_color, accent, top_color)
    if outfit.skirt is not None:  # tights
        bottom = _fabric(rng, "plain", CHARCOAL if rng.random() < 0.5 else BLACK, accent, top_color)
    jacket = None
    if outfit.jacket is not None:
        pattern = _choose(rng, {"plain": 0.55, "denim": 0.2, "knit": 0.15, "herringbone": 0.1})
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


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    names = list(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


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
