"""Which people there are and how they are photographed: everything is drawn from a seed and a person's number.

A person's looks, outfit and each of their views have random streams of their own, so that a view does not depend on how
many others there are, nor on who draws them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from pgpis.synth.figure.description import Identity, Outfit, Pose
from pgpis.synth.figure.identity import sample_identity
from pgpis.synth.figure.person import DressedPerson, dress
from pgpis.synth.figure.wardrobe import sample_outfit, signer_outfit
from pgpis.synth.scene.camera import frame_person, sample_backdrop, sample_light, signer_studio
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.motion import sign_sequence
from pgpis.synth.scene.poses import sample_pose
from pgpis.synth.scene.scene import Backdrop, Light, Scene

ViewName = Literal["1_front", "2_side", "3_back", "4_full", "7_additional"]
# the order in which a person is photographed: a name of DeepFashion's, a kind of pose, a framing
VIEWS: tuple[tuple[ViewName, str, str], ...] = (
    ("1_front", "stand", "full"),
    ("2_side", "stand", "full"),
    ("3_back", "stand", "full"),
    ("7_additional", "upper", "upper"),
    ("4_full", "walk", "full"),
    ("7_additional", "casual", "three_quarter"),
    ("4_full", "casual", "full"),
    ("1_front", "upper", "upper"),
)
TURNS: dict[ViewName, tuple[float, float]] = {  # radians, and their spread
    "1_front": (0.0, 0.10),
    "2_side": (1.3, 0.2),
    "3_back": (np.pi, 0.25),
    "4_full": (0.45, 0.25),
    "7_additional": (0.0, 0.35),
}
IDENTITY, OUTFIT, STUDIO, VIEW, SIGNER = range(5)


def generator(seed: int, *path: int) -> np.random.Generator:
    """Return the random stream of one thing; ``path`` says which."""
    return np.random.default_rng([seed, *path])


def person_of(seed: int, index: int) -> tuple[Identity, Outfit]:
    """Return the looks and the outfit of a person."""
    identity = sample_identity(generator(seed, IDENTITY, index))
    return identity, sample_outfit(generator(seed, OUTFIT, index), identity.female)


def view_kind(view: int) -> ViewName:
    """Return DeepFashion's name for a person's view."""
    return VIEWS[view % len(VIEWS)][0]


def views_of(seed: int, index: int, count: int, aspect: float = 176 / 256) -> list[Scene]:
    """Return the scenes of a person's first ``count`` views; after the eighth the kinds repeat with other poses.

    ``aspect`` is the width of the picture as a share of its height.
    """
    identity, outfit = person_of(seed, index)
    studio = generator(seed, STUDIO, index)
    light, backdrop = sample_light(studio), sample_backdrop(studio)
    person = dress(identity, outfit)
    scenes = []
    for view in range(count):
        rng = generator(seed, VIEW, index, view)
        name, kind, framing = VIEWS[view % len(VIEWS)]
        turn, spread = TURNS[name]
        side = rng.choice([-1.0, 1.0])
        pose = dataclasses.replace(sample_pose(rng, kind), turn=float(side * turn + rng.normal(0, spread)))
        behind = dataclasses.replace(backdrop, floor=framing == "full")
        scenes.append(photograph(person, pose, light, behind, framing, rng, aspect))
    return scenes


def photograph(
    person: DressedPerson,
    pose: Pose,
    light: Light,
    backdrop: Backdrop,
    framing: str,
    rng: np.random.Generator,
    aspect: float,
) -> Scene:
    """Return the scene of a person in a pose, with a camera that frames them."""
    vertices, points = stand(person, pose)
    camera = frame_person(vertices[np.unique(person.faces)], points, rng, framing, aspect)
    return Scene(person.identity, person.outfit, pose, camera, light, backdrop)


def signer_of(seed: int, index: int, frames: int, aspect: float = 210 / 260) -> list[Scene]:
    """Return the scenes of a signer's sequence: one camera, dark clothes, a grey backdrop."""
    identity = sample_identity(generator(seed, IDENTITY, SIGNER, index))
    rng = generator(seed, SIGNER, index)
    person = dress(identity, signer_outfit(rng))
    light, backdrop = signer_studio(rng)
    poses = sign_sequence(rng, frames)
    first = photograph(person, poses[0], light, backdrop, "signer", rng, aspect)
    return [dataclasses.replace(first, pose=pose) for pose in poses]
