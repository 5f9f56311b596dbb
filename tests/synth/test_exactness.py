"""What is promised of every synthetic picture: labels agree with it, and an edit changes only what is edited."""

import dataclasses

import numpy as np
import pytest
import reference_raster
from unlit import draw_colors

from pgpis.synth.figure import raster
from pgpis.synth.figure.atlas import person_atlas, texture_charts
from pgpis.synth.figure.description import GARMENTS, PERSON, Layer, from_json
from pgpis.synth.figure.identity import sample_paint
from pgpis.synth.figure.person import dress
from pgpis.synth.figure.wardrobe import sample_fabrics
from pgpis.synth.files.manifest import plain
from pgpis.synth.scene.camera import place_person, project
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of
from pgpis.synth.scene.scene import Scene

HEIGHT, WIDTH = 256, 176
# DensePose's parts that a body key point (COCO's order) may be seen on: its own and the next ones across the joint
HEAD, TORSO = {23, 24}, {1, 2}
ADMISSIBLE = [
    HEAD,
    *[HEAD] * 4,
    TORSO | {15, 17},
    TORSO | {16, 18},
    {15, 17, 19, 21},
    {16, 18, 20, 22},
    {19, 21, 4},
    {20, 22, 3},
    TORSO | {8, 10},
    TORSO | {7, 9},
    {8, 10, 12, 14},
    {7, 9, 11, 13},
    {12, 14, 5},
    {11, 13, 6},
]


@pytest.fixture(scope="module")
def scenes():
    return [scene for person in range(4) for scene in views_of(5, person, 5)]


@pytest.fixture(scope="module")
def drawn(scenes):
    return [draw(scene, HEIGHT, WIDTH) for scene in scenes]


@pytest.fixture(scope="module")
def sampled(scenes):
    """The layers of every fourth scene; see ``layers_at_samples``."""
    return [layers_at_samples(scene) for scene in scenes[::4]]


def layers_at_samples(scene):
    """The layers that any of a pixel's four samples shows: (H, W, 4)."""
    _, _, layer = draw_colors(scene, 2 * HEIGHT, 2 * WIDTH)
    return layer.reshape(HEIGHT, 2, WIDTH, 2).transpose(0, 2, 1, 3).reshape(HEIGHT, WIDTH, 4)


def changed(first, second):
    return (first.rgb != second.rgb).any(axis=-1)


def test_visible_key_points_lie_on_their_own_part(drawn):
    seen = 0
    for picture in drawn:
        for (x, y, visibility), parts in zip(picture.coco17, ADMISSIBLE, strict=True):
            if visibility == 2:
                assert picture.iuv[int(y), int(x), 0] in parts
                seen += 1
            elif visibility == 0:
                assert not (0 <= x < WIDTH and 0 <= y < HEIGHT)
    assert seen > len(drawn) * 7  # about half of the points are seen in a mix of views


def test_front_views_show_the_joints(drawn):
    """Visibility must not be had by calling everything hidden."""
    share = np.mean([(picture.coco17[[0, 5, 6, 13, 14], 2] == 2).mean() for picture in drawn[::5]])
    assert share > 0.7


def test_the_atlas_has_the_colours_of_the_picture(scenes):
    """Unwrapping: a pixel's unlit colour is found again at its IUV in the atlas of what its layer shows."""
    size = 256
    errors = {layer: [] for layer in Layer}
    atlases = {}
    for scene in scenes[::2]:  # all kinds of views
        look = scene.identity, scene.outfit  # the same in all views of a person
        if repr(look) not in atlases:
            atlases[repr(look)] = person_atlas(dress(scene.identity, scene.outfit), size)
        atlas, atlas_layer = atlases[repr(look)]
        colors, iuv, layer = draw_colors(scene, HEIGHT, WIDTH)
        rows, columns = np.nonzero(layer >= 0)
        part, u, v = (iuv[rows, columns, k].astype(int) for k in range(3))
        block_row, block_column = np.divmod(part - 1, 6)
        texel = (
            block_row * size + np.minimum(v * size // 255, size - 1),
            block_column * size + np.minimum(u * size // 255, size - 1),
        )
        same = atlas_layer[texel] == layer[rows, columns]
        difference = np.abs(atlas[texel].astype(float) - colors[rows, columns]).mean(axis=1)
        for kind in Layer:
            chosen = same & (layer[rows, columns] == kind)
            errors[kind].extend(difference[chosen])
    for kind in (Layer.SKIN, Layer.TOP, Layer.TROUSERS):
        assert len(errors[kind]) > 1000
        assert np.median(errors[kind]) < 10, kind


def test_other_fabrics_change_nothing_outside_garments(scenes, drawn, sampled):
    for number, (scene, before, layers) in enumerate(zip(scenes[::4], drawn[::4], sampled, strict=True)):
        other = dataclasses.replace(scene, outfit=sample_fabrics(np.random.default_rng(number), scene.outfit))
        after = draw(other, HEIGHT, WIDTH)
        garments = np.isin(layers, GARMENTS).any(axis=-1)
        assert changed(before, after)[garments].mean() > 0.5
        assert not changed(before, after)[~garments].any()
        assert np.array_equal(before.iuv, after.iuv)
        assert np.array_equal(before.whole133, after.whole133)


def test_other_paint_changes_nothing_outside_skin_hair_and_eyes(scenes, drawn, sampled):
    for number, (scene, before, layers) in enumerate(zip(scenes[::4], drawn[::4], sampled, strict=True)):
        other = dataclasses.replace(scene, identity=sample_paint(np.random.default_rng(number), scene.identity))
        after = draw(other, HEIGHT, WIDTH)
        person = np.isin(layers, PERSON).any(axis=-1)
        assert changed(before, after)[person].mean() > 0.5
        assert not changed(before, after)[~person].any()
        assert np.array_equal(before.iuv, after.iuv)


def test_the_same_scene_gives_the_same_bytes_also_from_json(scenes):
    scene = scenes[0]
    first, second = (
        draw(scene, HEIGHT, WIDTH),
        draw(from_json(Scene, plain(scene)), HEIGHT, WIDTH),
    )
    for name in ("rgb", "iuv", "layer", "body18", "coco17", "whole133"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("view", [0, 3])
def test_both_rasterisers_agree_on_a_person(scenes, view):
    scene = scenes[view]
    person = dress(scene.identity, scene.outfit)
    points = project(scene.camera, place_person(person.pose(scene.pose)[0], scene.pose.turn), 512)
    faces = person.faces[::4]  # plain numpy takes a millisecond for each
    ours = raster.rasterize(points, faces, person.clip, 512, 352)[0]
    reference = reference_raster.rasterize(points, faces, person.clip, 512, 352)[0]
    assert (ours >= 0).sum() > 5_000
    assert (ours != reference).sum() <= 2


def test_the_texture_charts_are_the_atlas_without_gaps(scenes):
    scene = scenes[0]
    atlas, layer = person_atlas(dress(scene.identity, scene.outfit), 64)
    charts = texture_charts(atlas)
    assert charts.shape == (24, 64, 64, 3)
    second_row_third = charts[6 + 2][::-1]
    own, covered = atlas[64:128, 128:192], layer[64:128, 128:192] >= 0
    assert np.array_equal(second_row_third[covered], own[covered])
    assert charts.reshape(24, -1).min(axis=1).min() > 0  # no black texel is left
