"""Exact flow: a point of the body or of its clothes is where the other picture shows it."""

from dataclasses import replace

import numpy as np
import pytest

from pgpis.metrics.flicker import warp_error
from pgpis.synth.scene.flow import exact_flow
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import signer_of

SIZE = (130, 106)


@pytest.fixture(scope="module")
def scenes():
    return signer_of(3, 0, 12)


def test_a_still_person_stands_still(scenes):
    flow = exact_flow(scenes[0], scenes[0], *SIZE)
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() < 1e-2


def test_a_moved_camera_moves_everybody_alike(scenes):
    camera = scenes[0].camera
    panned = replace(scenes[0], camera=replace(camera, center=(camera.center[0] + 4 / SIZE[0], camera.center[1])))
    flow = exact_flow(scenes[0], panned, *SIZE)
    shown = draw(scenes[0], *SIZE).layer >= 0
    moved = flow[shown & np.isfinite(flow[..., 0])]
    np.testing.assert_allclose(moved, np.broadcast_to([4.0, 0.0], moved.shape), atol=1e-2)
    assert np.isnan(flow[~shown]).all(), "of what is behind nothing is known where the camera moves"


def test_where_it_leads_is_the_same_place_of_the_body(scenes):
    """Its part and texel, and nearly its colour; where the arms move, the colours differ more without the flow."""
    first, second = (draw(scene, *SIZE) for scene in (scenes[8], scenes[11]))
    flow = exact_flow(scenes[8], scenes[11], *SIZE)
    rows, columns = np.nonzero(np.isfinite(flow[..., 0]) & (first.iuv[..., 0] > 0))
    places = flow[rows, columns] + np.column_stack([columns, rows]) + 0.5
    assert np.abs(flow[rows, columns]).max() > 5, "the arms move"
    ours, theirs = first.iuv[rows, columns], second.iuv[tuple(np.floor(places.T[::-1]).astype(int))]
    same = ours[:, 0] == theirs[:, 0]
    assert same.mean() > 0.9, "but for outlines, where the nearest pixel shows another part"
    assert np.median(np.abs(ours[same, 1:].astype(int) - theirs[same, 1:])) <= 8
    still = np.where(np.isfinite(flow), 0, np.nan)
    moving = np.hypot(flow[..., 0], flow[..., 1]) > 2
    with_flow, without = (np.nanmean(warp_error(first.rgb, second.rgb, each)[moving]) for each in (flow, still))
    assert with_flow < 0.7 * without


def test_what_the_other_picture_hides_is_not_known(scenes):
    """A hand before the body: seen pixels of the body are fewer, and the hand itself stays known."""
    flow = exact_flow(scenes[0], scenes[11], *SIZE)
    hidden = np.isnan(flow[..., 0]) & (draw(scenes[0], *SIZE).layer >= 0)
    assert 0.001 < hidden.mean() < 0.2
