"""Training of the lifter on people who are drawn while it trains."""

import numpy as np
import pytest
import torch

from pgpis.cli import main
from pgpis.data.samples import PairCollator, PairSamples
from pgpis.data.transforms import PairTransform
from pgpis.models.lifter import SurfaceLifter
from pgpis.pictures.iuv import PART_CHANNEL
from pgpis.synth.people import DrawnPeople
from pgpis.synth.scene.render import draw
from pgpis.synth.scene.sampling import views_of
from pgpis.tasks import LifterTask
from pgpis.tasks.lifter import _inputs, disturbed


@pytest.fixture(scope="module")
def batch():
    """Six views of a person."""
    task = LifterTask(channels=(8, 16), head_channels=8, height=128, width=88)
    people = DrawnPeople(1, 6, size=(128, 88))
    people.setup()
    samples = PairSamples(people, PairTransform(task.input_specs, train=False), 0)
    return PairCollator(task.input_specs)([samples[0, index] for index in range(6)])


def test_labels_are_those_of_the_picture():
    people = DrawnPeople(2, 2, seed=3, first=7, size=(128, 88))
    people.setup()
    conditions = people.load(3).conditions
    picture = draw(views_of(3, 8, 2, 88 / 128)[1], 128, 88)

    assert np.array_equal(np.asarray(conditions["iuv"])[..., ::-1], picture.iuv)
    assert np.array_equal(np.asarray(conditions["silhouette"])[..., 0] > 0, picture.layer >= 0)
    assert np.allclose(conditions["points"].reshape(-1, 3)[:18] * [88, 128, 1], picture.body18, atol=1e-3)


def test_points_lie_on_their_parts_in_any_frame(batch):
    """Points, silhouette and map move together."""
    generator = torch.Generator().manual_seed(0)
    on_person = near = 0
    for _ in range(6):
        points, silhouette, iuv = disturbed(*_inputs(batch), generator)
        part = (iuv[:, PART_CHANNEL] * 255).round()
        for number in range(len(points)):
            for joint, parts in ((3, (16, 18, 20, 22)), (6, (15, 17, 19, 21)), (9, (7, 9, 11, 13))):
                x, y, known = points[number, joint]
                if not known:
                    continue
                row, column = int(y * 128), int(x * 88)
                patch = part[number, max(0, row - 4) : row + 5, max(0, column - 4) : column + 5]
                near += 1
                on_person += bool(torch.isin(patch, torch.tensor(parts).float()).any())
        assert silhouette.unique().tolist() in ([0.0, 1.0], [1.0], [0.0])

    assert near > 40
    assert on_person / near > 0.8  # some are hidden, some far off


def test_the_same_generator_disturbs_in_the_same_way(batch):
    first, second = (disturbed(*_inputs(batch), torch.Generator().manual_seed(4)) for _ in range(2))

    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_it_learns(batch):
    torch.manual_seed(0)
    task = LifterTask(channels=(16, 24, 32), head_channels=16, height=128, width=88)
    optimizer = torch.optim.AdamW(task.parameters(), lr=4e-3)
    before = task.loss(batch, torch.Generator().manual_seed(0), train=True)
    for step in range(30):
        losses = task.loss(batch, torch.Generator().manual_seed(step % 3), train=True)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()

    assert losses["accuracy"] > before["accuracy"].item() + 0.2
    assert losses["places"] < before["places"]


def test_the_recipe_trains_and_exports(tmp_path):
    words = ["--model.init_args.channels", "[8, 8]", "--model.init_args.head_channels", "8", "--model.init_args.height"]
    words += ["64", "--model.init_args.width", "44", "--trainer.max_steps", "2", "--trainer.val_check_interval", "1"]
    words += ["--data.train.init_args.people", "1", "--data.val.init_args.people", "1", "--data.num_workers", "0"]
    words += [
        "--data.train.init_args.size",
        "[64, 44]",
        "--data.val.init_args.size",
        "[64, 44]",
        "--data.batch_size",
        "4",
    ]
    words += ["--trainer.default_root_dir", str(tmp_path)]

    assert main(["fit", "--config", "synth/lifter.yaml", *words]) == 0
    assert SurfaceLifter.from_pretrained(tmp_path / "lifter").config.channels == [8, 8]
