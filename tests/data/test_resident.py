"""Pictures that lie in memory give the batches that files give."""

import logging
import shutil

import pytest
import torch
from lightning.fabric.utilities.types import _Stateful

from pgpis.data import Augmentation, DeepFashion, PoseTransferDataModule
from pgpis.data.resident import ResidentLoader
from pgpis.errors import PgpisError

STILL = Augmentation(jitter=0, flip_probability=0, detour_probability=0)


def module(root, specs, **options):
    options = {"batch_size": 5, "num_workers": 0, "input_specs": specs, "pose_canvas": (64, 44)} | options
    train = DeepFashion(root, "train", self_pair_probability=0.0)
    data = PoseTransferDataModule(train=train, **({"augmentation": STILL} | options))
    data.setup("fit")
    return data


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_batches(toy_root, specs, num_workers):
    from_files, resident = (
        module(toy_root, specs, resident=resident, num_workers=num_workers).train_dataloader()
        for resident in (False, True)
    )
    assert isinstance(resident, ResidentLoader)
    assert len(resident) == len(from_files) == 5
    for epoch in (0, 1):
        for loader in (from_files, resident):
            loader.sampler.set_epoch(epoch)
        for batch, other in zip(from_files, resident, strict=True):
            assert batch["pair_id"] == other["pair_id"]
            for key in specs:
                assert torch.equal(batch[key], other[key]), key


def test_each_picture_lies_there_once(toy_root, specs):
    loader = module(toy_root, specs, resident=True).train_dataloader()
    pictures = {pair.source for pair in loader.dataset.pairs}
    assert len(loader._rows["source_image"]) == len(pictures) < len(loader.dataset.pairs)
    assert all(rows.dtype == torch.uint8 for rows in loader._rows.values())


@pytest.mark.parametrize("resident", [False, True])
def test_lightning_knows_that_it_goes_on_in_the_middle_of_an_epoch(toy_root, specs, resident):
    """It warns of loaders that are not stateful."""
    assert isinstance(module(toy_root, specs, resident=resident).train_dataloader(), _Stateful)


def test_training_goes_on_with_another_pair(toy_root, tmp_path, specs, caplog):
    for name in ("img", "pose"):
        shutil.copytree(toy_root / name, tmp_path / name)
    shutil.copy(toy_root / "train_pairs_data.json", tmp_path)
    data = module(tmp_path, specs, resident=True)
    broken = data.train.pairs[-1].source
    broken.write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        batches = list(data.train_dataloader())
    shown = [data.train.pairs[index] for batch in batches for index in batch["index"].tolist()]
    assert len(shown) == len(data.train)
    assert broken not in {path for pair in shown for path in (pair.source, pair.target)}
    assert broken.name in caplog.text


def test_a_broken_file_costs_its_own_pairs_only(toy_root, tmp_path, specs):
    """The pair that first names it also names good pictures, which other pairs show."""
    for name in ("img", "pose"):
        shutil.copytree(toy_root / name, tmp_path / name)
    shutil.copy(toy_root / "train_pairs_data.json", tmp_path)
    pairs = module(tmp_path, specs).train.pairs
    first = pairs[0]
    assert [pair for pair in pairs if pair.source == first.source and pair.pose != first.pose]
    first.pose.write_text("no key points")
    shown = {}
    for resident in (False, True):
        data = module(tmp_path, specs, resident=resident)
        batches = list(data.train_dataloader())
        shown[resident] = [data.train.pairs[index].pair_id for batch in batches for index in batch["index"].tolist()]
    assert shown[True] == shown[False]
    good = {pair.pair_id for pair in data.train.pairs if pair.pose != first.pose}
    assert {*shown[True]} == good


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"augmentation": Augmentation(flip_probability=0.5, detour_probability=0)}, "flip_probability is 0.5"),
        ({"augmentation": Augmentation(flip_probability=0, detour_probability=0.5)}, "detour_probability is 0.5"),
        ({"augmentation": Augmentation(0, 0, 0, reference_cut=(0.0, 0.5))}, "reference_zoom"),
        ({"cache": "somewhere"}, "data.cache"),
    ],
)
def test_what_has_several_versions_is_refused(toy_root, specs, options, named):
    with pytest.raises(PgpisError, match=named):
        module(toy_root, specs, resident=True, **options).train_dataloader()
