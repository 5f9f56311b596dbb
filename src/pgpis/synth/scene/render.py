"""Draw a scene: the picture and its labels.

The picture is drawn at twice its size and averaged down; labels are taken at the centres of its own pixels and are
never averaged. Light is a key light with wrap-around shading, a sky, a fill from the camera, occlusion baked on the
body, and darkening of creases in screen space, which :attr:`Scene.occlusion` switches off.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pgpis.synth.figure.description import Layer
from pgpis.synth.figure.mesh import Float, Surface, UInt8, vertex_normals
from pgpis.synth.figure.person import DressedPerson, dress
from pgpis.synth.figure.raster import Fragments, correct_weights, interpolate, interpolate_corners, rasterize
from pgpis.synth.scene.camera import paint_backdrop, place_person, project
from pgpis.synth.scene.labels import face_box, keypoint_labels, world_points
from pgpis.synth.scene.scene import Camera, Light, Scene

# how much the noise bends normals (wrinkles), and how much a layer shines
WRINKLES = {
    Layer.SKIN: 0.03,
    Layer.TROUSERS: 0.28,
    Layer.TOP: 0.28,
    Layer.SKIRT: 0.2,
    Layer.SHOES: 0.06,
    Layer.HAIR: 0.22,
    Layer.JACKET: 0.24,
}
SHINE = {Layer.SKIN: 0.10, Layer.EYES: 0.5, Layer.SHOES: 0.12, Layer.HAIR: 0.16, Layer.JACKET: 0.02}
# radius as a share of the height, darkening per metre
CREASES = ((1 / 60, 5.0), (1 / 24, 2.5))


@dataclass(frozen=True)
class Picture:
    """A drawn scene.

    Attributes:
        rgb: ``(H, W, 3)`` uint8.
        iuv: ``(H, W, 3)`` uint8: DensePose's part 0..24, U and V times 255, rounded.
        layer: ``(H, W)`` int8: :class:`Layer` or -1.
        body18, coco17, whole133: ``(K, 3)`` float32: x and y in pixels (centre of the first pixel at 0.5), visibility 0
            outside the picture, 1 hidden, 2 visible.
        face_box: x0, y0, x1, y1 in pixels, or None where too little of the face is seen.
    """

    rgb: UInt8
    iuv: UInt8
    layer: npt.NDArray[np.int8]
    body18: Float
    coco17: Float
    whole133: Float
    face_box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class _View:
    """A person in place before the camera, at some size."""

    person: DressedPerson
    vertices: Float
    points: Float
    fragments: Fragments

    @classmethod
    def of(cls, person: DressedPerson, vertices: Float, camera: Camera, height: int, width: int) -> _View:
        points = project(camera, vertices, height)
        return cls(person, vertices, points, Fragments(*rasterize(points, person.faces, person.clip, height, width)))


def draw(scene: Scene, height: int, width: int, *, supersampling: int = 2) -> Picture:
    """Draw the picture and all its labels.

    Args:
        scene: What to draw.
        height: Rows of the picture.
        width: Columns of the picture.
        supersampling: Samples a pixel in each direction.

    Returns:
        The picture; the same scene and size give the same bytes.
    """
    person = dress(scene.identity, scene.outfit)
    posed_vertices, posed = person.pose(scene.pose)
    vertices = place_person(posed_vertices, scene.pose.turn)
    points = world_points(person.body, person.shape, posed, posed_vertices[: person.body.parts["eyes"].vertices[1]])
    points = {name: place_person(value, scene.pose.turn) for name, value in points.items()}

    view = _View.of(person, vertices, scene.camera, height, width)
    iuv, layer = label_maps(view)
    depth = distances(view.fragments)
    labels = keypoint_labels(points, scene.camera, depth, iuv[..., 0], layer)
    rgb = shade(scene, person, vertices, height, width, supersampling)
    return Picture(rgb, iuv, layer, labels.body18, labels.coco17, labels.whole133, face_box(labels))


def draw_colors(scene: Scene, height: int, width: int) -> tuple[Float, UInt8, npt.NDArray[np.int8]]:
    """Draw unlit colours ``(H, W, 3)`` at pixel centres, with IUV and layers: what the atlas must agree with."""
    person = dress(scene.identity, scene.outfit)
    vertices = place_person(person.pose(scene.pose)[0], scene.pose.turn)
    view = _View.of(person, vertices, scene.camera, height, width)
    iuv, layer = label_maps(view)
    rows, columns = np.nonzero(view.fragments.triangle >= 0)
    triangle, weights = _fragment_list(view, rows, columns)
    values = interpolate(person.attributes, person.faces, triangle, weights)
    result = np.zeros((height, width, 3), np.float32)
    result[rows, columns] = person.color(person.layer[triangle], Surface.of(values))
    return result, iuv, layer


def label_maps(view: _View) -> tuple[UInt8, npt.NDArray[np.int8]]:
    """Return IUV ``(H, W, 3)`` and layers ``(H, W)`` of what the z-buffer shows."""
    shape = view.fragments.triangle.shape
    rows, columns = np.nonzero(view.fragments.triangle >= 0)
    triangle, weights = _fragment_list(view, rows, columns)
    iuv = np.zeros((*shape, 3), np.uint8)
    iuv[rows, columns, 0] = view.person.part[triangle]
    uv = interpolate_corners(view.person.chart_uv, triangle, weights)
    iuv[rows, columns, 1:] = np.round(np.clip(uv, 0, 1) * 255)
    layer = np.full(shape, -1, np.int8)
    layer[rows, columns] = view.person.layer[triangle]
    return iuv, layer


def distances(fragments: Fragments) -> Float:
    """Return metres from the camera's plane ``(H, W)``; infinite where nothing is."""
    with np.errstate(divide="ignore"):
        return np.where(fragments.triangle >= 0, np.float32(-1000) / fragments.depth, np.float32(np.inf))


def _fragment_list(
    view: _View, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], Float]:
    triangle = view.fragments.triangle[rows, columns]
    weights = view.fragments.weights[rows, columns]
    return triangle, correct_weights(view.points, view.person.faces, triangle, weights)


def shade(scene: Scene, person: DressedPerson, vertices: Float, height: int, width: int, supersampling: int) -> UInt8:
    """Return the lit picture ``(H, W, 3)``."""
    view = _View.of(person, vertices, scene.camera, height * supersampling, width * supersampling)
    rows, columns = np.nonzero(view.fragments.triangle >= 0)
    triangle, weights = _fragment_list(view, rows, columns)
    normals = vertex_normals(vertices, person.faces)
    values = interpolate(np.column_stack([person.attributes, normals]), person.faces, triangle, weights)
    layer = person.layer[triangle]
    colors = person.color(layer, Surface.of(values[:, : Surface.COLUMNS]))
    occlusion, wrinkles, normal = values[:, Surface.COLUMNS], values[:, -6:-3], values[:, -3:]
    normal = normal + _table(WRINKLES)[layer][:, None] * wrinkles
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal[normal[:, 1] > 0.35] *= -1  # inner sides of open shells face the camera
    occlusion = np.where(layer == Layer.SKIN, occlusion, 0.5 + 0.5 * occlusion)
    if scene.occlusion:
        occlusion = occlusion * creases(view.fragments, scene.camera.distance)[rows, columns]
    lit = light_up(colors, normal, occlusion, _table(SHINE)[layer], scene.light)

    samples = np.zeros((height * supersampling, width * supersampling, 4), np.float32)
    samples[rows, columns, :3] = lit
    samples[rows, columns, 3] = 1
    averaged = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    behind = paint_backdrop(scene.backdrop, scene.camera, vertices, height, width)
    result = averaged[..., :3] + behind * (1 - averaged[..., 3:])
    return np.clip(np.round(result), 0, 255).astype(np.uint8)


def light_up(colors: Float, normal: Float, occlusion: Float, shine: Float, light: Light) -> Float:
    """Return lit colours ``(N, 3)`` of points with unit normals ``(N, 3)``; occlusion and shine ``(N,)`` are shares."""
    direction = np.array(light.direction, np.float32)
    key = np.clip((normal @ direction + np.float32(0.35)) / np.float32(1.35), 0, 1)
    sky = np.float32(0.72) + np.float32(0.28) * (np.float32(0.5) + np.float32(0.5) * normal[:, 2])
    fill = np.clip(-normal[:, 1], 0, 1)
    amount = (
        np.float32(light.ambient) * sky * occlusion
        + np.float32(light.key) * key * np.sqrt(occlusion)
        + np.float32(light.fill) * fill
    )
    half = direction + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half)
    gleam = shine * np.clip(normal @ half, 0, 1) ** 18 * np.float32(150)
    return np.clip(colors * amount[:, None] * np.array(light.tint, np.float32) + gleam[:, None], 0, 255)


def creases(fragments: Fragments, background: float) -> Float:
    """Return how much light reaches a pixel past what is in front of it nearby, ``(H, W)`` 0.3..1."""
    depth = distances(fragments)
    depth[fragments.triangle < 0] = background + 0.6
    height, width = depth.shape
    result = np.ones_like(depth)
    for radius, strength in CREASES:
        sigma = radius * height
        shrink = 4 if sigma > 8 else 2
        small = cv2.resize(depth, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        mean = cv2.resize(
            cv2.GaussianBlur(small, (0, 0), sigma / shrink), (width, height), interpolation=cv2.INTER_LINEAR
        )
        result *= np.clip(1 - np.maximum(depth - mean - np.float32(0.004), 0) * np.float32(strength), 0.55, 1)
    return result


def _table(values: dict[Layer, float]) -> Float:
    return np.array([values.get(layer, 0.0) for layer in Layer], np.float32)
