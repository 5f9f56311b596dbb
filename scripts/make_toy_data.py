"""Write a small generated data set in FPDM's layout: people made of capsules, in clothes of their own.

``python scripts/make_toy_data.py --out DIR --people 6 --views 4 --seed 0``. It stands in for DeepFashion in the demo
and in tests until pgpis makes better people. The same arguments give the same files.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pgpis.drawing import draw_pose
from pgpis.images import save_image, write_text
from pgpis.keypoints import DEEPFASHION_FRAME, Frame, Keypoints

Points = npt.NDArray[np.float64]
Color = tuple[int, int, int]

SKIN = ((244, 214, 190), (224, 172, 130), (176, 118, 78), (110, 72, 50))
HAIR = ((40, 30, 26), (94, 60, 34), (196, 160, 96), (150, 60, 40), (120, 116, 112))
SHOES = (45, 42, 48)
VIEWS = ("1_front", "2_side", "4_full", "7_additional")
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Person:
    """What stays the same in all views of one person."""

    skin: Color
    hair: Color
    long_hair: bool
    shirt: Color
    stripes: Color | None
    trousers: Color
    bare_legs: bool
    build: float


def make_person(generator: np.random.Generator) -> Person:
    """Draw a person's looks."""
    hue = int(generator.integers(180))
    shirt, trousers, stripes = (
        cv2.cvtColor(np.uint8([[[(hue + turn) % 180, saturation, value]]]), cv2.COLOR_HSV2RGB)[0, 0].tolist()
        for turn, saturation, value in ((0, 190, 225), (int(generator.integers(60, 130)), 150, 130), (90, 60, 250))
    )
    return Person(
        skin=SKIN[generator.integers(len(SKIN))],
        hair=HAIR[generator.integers(len(HAIR))],
        long_hair=bool(generator.random() < 0.5),
        shirt=tuple(shirt),
        stripes=tuple(stripes) if generator.random() < 0.5 else None,
        trousers=tuple(trousers),
        bare_legs=bool(generator.random() < 0.35),
        build=float(generator.uniform(0.9, 1.12)),
    )


def make_pose(generator: np.random.Generator, build: float) -> tuple[Points, bool]:
    """Draw the 18 body points of a pose, and whether the back is seen.

    Returns:
        ``(18, 2)`` x and y as fractions of the picture's height, x = 0 in its middle; True for a back view.
    """
    from_behind = bool(generator.random() < 0.2)
    turn = generator.uniform(0.45, 1.0) * (-1 if from_behind else 1)
    sway, lean, look = generator.uniform(-0.02, 0.02, 3)
    neck, hips = np.array([sway + lean, 0.2]), np.array([sway, 0.5])
    points = np.zeros((18, 2))
    points[0], points[1] = neck + np.array([look, -0.085]), neck
    head = np.array([[-0.016, -0.014], [0.016, -0.014], [-0.037, -0.006], [0.037, -0.006]])
    points[14:18] = points[0] + head * [turn, 1]
    for side, arm, leg in ((-1, 2, 8), (1, 5, 11)):
        outwards = side * np.sign(turn)
        upper = generator.uniform(0.7, 2.3) if generator.random() < 0.25 else generator.uniform(0.05, 0.5)
        lower = upper + generator.uniform(-0.2, 1.2)
        stride = generator.uniform(-0.04, 0.2)
        points[arm] = neck + np.array([side * 0.088 * build * turn, 0.012])
        points[leg] = hips + np.array([side * 0.05 * build * turn, 0])
        for joint, angle, length in (
            (arm, upper, 0.15), (arm + 1, lower, 0.13), (leg, stride, 0.21), (leg + 1, stride / 3, 0.2)
        ):  # fmt: skip
            points[joint + 1] = points[joint] + length * np.array([outwards * np.sin(angle), np.cos(angle)])
    return points, from_behind


def draw_person(person: Person, points: Points, size: tuple[int, int], *, from_behind: bool) -> Image.Image:
    """Draw a person at ``points`` (pixels x, y) before a light background of ``size`` (height, width)."""
    height, width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    shade = np.linspace(250, 232, height).round().astype(np.uint8)
    canvas = np.ascontiguousarray(np.broadcast_to(shade[:, None, None], (height, width, 3)))
    at = points * SUPERSAMPLING
    unit = height * person.build
    down = np.array([0.0, unit])

    def stroke(start: Points, stop: Points, thickness: float, color: Color) -> None:
        ends = [tuple(int(value) for value in point.round()) for point in (start, stop)]
        cv2.line(canvas, *ends, color, max(1, round(thickness * unit)), cv2.LINE_AA)

    if person.long_hair:
        stroke(at[0], at[1] + 0.02 * down, 0.095, person.hair)
    for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
        hem = at[hip] + 0.6 * (at[knee] - at[hip]) if person.bare_legs else at[knee]
        stroke(at[knee], at[ankle], 0.042, person.skin if person.bare_legs else person.trousers)
        stroke(at[knee], at[hip], 0.05, person.skin if person.bare_legs else person.trousers)
        stroke(at[hip], hem, 0.058, person.trousers)
        stroke(at[ankle] + 0.012 * down, at[ankle] + 0.013 * down, 0.052, SHOES)
    torso = cv2.convexHull(at[[2, 5, 11, 8]].round().astype(np.int32))
    cv2.fillConvexPoly(canvas, torso, person.shirt, cv2.LINE_AA)
    cv2.polylines(canvas, [torso], True, person.shirt, round(0.055 * unit), cv2.LINE_AA)
    for share in (0.25, 0.5, 0.75) if person.stripes else ():
        stroke(*(at[top] + share * (at[low] - at[top]) for top, low in ((2, 8), (5, 11))), 0.016, person.stripes)
    stroke(at[1], at[0], 0.045, person.skin)
    for shoulder, elbow, wrist in ((2, 3, 4), (5, 6, 7)):
        stroke(at[shoulder], at[elbow], 0.048, person.shirt)
        stroke(at[elbow], at[wrist], 0.034, person.skin)
        stroke(at[wrist], at[wrist], 0.042, person.skin)
    stroke(at[0] - 0.018 * down, at[0] - 0.018 * down, 0.12, person.hair)
    stroke(at[0] + 0.004 * down, at[0] + 0.004 * down, 0.1, person.hair if from_behind else person.skin)
    for eye in () if from_behind else (14, 15):
        stroke(at[eye], at[eye], 0.012, (30, 30, 40))
    return Image.fromarray(cv2.resize(canvas, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def make_toy_data(
    out: Path, people: int = 6, views: int = 4, seed: int = 0, size: tuple[int, int] = (256, 176)
) -> dict[str, int]:
    """Write pictures, key points, drawn poses and the lists of pairs.

    People are split: about a third of them, at least one, are seen in the test list only.

    Args:
        out: Folder to write to.
        people: Number of people, at least 2.
        views: Pictures per person, at least 2.
        seed: Seed of everything.
        size: (height, width) of the pictures.

    Returns:
        Number of pairs per split.
    """
    if people < 2 or views < 2:
        raise ValueError("make_toy_data needs at least 2 people and 2 views")
    generator = np.random.default_rng(seed)
    height, width = size
    names: list[list[str]] = []
    for number in range(people):
        person = make_person(generator)
        group = ("WOMEN", "MEN")[number % 2]
        names.append(
            [f"{group}/Shirts/id_{number + 1:08d}/{view // 4 + 1:02d}_{VIEWS[view % 4]}" for view in range(views)]
        )
        for name in names[-1]:
            fractions, from_behind = make_pose(generator, person.build)
            points = fractions * height + np.array([width / 2, 0])
            visible = np.ones((18, 2), bool)
            visible[[0, 14, 15]] = not from_behind
            keypoints = Keypoints.from_visible(points, visible, Frame(height, width), "body18")
            save_image(draw_person(person, points, size, from_behind=from_behind), out / "img" / f"{name}.jpg")
            save_image(Image.fromarray(draw_pose(keypoints, height, width)), out / "pose_img" / f"{name}.jpg")
            rows = keypoints.to(DEEPFASHION_FRAME).points
            write_text(out / "pose" / f"{name}.txt", "".join(f"{x:.18e} {y:.18e}\n" for x, y in rows))
    held_out = max(1, people // 3)
    counts = {}
    for split, chosen in (("train", names[:-held_out]), ("test", names[-held_out:])):
        pairs = [
            {"source_image": f"./img/{source}.jpg", "target_image": f"./img/{target}.jpg"}
            for person_names in chosen
            for source, target in permutations(person_names, 2)
        ]
        write_text(out / f"{split}_pairs_data.json", json.dumps(pairs, indent=1))
        counts[split] = len(pairs)
    return counts


def main() -> None:
    """Read the command line and write the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--views", type=int, default=4, help="pictures per person")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 176), metavar=("HEIGHT", "WIDTH"))
    options = vars(parser.parse_args())
    counts = make_toy_data(**options | {"size": tuple(options["size"])})
    print(f"{options['out']}: {counts['train']} training pairs, {counts['test']} test pairs")


if __name__ == "__main__":
    main()
