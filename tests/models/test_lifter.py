"""The net from points and silhouettes to maps."""

import copy

import pytest
import torch

from pgpis.models.lifter import LIFTED_POINTS, LIMBS, SurfaceLifter, lift
from pgpis.pictures.iuv import PART_CHANNEL, PARTS


@pytest.fixture(scope="module")
def lifter():
    torch.manual_seed(0)
    return SurfaceLifter(channels=(8, 8, 16), head_channels=8).eval()


def person(size=(64, 44)):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, LIFTED_POINTS, 3, generator=generator)
    points[..., 2] = (points[..., 2] > 0.3).float()
    silhouette = torch.zeros(2, 1, *size)
    silhouette[:, :, 10:50, 8:30] = 1
    return points, silhouette


@pytest.mark.parametrize("size", [(64, 44), (60, 36), (256, 176), (8, 8)])
def test_parts_and_places_of_any_size(lifter, size):
    points, silhouette = person()
    silhouette = torch.nn.functional.interpolate(silhouette, size)
    parts, places = lifter(points, silhouette)

    assert parts.shape == (2, PARTS + 1, size[0] // 2, size[1] // 2)
    assert places.shape == (2, PARTS, 2, size[0] // 2, size[1] // 2)
    assert places.min() >= 0
    assert places.max() <= 1


def test_a_map_lies_on_the_silhouette(lifter):
    points, silhouette = person()
    everywhere = copy.deepcopy(lifter)
    with torch.no_grad():
        everywhere.parts.bias[0] = -100  # no background
    values = (lift(everywhere, points, silhouette) + 1) * 127.5
    part = values[:, PART_CHANNEL].round()

    assert ((part > 0) == (silhouette[:, 0] > 0)).all()
    assert part.max() <= PARTS
    assert (values[(silhouette == 0).expand_as(values)] == 0).all()
    assert torch.allclose(values.round(), values, atol=1e-4)


def test_an_unknown_point_does_not_matter(lifter):
    points, silhouette = person()
    moved = points.clone()
    moved[points[..., 2] == 0] = torch.tensor([0.9, 0.1, 0.0])

    assert torch.equal(lifter(points, silhouette)[0], lifter(moved, silhouette)[0])


def test_heat_and_limbs_are_where_the_points_are(lifter):
    points = torch.zeros(1, LIFTED_POINTS, 3)
    points[0, 2], points[0, 3] = torch.tensor([0.25, 0.25, 1.0]), torch.tensor([0.75, 0.75, 1.0])
    heat, limbs, *grid = lifter._drawn(points, 40, 20)
    upper_arm = limbs[0, LIMBS.index((2, 3))]

    assert heat.shape == (1, LIFTED_POINTS, 40, 20)
    assert divmod(int(heat[0, 2].argmax()), 20) in {(9, 4), (10, 5), (9, 5), (10, 4)}
    assert upper_arm[10, 5] > upper_arm[29, 14] > 0.1  # darker towards its end
    assert upper_arm[10, 14] < 0.01
    assert limbs[0].amax(dim=(1, 2)).count_nonzero() == 1
    assert [each.shape for each in grid] == [(1, 1, 40, 20)] * 2


def test_it_is_saved_and_loaded(lifter, tmp_path):
    lifter.save_pretrained(tmp_path)
    points, silhouette = person()

    assert torch.equal(SurfaceLifter.from_pretrained(tmp_path)(points, silhouette)[0], lifter(points, silhouette)[0])
