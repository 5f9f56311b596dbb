"""How much of the sky each point of the skin sees."""

from __future__ import annotations

import numpy as np
import warp

from tools.body.topology import Array


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
