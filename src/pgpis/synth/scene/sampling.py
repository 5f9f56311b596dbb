"""Which people there are and how they are photographed: everything is drawn from a seed and a person's number.

A person's looks, outfit and each of their views have random streams of their own, so that a view does not depend on how
many others there are, nor on who draws them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from pgpis.synth.figure.description import LOOKS, Identity, Outfit, Pose
from pgpis.synth.figure.identity import sample_identity
from pgpis.synth.figure.person import DressedPerson, dress
from pgpis.synth.figure.restyled import longer_hair, restyle
from pgpis.synth.figure.wardrobe import sample_outfit, signer_outfit
from pgpis.synth.scene.camera import Studio, cut_frame, frame_person, misaligned_frame, sample_studio, signer_studio
from pgpis.synth.scene.film import next_film, sample_film
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.motion import sign_sequence
from pgpis.synth.scene.poses import sample_pose
from pgpis.synth.scene.room import sample_room
from pgpis.synth.scene.scene import Film, Room, Scene

VIEWS: tuple[tuple[str, str, str], ...] = LOOKS["views"]["order"]
TURNS: dict[str, tuple[float, float]] = LOOKS["views"]["turns"]
IDENTITY, OUTFIT, STUDIO, VIEW, SIGNER, STYLE, ROOM, SHOT, FRAME = range(9)
CUT = 0.3
"""Share of the photographed views that the frame cuts."""


@dataclass(frozen=True)
class Setting:
    """What all pictures of a person have in common; ``room`` and ``film`` where they are to look photographed."""

    studio: Studio
    room: Room | None = None
    film: Film | None = None


def view_of(number: int) -> tuple[str, str, str]:
    """Return DeepFashion's name for a person's view, its kind of pose and its framing."""
    return VIEWS[number % len(VIEWS)]


def person_of(seed: int, index: int, *, photographed: bool = False) -> tuple[Identity, Outfit]:
    """Return the looks and the outfit of a person."""
    identity = sample_identity(np.random.default_rng([seed, IDENTITY, index]))
    outfit = sample_outfit(np.random.default_rng([seed, OUTFIT, index]), identity.female)
    if not photographed:
        return identity, outfit
    rng = np.random.default_rng([seed, STYLE, index])
    return longer_hair(rng, identity), restyle(rng, outfit)


def views_of(
    seed: int,
    index: int,
    count: int,
    aspect: float = 176 / 256,
    *,
    photographed: bool = False,
    misaligned: float = 0.0,
) -> list[Scene]:
    """Return the scenes of a person's first ``count`` views; after the eighth the kinds repeat with other poses.

    ``aspect`` is the width of the picture as a share of its height. Where they are ``photographed``, the same
    people stand in the same poses; hair, clothes, room, light, frame and film are others. A share ``misaligned`` of the
    views has another camera, see :func:`misaligned_frame`.
    """
    setting = _setting(seed, index, photographed=photographed)
    person = dress(*person_of(seed, index, photographed=photographed))
    scenes = []
    for view in range(count):
        rng = np.random.default_rng([seed, VIEW, index, view])
        name, kind, framing = view_of(view)
        turn, spread = TURNS[name]
        side = rng.choice([-1.0, 1.0])
        pose = dataclasses.replace(sample_pose(rng, kind), turn=float(side * turn + rng.normal(0, spread)))
        shot = np.random.default_rng([seed, SHOT, index, view])
        frame = np.random.default_rng([seed, FRAME, index, view])
        other = frame if frame.random() < misaligned else None
        scenes.append(photograph(person, pose, setting, framing, rng, aspect, shot, other))
    return scenes


def _setting(seed: int, index: int, *, photographed: bool) -> Setting:
    if not photographed:
        return Setting(sample_studio(np.random.default_rng([seed, STUDIO, index])))
    rng = np.random.default_rng([seed, ROOM, index])
    return Setting(*sample_room(rng), sample_film(rng))


def photograph(
    person: DressedPerson,
    pose: Pose,
    setting: Setting,
    framing: str,
    rng: np.random.Generator,
    aspect: float,
    shot: np.random.Generator | None = None,
    frame: np.random.Generator | None = None,
) -> Scene:
    """Return the scene of a person in a pose, with a camera that frames them.

    ``shot`` varies frame and film from picture to picture where the setting has a film; ``frame`` gives the picture
    another camera.
    """
    vertices, points = stand(person, pose)
    camera = frame_person(vertices[np.unique(person.faces)], points, rng, framing, aspect)
    if frame is not None:
        camera = misaligned_frame(camera, points, frame, aspect)
    light, backdrop = setting.studio
    backdrop = dataclasses.replace(backdrop, floor=backdrop.floor and framing == "full")
    scene = Scene(person.identity, person.outfit, pose, camera, light, backdrop)
    if setting.room is None or setting.film is None or shot is None:
        return scene
    if shot.random() < CUT and frame is None:
        camera = cut_frame(camera, points, shot, aspect)
    room = dataclasses.replace(setting.room, level=float(vertices[:, 2].min()))
    return dataclasses.replace(scene, camera=camera, room=room, film=next_film(shot, setting.film))


def signer_of(seed: int, index: int, frames: int, aspect: float = 210 / 260) -> list[Scene]:
    """Return the scenes of a signer's sequence: one camera, dark clothes, a grey backdrop."""
    identity = sample_identity(np.random.default_rng([seed, IDENTITY, SIGNER, index]))
    rng = np.random.default_rng([seed, SIGNER, index])
    person = dress(identity, signer_outfit(rng))
    setting = Setting(signer_studio(rng))
    poses = sign_sequence(rng, frames)
    first = photograph(person, poses[0], setting, "signer", rng, aspect)
    return [dataclasses.replace(first, pose=pose) for pose in poses]
