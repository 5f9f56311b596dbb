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
from pgpis.synth.figure.raster import correct_weights, interpolate, rasterize
from pgpis.synth.scene.camera import paint_backdrop, project
from pgpis.synth.scene.film import develop
from pgpis.synth.scene.labels import face_box, keypoint_labels, stand
from pgpis.synth.scene.room import paint_room, wall_shadow
from pgpis.synth.scene.scene import Camera, Light, Scene

# by the numbers of the layers (skin, eyes, trousers, top, skirt, shoes, hair, jacket): how much the noise bends normals
# (wrinkles), and how much they shine
WRINKLES = np.array([0.03, 0.0, 0.28, 0.28, 0.2, 0.06, 0.22, 0.24], np.float32)
SHINE = np.array([0.10, 0.5, 0.0, 0.0, 0.0, 0.12, 0.16, 0.02], np.float32)
SAMPLES = 2
"""Of a pixel, in each direction."""
# radius as a share of the height, darkening per metre
CREASES = ((1 / 60, 5.0), (1 / 24, 2.5))


KeyPoints = tuple[Float, Float, Float]
"""body18, coco17 and whole133, see :class:`Picture`."""


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


class View:
    """What the camera sees of a person in place, at some size: the N pixels where there is something."""

    def __init__(self, person: DressedPerson, vertices: Float, camera: Camera, height: int, width: int) -> None:
        self.person = person
        points = project(camera, vertices, height)
        triangle, weights, depth = rasterize(points, person.faces, person.clip, height, width)
        self.pixels = np.nonzero(triangle >= 0)
        self.triangle = triangle[self.pixels]
        self.weights = correct_weights(points, person.faces, self.triangle, weights[self.pixels])
        self.layer = person.layer[self.triangle]
        self.distance = np.full((height, width), np.inf, np.float32)
        """Metres from the camera's plane ``(H, W)``; infinite where nothing is."""
        self.distance[self.pixels] = np.float32(-1000) / depth[self.pixels]

    def label_maps(self) -> tuple[UInt8, npt.NDArray[np.int8]]:
        """Return IUV ``(H, W, 3)`` and layers ``(H, W)``."""
        corners = np.arange(3 * len(self.person.faces), dtype=np.int32).reshape(-1, 3)
        uv = interpolate(self.person.chart_uv.reshape(-1, 2), corners, self.triangle, self.weights)
        iuv = np.zeros((*self.distance.shape, 3), np.uint8)
        iuv[self.pixels] = np.column_stack([self.person.part[self.triangle], np.round(np.clip(uv, 0, 1) * 255)])
        layer = np.full(self.distance.shape, -1, np.int8)
        layer[self.pixels] = self.layer
        return iuv, layer


def draw(scene: Scene, height: int, width: int) -> Picture:
    """Draw the picture and all its labels; the same scene and size give the same bytes."""
    person = dress(scene.identity, scene.outfit)
    vertices, points = stand(person, scene.pose)
    iuv, layer, labels = _labels(scene, person, vertices, points, height, width)
    return Picture(shade(scene, person, vertices, height, width), iuv, layer, *labels, face_box(labels[2]))


def draw_labels(scene: Scene, height: int, width: int) -> tuple[UInt8, npt.NDArray[np.int8], KeyPoints]:
    """Draw IUV, layers and key points alone, which takes a third of the time; see :class:`Picture`."""
    person = dress(scene.identity, scene.outfit)
    return _labels(scene, person, *stand(person, scene.pose), height, width)


def _labels(
    scene: Scene, person: DressedPerson, vertices: Float, points: dict[str, Float], height: int, width: int
) -> tuple[UInt8, npt.NDArray[np.int8], KeyPoints]:
    view = View(person, vertices, scene.camera, height, width)
    iuv, layer = view.label_maps()
    return iuv, layer, keypoint_labels(points, scene.camera, view.distance, iuv[..., 0], layer)


def shade(scene: Scene, person: DressedPerson, vertices: Float, height: int, width: int) -> UInt8:
    """Return the lit picture ``(H, W, 3)``."""
    view = View(person, vertices, scene.camera, height * SAMPLES, width * SAMPLES)
    attributes = np.column_stack([person.attributes, vertex_normals(vertices, person.faces)])
    values = interpolate(attributes, person.faces, view.triangle, view.weights)
    colors = person.color(view.layer, Surface.of(values))
    occlusion, wrinkles, normal = values[:, Surface.COLUMNS], values[:, -6:-3], values[:, -3:]
    normal = normal + WRINKLES[view.layer][:, None] * wrinkles
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal[normal[:, 1] > 0.35] *= -1  # inner sides of open shells face the camera
    occlusion = np.where(view.layer == Layer.SKIN, occlusion, 0.5 + 0.5 * occlusion)
    if scene.occlusion:
        occlusion = occlusion * creases(view.distance, scene.camera.distance)[view.pixels]
    samples = np.zeros((*view.distance.shape, 4), np.float32)
    rows, columns = view.pixels
    samples[rows, columns, :3] = light_up(colors, normal, occlusion, SHINE[view.layer], scene.light)
    samples[rows, columns, 3] = 1
    averaged = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
    if scene.room is None:
        behind = paint_backdrop(scene.backdrop, scene.camera, vertices, height, width)
    else:
        behind = paint_room(scene.room, scene.backdrop, scene.camera, vertices, height, width)
        if scene.occlusion:
            behind *= wall_shadow(scene.room, scene.light, scene.camera, averaged[..., 3])[..., None]
    result = averaged[..., :3] + behind * (1 - averaged[..., 3:])
    if scene.film is not None:
        return develop(result, scene.film)
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


def creases(distance: Float, background: float) -> Float:
    """Return how much light reaches a pixel past what is in front of it nearby, ``(H, W)`` 0.3..1."""
    depth = np.where(np.isinf(distance), np.float32(background + 0.6), distance)
    height, width = depth.shape
    result = np.ones_like(depth)
    for radius, strength in CREASES:
        sigma = radius * height
        shrink = 4 if sigma > 8 else 2
        small = cv2.resize(depth, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
        mean = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
        result *= np.clip(1 - np.maximum(depth - mean - np.float32(0.004), 0) * np.float32(strength), 0.55, 1)
    return result
