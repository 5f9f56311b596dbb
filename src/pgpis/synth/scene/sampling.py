"""Which people there are and how they are photographed: everything is drawn from a seed and a person's number.

A person's looks, outfit and each of their views have random streams of their own, so that a view does not depend on how
many others there are, nor on who draws them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from pgpis.synth.figure.description import LOOKS, Identity, Outfit, Pose
from pgpis.synth.figure.identity import sample_identity
from pgpis.synth.figure.person import DressedPerson, dress
from pgpis.synth.figure.wardrobe import sample_outfit, signer_outfit
from pgpis.synth.figure.restyled import longer_hair, restyle
from pgpis.synth.scene.camera import Studio, cut_frame, frame_person, sample_studio, signer_studio
from pgpis.synth.scene.film import next_film, sample_film
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.motion import sign_sequence
from pgpis.synth.scene.poses import sample_pose
from pgpis.synth.scene.room import sample_room
from pgpis.synth.scene.scene import Scene

VIEWS: tuple[tuple[str, str, str], ...] = LOOKS["views"]["order"]
TURNS: dict[str, tuple[float, float]] = LOOKS["views"]["turns"]
IDENTITY, OUTFIT, STUDIO, VIEW, SIGNER, STYLE, ROOM, SHOT = range(8)
CUT = 0.3
"""Share of the views that the frame cuts, in the look of a photograph."""
Look = Literal["drawn", "photo"]


def view_of(number: int) -> tuple[str, str, str]:
    """Return DeepFashion's name for a person's view, its kind of pose and its framing."""
    return VIEWS[number % len(VIEWS)]


def person_of(seed: int, index: int, look: Look = "drawn") -> tuple[Identity, Outfit]:
    """Return the looks and the outfit of a person."""
    identity = sample_identity(np.random.default_rng([seed, IDENTITY, index]))
    outfit = sample_outfit(np.random.default_rng([seed, OUTFIT, index]), identity.female)
    if look == "drawn":
        return identity, outfit
    rng = np.random.default_rng([seed, STYLE, index])
    return longer_hair(rng, identity), restyle(rng, outfit)


def views_of(seed: int, index: int, count: int, aspect: float = 176 / 256, look: Look = "drawn") -> list[Scene]:
    """Return the scenes of a person's first ``count`` views; after the eighth the kinds repeat with other poses.

    ``aspect`` is the width of the picture as a share of its height. In the look of a photograph (``photo``) the same
    people stand in the same poses; hair, clothes, room, light, frame and film are others.
    """
    identity, outfit = person_of(seed, index, look)
    light, backdrop = sample_studio(np.random.default_rng([seed, STUDIO, index]))
    person = dress(identity, outfit)
    scenes = []
    for view in range(count):
        rng = np.random.default_rng([seed, VIEW, index, view])
        name, kind, framing = view_of(view)
        turn, spread = TURNS[name]
        side = rng.choice([-1.0, 1.0])
        pose = dataclasses.replace(sample_pose(rng, kind), turn=float(side * turn + rng.normal(0, spread)))
        behind = dataclasses.replace(backdrop, floor=framing == "full")
        scenes.append(photograph(person, pose, (light, behind), framing, rng, aspect))
    return scenes if look == "drawn" else _photographed(scenes, seed, index, aspect)


def _photographed(scenes: list[Scene], seed: int, index: int, aspect: float) -> list[Scene]:
    """Put a person's scenes into one room and before one camera, which comes closer for some."""
    rng = np.random.default_rng([seed, ROOM, index])
    (light, backdrop), room = sample_room(rng)
    film = sample_film(rng)
    result = []
    for view, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, SHOT, index, view])
        vertices, points = stand(dress(scene.identity, scene.outfit), scene.pose)
        camera = cut_frame(scene.camera, points, rng, aspect) if rng.random() < CUT else scene.camera
        behind = dataclasses.replace(backdrop, floor=scene.backdrop.floor)
        own = dataclasses.replace(room, level=float(vertices[:, 2].min()))
        changes = {"camera": camera, "light": light, "backdrop": behind, "room": own, "film": next_film(rng, film)}
        result.append(dataclasses.replace(scene, **changes))
    return result


def photograph(
    person: DressedPerson, pose: Pose, studio: Studio, framing: str, rng: np.random.Generator, aspect: float
) -> Scene:
    """Return the scene of a person in a pose, with a camera that frames them."""
    vertices, points = stand(person, pose)
    camera = frame_person(vertices[np.unique(person.faces)], points, rng, framing, aspect)
    return Scene(person.identity, person.outfit, pose, camera, *studio)


def signer_of(seed: int, index: int, frames: int, aspect: float = 210 / 260) -> list[Scene]:
    """Return the scenes of a signer's sequence: one camera, dark clothes, a grey backdrop."""
    identity = sample_identity(np.random.default_rng([seed, IDENTITY, SIGNER, index]))
    rng = np.random.default_rng([seed, SIGNER, index])
    person = dress(identity, signer_outfit(rng))
    studio = signer_studio(rng)
    poses = sign_sequence(rng, frames)
    first = photograph(person, poses[0], studio, "signer", rng, aspect)
    return [dataclasses.replace(first, pose=pose) for pose in poses]
