"""The colours of a scene without its light: what the atlas must agree with."""

from __future__ import annotations

import numpy as np

from pgpis.synth.figure.mesh import Surface
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.raster import interpolate
from pgpis.synth.scene.labels import stand
from pgpis.synth.scene.render import View


def draw_colors(scene, height, width):
    """Draw unlit colours ``(H, W, 3)`` at pixel centres, with IUV and layers."""
    person = dress(scene.identity, scene.outfit)
    view = View(person, stand(person, scene.pose)[0], scene.camera, height, width)
    values = interpolate(person.attributes, person.faces, view.triangle, view.weights)
    result = np.zeros((height, width, 3), np.float32)
    result[view.pixels] = person.color(view.layer, Surface.of(values))
    return result, *view.label_maps()
