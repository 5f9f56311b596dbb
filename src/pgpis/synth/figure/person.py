"""A dressed person: skin, eyes, garments and hair as one mesh, and the colour of every point on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import Body, Posed, Shape, load_body
from pgpis.synth.figure.description import Identity, Layer, Outfit, Pose, from_json
from pgpis.synth.figure.fabric import fabric_color
from pgpis.synth.figure.garments import clothe
from pgpis.synth.figure.hair import hair_shells, hairline
from pgpis.synth.figure.mesh import Float, Index, Shell, Surface, vertex_normals
from pgpis.synth.figure.noise import value_noise
from pgpis.synth.figure.skeleton import bone_rotations
from pgpis.synth.figure.skin import eye_color, hair_color, skin_color

WORN = {
    Layer.TOP: "top", Layer.TROUSERS: "bottom", Layer.SKIRT: "skirt", Layer.JACKET: "jacket", Layer.SHOES: "shoes",
}  # fmt: skip
SKIN_MARGIN = 0.028  # the skin is drawn this far under a hem, so that no gap shows between the two


@dataclass(frozen=True)
class DressedPerson:
    """The mesh of a person, laid out once and posed as often as needed.

    Attributes:
        source: ``(V,)`` body vertex that a vertex moves with.
        rest: ``(V, 3)`` rest positions, metres.
        faces, layer, part, chart_uv: ``(F, 3)``, ``(F,)``, ``(F,)``, ``(F, 3, 2)`` triangles, what they are, and
        their charts.
        clip: ``(V,)`` drawn where it is not negative.
        attributes: ``(V, 15)`` the columns of :class:`Surface`, occlusion, and three of noise for wrinkles.
        fields: Per garment, hair included, ``(body vertices,)`` metres inside its hem: what the atlas is made of.
    """

    identity: Identity
    outfit: Outfit
    body: Body
    shape: Shape
    source: Index
    rest: Float
    faces: Index
    layer: npt.NDArray[np.int8]
    part: npt.NDArray[np.uint8]
    chart_uv: Float
    clip: Float
    attributes: Float
    fields: dict[Layer, Float]
    hairline: Float

    def pose(self, pose: Pose) -> tuple[Float, Posed]:
        """Return the vertices ``(V, 3)`` in a pose, and the posed skeleton; both still face -Y."""
        posed = self.body.pose(self.shape, bone_rotations(self.body, self.shape, pose))
        rest = self.rest
        if pose.expression:
            rest = rest + self.body.expression(pose.expression)[self.source]
        return self.body.skin(rest, self.source, posed), posed

    def color(self, layer: npt.NDArray[np.int8], surface: Surface) -> Float:
        """Return the unlit colours ``(N, 3)`` of points, 0..255."""
        result = np.empty((len(layer), 3), np.float32)
        for number in np.unique(layer):
            chosen = np.flatnonzero(layer == number)
            result[chosen] = self._layer_color(Layer(number), surface.take(chosen))
        return np.clip(result, 3, 252)

    def _layer_color(self, layer: Layer, surface: Surface) -> Float:
        if layer == Layer.SKIN:
            return skin_color(self.identity, surface, self.body.joint("eye.L"))
        if layer == Layer.EYES:
            return eye_color(self.identity, surface, self.body.joint("eye.L"))
        if layer == Layer.HAIR:
            return hair_color(self.identity, surface)
        return fabric_color(getattr(self.outfit, WORN[layer]), layer, surface)


def dress(identity: Identity, outfit: Outfit) -> DressedPerson:
    """Put the outfit on the person; the last few are kept, since views of a person follow each other."""
    return _dress(json.dumps([asdict(identity), asdict(outfit)], sort_keys=True))


@lru_cache(maxsize=4)
def _dress(key: str) -> DressedPerson:
    values = json.loads(key)
    identity, outfit = from_json(Identity, values[0]), from_json(Outfit, values[1])
    body = load_body()
    shape = body.shape(identity.shape, identity.face)
    garments = clothe(body, shape, outfit)
    line = hairline(body)
    shells = [*_bare(body, shape, garments.coverage), *garments.shells, *hair_shells(body, shape, identity)]
    starts = np.cumsum([0] + [len(shell.source) for shell in shells])
    source, rest, part, chart_uv, clip = (
        np.concatenate([getattr(shell, name) for shell in shells])
        for name in ("source", "rest", "part", "chart_uv", "clip")
    )
    faces = np.concatenate([shell.faces + start for shell, start in zip(shells, starts, strict=False)]).astype(np.int32)
    layer = np.concatenate([np.full(len(shell.faces), shell.layer, np.int8) for shell in shells])
    drawn = (clip[faces] >= 0).any(axis=1)
    mesh = (source, rest, faces[drawn], layer[drawn], part[drawn], chart_uv[drawn], clip)
    fields = garments.fields | ({Layer.HAIR: line} if Layer.HAIR in layer else {})
    return DressedPerson(identity, outfit, body, shape, *mesh, _attributes(body, shells, line), fields, line)


def _bare(body: Body, shape: Shape, coverage: Float) -> list[Shell]:
    """Return skin, a little sunken and cut away where garments cover it, and eyes."""
    skin, eyes = body.parts["body"], body.parts["eyes"]
    rest, covered = shape.vertices[slice(*skin.vertices)], coverage[slice(*skin.vertices)]
    sunken = rest - vertex_normals(rest, skin.own_faces) * (np.clip(covered, 0, 0.02) * 0.3)[:, None]
    pupils = shape.vertices[slice(*eyes.vertices)]
    return [
        skin.shell(Layer.SKIN, sunken, np.float32(SKIN_MARGIN) - covered),
        eyes.shell(Layer.EYES, pupils, np.ones(len(pupils))),
    ]


def surface_columns(body: Body, line: Float) -> Float:
    """Return the columns of :class:`Surface` for the body's vertices ``(V, 11)``; ``hem`` is 0."""
    hem = np.zeros(body.vertex_count, np.float32)
    columns = (body.along_arm, body.along_leg, body.arm, hem, line, body.lips, body.lids, body.nails)
    return np.column_stack([body.canonical, *columns])


def _attributes(body: Body, shells: list[Shell], line: Float) -> Float:
    source, clip = (np.concatenate([getattr(shell, name) for shell in shells]) for name in ("source", "clip"))
    positions = [body.canonical[shell.source] if shell.canonical is None else shell.canonical for shell in shells]
    position = np.concatenate(positions)
    columns = surface_columns(body, line)[source]
    columns[:, :3], columns[:, Surface.HEM] = position, clip
    stretched = position * np.array([1, 1, 0.6], np.float32)
    wrinkles = [value_noise(stretched, 13, axis) + 0.5 * value_noise(position, 31, axis) for axis in range(3)]
    return np.column_stack([columns, body.occlusion[source], *wrinkles])
