"""The texture seen through the target's map."""

import numpy as np
import pytest
import torch

from pgpis.methods.mcld.rendering import RenderedEncoder, render
from pgpis.pictures.surface import surface_of
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of


def tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="module")
def views():
    """A person from the front and walking."""
    return [draw(scene, 128, 88) for scene in views_of(9, 3, 5)[::4]]


def rendered(source, target, backdrop=None):
    surface = tensor(surface_of(source.rgb, source.iuv))
    return render(surface, tensor(target.iuv[..., ::-1]), backdrop)


def test_a_person_is_nearer_to_the_truth_than_the_source_is(views):
    source, target = views
    picture, marks = rendered(source, target)
    person = torch.from_numpy(target.iuv[..., 0] > 0)
    truth = tensor(target.rgb)

    def error(image):
        return (image - truth).abs()[0, :, person].mean()

    assert error(picture) < 0.7 * error(tensor(source.rgb))
    assert torch.equal(marks[0, :2].sum(dim=0).bool(), person)
    assert marks[0, 0].sum() > 0.3 * person.sum()
    assert not marks[0, 2].any()


def test_the_source_in_its_own_pose_is_the_source(views):
    source, _ = views
    picture, _ = rendered(source, source)
    person = torch.from_numpy(source.iuv[..., 0] > 0)

    assert (picture - tensor(source.rgb)).abs()[0, :, person].mean() < 0.1


def test_the_backdrop_lies_behind(views):
    source, target = views
    backdrop = torch.full((1, 3, 128, 88), 0.25)
    picture, marks = rendered(source, target, backdrop)
    background = torch.from_numpy(target.iuv[..., 0] == 0)

    assert (picture[0, :, background] == 0.25).all()
    assert torch.equal(marks[0, 2].bool(), background)


def test_what_nobody_saw_has_the_colour_of_its_group():
    """A torso in red and arms in blue, seen from the front: the back is red, the back of the arms blue."""
    picture, iuv = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)
    ramp = np.linspace(0, 255, 20, dtype=np.uint8)
    for part, rows, colour in ((2, slice(0, 20), (200, 0, 0)), (15, slice(20, 40), (0, 0, 200))):
        picture[rows, 10:30], iuv[rows, 10:30, 0] = colour, part
        iuv[rows, 10:30, 1], iuv[rows, 10:30, 2] = ramp[None], ramp[:, None]
    surface = tensor(surface_of(picture, iuv))
    target = np.full((8, 8, 3), 128, np.uint8)
    for part, colour in ((1, (200, 0, 0)), (17, (0, 0, 200)), (16, (0, 0, 200)), (5, (127.5, 127.5, 127.5))):
        target[..., 0] = part
        result, marks = render(surface, tensor(target[..., ::-1]), None)
        assert torch.allclose((result[0, :, 3, 3] + 1) * 127.5, torch.tensor(colour).float(), atol=1.5)
        assert marks[0, 1].all()


def test_pictures_do_not_see_each_other(views):
    source, target = views
    surfaces = torch.cat([tensor(surface_of(each.rgb, each.iuv)) for each in views])
    maps = torch.cat([tensor(each.iuv[..., ::-1]) for each in (target, source)])
    together, _ = render(surfaces, maps, None)

    assert torch.equal(together[:1], rendered(source, target)[0])
    assert torch.equal(together[1:], rendered(target, source)[0])


def test_its_features_start_at_nothing():
    encoder = RenderedEncoder(4, 16)

    assert not encoder(torch.randn(2, 4, 8, 6), torch.ones(2, 3, 64, 48)).any()
    assert encoder.first.weight.abs().sum() > 0
