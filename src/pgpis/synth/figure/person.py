"""A dressed person: skin, eyes, garments and hair as one mesh, and the colour of every point on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.body import Body, Posed, Shape, load_body
from pgpis.synth.figure.description import Fabric, Identity, Layer, Outfit, Pose, from_json
from pgpis.synth.figure.fabric import fabric_color
from pgpis.synth.figure.garments import clothe
from pgpis.synth.figure.hair import hair_shells, hairline
from pgpis.synth.figure.mesh import Float, Index, Shell, Surface, vertex_normals
from pgpis.synth.figure.noise import value_noise
from pgpis.synth.figure.skeleton import bone_rotations
from pgpis.synth.figure.skin import eye_color, hair_color, skin_color

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
        return fabric_color(fabric_of(self.outfit, layer), layer, surface)


def fabric_of(outfit: Outfit, layer: Layer) -> Fabric:
    """Return what a garment is made of.

    Raises:
        KeyError: The outfit has no such garment.
    """
    fabrics = {
        Layer.TOP: outfit.top,
        Layer.TROUSERS: outfit.bottom,
        Layer.SKIRT: outfit.skirt,
        Layer.JACKET: outfit.jacket,
        Layer.SHOES: outfit.shoes,
    }
    fabric = fabrics[layer]
    if fabric is None:
        raise KeyError(f"the outfit has no {layer.name.lower()}")
    return fabric


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
    source = np.concatenate([shell.source for shell in shells]).astype(np.int32)
    clip = np.concatenate([shell.clip for shell in shells]).astype(np.float32)
    faces = np.concatenate([shell.faces + start for shell, start in zip(shells, starts, strict=False)]).astype(np.int32)
    layer = np.concatenate([np.full(len(shell.faces), shell.layer, np.int8) for shell in shells])
    part = np.concatenate([shell.part for shell in shells])
    chart_uv = np.concatenate([shell.chart_uv for shell in shells])
    drawn = (clip[faces] >= 0).any(axis=1)
    return DressedPerson(
        identity,
        outfit,
        body,
        shape,
        source,
        np.concatenate([shell.rest for shell in shells]).astype(np.float32),
        np.ascontiguousarray(faces[drawn]),
        layer[drawn],
        part[drawn],
        np.ascontiguousarray(chart_uv[drawn], dtype=np.float32),
        clip,
        _attributes(body, shells, source, clip, line),
        garments.fields | ({Layer.HAIR: line} if Layer.HAIR in layer else {}),
        line,
    )


def _bare(body: Body, shape: Shape, coverage: Float) -> list[Shell]:
    """Return skin, a little sunken and cut away where garments cover it, and eyes."""
    shells = []
    for name, layer in (("body", Layer.SKIN), ("eyes", Layer.EYES)):
        part = body.parts[name]
        first, last = part.vertices
        rest = shape.vertices[first:last]
        clip = np.ones(last - first, np.float32)
        if layer == Layer.SKIN:
            covered = coverage[first:last]
            normals = vertex_normals(rest, part.faces - np.int32(first))
            rest = rest - normals * (np.clip(covered, 0, 0.02) * 0.3)[:, None]
            clip = np.float32(SKIN_MARGIN) - covered
        source = np.arange(first, last, dtype=np.int32)
        shells.append(Shell(layer, source, rest, part.faces - np.int32(first), part.part, part.chart_uv, clip))
    return shells


def _attributes(body: Body, shells: list[Shell], source: Index, clip: Float, line: Float) -> Float:
    positions = [body.canonical[shell.source] if shell.canonical is None else shell.canonical for shell in shells]
    position = np.concatenate(positions).astype(np.float32)
    columns = (body.along_arm, body.along_leg, body.arm)
    rows = [column[source] for column in columns] + [clip, line[source]]
    rows += [column[source] for column in (body.lips, body.lids, body.nails, body.occlusion)]
    stretched = position * np.array([1, 1, 0.6], np.float32)
    wrinkles = [value_noise(stretched, 13, axis) + 0.5 * value_noise(position, 31, axis) for axis in range(3)]
    return np.ascontiguousarray(np.column_stack([position, *rows, *wrinkles]), dtype=np.float32)
