import logging
import shutil

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, ModelCheckpoint

from pgpis.batch import check_batch
from pgpis.data import DeepFashion, FolderPairs, PoseTransferDataModule, ResumableSampler
from pgpis.data.sampler import NOTHING, EpochPosition
from pgpis.data.transforms import Augmentation
from pgpis.errors import PgpisError


def module(root, specs, **options):
    options = {"batch_size": 5, "num_workers": 0, "input_specs": specs, "pose_canvas": (64, 44)} | options
    datasets = {split: DeepFashion(root, split) for split in ("train", "val", "test")}
    return PoseTransferDataModule(**(datasets | options))


@pytest.mark.parametrize("count", [1, 7, 24])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_training_shares_are_equal_and_cover_everything(count, world_size):
    shares = []
    for rank in range(world_size):
        sampler = ResumableSampler(range(count), shuffle=True, seed=3, rank=rank, world_size=world_size)
        sampler.set_epoch(2)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler) == -(-count // world_size)
        assert {epoch for epoch, _ in shares[-1]} == {2}
    assert {index for share in shares for _, index in share} == set(range(count))


@pytest.mark.parametrize("count", [0, 1, 7, 24])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_evaluation_neither_pads_nor_doubles(count, world_size):
    indices = range(100, 100 + count)
    samplers = [ResumableSampler(indices, shuffle=False, rank=r, world_size=world_size) for r in range(world_size)]
    seen = [index for sampler in samplers for _, index in sampler]
    assert sorted(index for index in seen if index != NOTHING) == list(indices)
    assert all(len(sampler) for sampler in samplers), "Lightning leaves a process out that has no batch"
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


def test_a_first_run_makes_nothing_of_each_pair():
    """A million pairs that are drawn in their order are no list of a million numbers."""
    sampler = ResumableSampler(range(10**6), shuffle=False, rank=1, world_size=2)
    assert sampler.order(0) == range(1, 10**6, 2)
    assert next(iter(sampler)) == (0, 1)


def test_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch):
        sampler = ResumableSampler(range(50), shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*parts)) for parts in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_only_the_epoch_of_the_interruption_is_shortened():
    whole, resumed = (ResumableSampler(range(10), shuffle=True, start_epoch=3, start_sample=skip) for skip in (0, 4))
    for epoch in (3, 4, 3):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)[4 if epoch == 3 else 0 :]
        assert len(resumed) == 10


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_what_the_model_declared(toy_root, specs, num_workers):
    data = module(toy_root, specs, num_workers=num_workers)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch["index"]) for batch in batches] == [5, 5, 5, 5, 4]
    for batch in batches:
        check_batch(batch, specs)
        assert batch["failures"] == []
        assert len(batch["pair_id"]) == len(batch["source_path"]) == len(batch["index"])
    assert sorted(index for batch in batches for index in batch["index"].tolist()) == list(range(24))


def test_nothing_undeclared_is_read(own_toy_root, specs):
    for path in (own_toy_root / "pose").rglob("*.txt"):
        path.unlink()
    data = module(own_toy_root, {"source_image": specs["source_image"]})
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert len(batch["index"]) == 2
    assert "target_image" not in batch


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_a_stage_without_data_is_named(specs, stage):
    split = {"fit": "train", "validate": "val"}.get(stage, stage)
    with pytest.raises(PgpisError, match=f"configured for '{split}'"):
        PoseTransferDataModule(input_specs=specs).setup(stage)


def test_image_specs_are_asked_for(toy_root):
    data = module(toy_root, None)
    data.setup("test")
    with pytest.raises(PgpisError, match="which pictures the model needs"):
        data.test_dataloader()


def test_training_goes_on_with_another_pair(toy_root, tmp_path, specs, caplog):
    for name in ("img", "pose"):
        shutil.copytree(toy_root / name, tmp_path / name)
    shutil.copy(toy_root / "train_pairs_data.json", tmp_path)
    data = module(tmp_path, specs, val=None)
    data.setup("fit")
    broken = data.train.pairs[0].source
    broken.write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, logger="pgpis"):
        loader = data.train_dataloader()
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches = list(loader)
            assert sum(len(batch["index"]) for batch in batches) == len(data.train)
            assert not any(str(broken) in batch["source_path"] + batch["target_path"] for batch in batches)
    assert sum(broken.name in record.getMessage() for record in caplog.records) == 1


def test_training_ends_where_nothing_can_be_read(own_toy_root, specs):
    for path in (own_toy_root / "img").rglob("*.jpg"):
        path.unlink()
    data = module(own_toy_root, specs)
    data.setup("fit")
    with pytest.raises(PgpisError, match="in a row can be read"):
        list(data.train_dataloader())


class Recorder(LightningModule):
    """Notes which pairs, and which pixels, each training step saw."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []
        self.predicted = []

    def training_step(self, batch, batch_idx):
        pixels = [round(batch[key].double().sum().item(), 6) for key in ("source_image", "pose_image")]
        counters = (self.current_epoch, batch_idx, self.global_step, self.trainer.fit_loop.epoch_loop.total_batch_idx)
        self.seen.append((*counters, *batch["index"].tolist(), *pixels))
        return self.layer(batch["source_image"].mean().reshape(1, 1)).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        self.predicted += batch["index"].tolist()
        return list(batch["failures"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(data, folder=None, ckpt_path=None, callbacks=(), **options):
    """Train, and keep a checkpoint of each step in a folder."""
    recorder = Recorder()
    callbacks = [*callbacks]
    if folder is not None:
        callbacks += [ModelCheckpoint(folder / "checkpoints", save_top_k=-1, every_n_train_steps=1, filename="{step}")]
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        enable_checkpointing=folder is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(recorder, data, ckpt_path=ckpt_path)
    return recorder, trainer


def nine_pairs(root, specs, num_workers=0, batch_size=2, with_val=True):
    """Five batches an epoch, checkpoints after steps 1 ... 15."""
    train, val = DeepFashion(root, "train", max_pairs=9), DeepFashion(root, "val", max_pairs=3)
    options = {"num_workers": num_workers, "batch_size": batch_size}
    return module(root, specs, train=train, val=val if with_val else None, **options)


RUNS = [
    pytest.param({"max_epochs": 3}, id="epochs"),
    pytest.param({"max_steps": 15, "max_epochs": -1}, id="steps"),
    pytest.param({"max_epochs": 3, "limit_train_batches": 4}, id="limited"),
    pytest.param({"max_epochs": 3, "val_check_interval": 2}, id="validating"),
    pytest.param({"max_epochs": 3, "accumulate_grad_batches": 2}, id="accumulating"),
]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("options", RUNS)
def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(toy_root, specs, tmp_path, num_workers, options):
    arguments = toy_root, specs, num_workers, 2, num_workers == 0 or "val_check_interval" in options
    whole, whole_trainer = fit(nine_pairs(*arguments), tmp_path / "whole", **options)
    assert len({row[4:] for row in whole.seen}) == len(whole.seen)
    checkpoints = sorted((tmp_path / "whole" / "checkpoints").glob("*.ckpt"))
    steps = whole_trainer.global_step
    assert len(checkpoints) == steps
    for step in (1, 3, 4, 5, 7) if num_workers == 0 else (3, 5):
        path = tmp_path / "whole" / "checkpoints" / f"step={step}.ckpt"
        resumed, trainer = fit(nine_pairs(*arguments), ckpt_path=path, **options)
        expected = [row for row in whole.seen if row[2] >= step]  # row[2]: optimiser steps before this batch
        assert resumed.seen == expected, f"resumed after step {step}"
        assert trainer.global_step == whole_trainer.global_step
        assert trainer.current_epoch == whole_trainer.current_epoch


def before(path, recorder):
    """Return what a run saw until the last step before it wrote a checkpoint; what came later is to be seen again."""
    state = torch.load(path, weights_only=True)
    seen = state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
    return [row for row in recorder.seen if row[3] < seen - state["PoseTransferDataModule"]["redone"]]


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 1), (9, 1), (3, 2)])
def test_another_batch_size_sees_every_pair_once_an_epoch(toy_root, specs, tmp_path, batch_size, accumulation):
    options = {"max_epochs": 3, "accumulate_grad_batches": accumulation}
    whole, _ = fit(nine_pairs(toy_root, specs), tmp_path / "whole", **options)
    for step in (2, 5, 6) if accumulation == 1 else (1, 3):
        path = tmp_path / "whole" / "checkpoints" / f"step={step}.ckpt"
        data = nine_pairs(toy_root, specs, batch_size=batch_size)
        resumed, trainer = fit(data, tmp_path / f"resumed{step}", ckpt_path=path, **options)
        assert trainer.current_epoch == 3
        again = max(
            (tmp_path / f"resumed{step}" / "checkpoints").glob("*.ckpt"), key=lambda path: -path.stat().st_mtime_ns
        )
        last, _ = fit(nine_pairs(toy_root, specs, batch_size=1), ckpt_path=again, **options)
        rows = before(path, whole) + before(again, resumed) + last.seen
        for epoch in range(3):
            indices = [index for row in rows if row[0] == epoch for index in row[4:-2]]
            assert sorted(indices) == list(range(9)), f"epoch {epoch}, resumed after step {step}"


def test_the_batch_size_that_a_callback_finds_counts(toy_root, specs, tmp_path):
    finder = BatchSizeFinder(init_val=2, steps_per_trial=1, max_trials=2)
    data = nine_pairs(toy_root, specs, with_val=False)
    whole, _ = fit(data, tmp_path, callbacks=[finder], max_epochs=1, default_root_dir=tmp_path)
    assert (data.batch_size, data.batches_per_epoch()) == (4, 3)
    rest = nine_pairs(toy_root, specs, batch_size=4, with_val=False)
    resumed, _ = fit(rest, ckpt_path=tmp_path / "checkpoints" / "step=1.ckpt", max_epochs=1)
    assert resumed.seen == [row for row in whole.seen[-3:] if row[2] >= 1]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (4, 2)])
def test_another_number_of_processes_shares_the_rest_of_the_epoch(before, after):
    def shares(world_size, **start):
        samplers = (
            ResumableSampler(range(25), shuffle=True, rank=r, world_size=world_size, **start) for r in range(world_size)
        )
        return [[index for _, index in sampler] for sampler in samplers]

    seen = [index for share in shares(before) for index in share[:4]]
    rest = shares(after, start_sample=4 * before)
    assert len({len(share) for share in rest}) == 1
    assert set(seen) | {index for share in rest for index in share} == set(range(25))
    assert len(seen) + sum(map(len, rest)) < 25 + after  # no more repeated than fills up the shares


def test_the_position_counts_all_processes_and_is_refused_where_it_is_none(caplog):
    position = EpochPosition(pairs=24, seed=0, batch_size=lambda: 2)
    with pytest.raises(PgpisError, match="how many pairs"):
        position.load_state_dict({"epoch": 0, "samples": -8, "batches": 2, "pairs": 24, "seed": 0})
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit_loop.epoch_progress.current.started = 1
    batches = trainer.fit_loop.epoch_loop.batch_progress
    batches.total.ready = batches.current.ready = batches.current.processed = batches.current.completed = 2
    position.load_state_dict({"epoch": 0, "samples": 16, "batches": 2, "pairs": 24, "seed": 0})  # 2 batches of 8
    assert position.go_on(trainer) == (0, 16)
    assert batches.current.processed == 8  # of 12, so that 4 batches of 2 are left
    assert position.of(trainer) == (0, 16)
    position.load_state_dict({"epoch": 0, "samples": 16, "batches": 2, "pairs": 30, "seed": 0})
    assert "30 pairs" in caplog.text


@pytest.mark.parametrize(("window", "left"), [(4, None), (3, 1)])
def test_a_first_step_of_fewer_batches_is_told(window, left, caplog):
    """Going on with batches of 2 after 2 of 8; Lightning steps where the batches of the epoch are a whole multiple."""
    position = EpochPosition(pairs=24, seed=0, batch_size=lambda: 2)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", accumulate_grad_batches=window, **quiet)
    trainer.fit_loop.epoch_progress.current.started = 1
    loop = trainer.fit_loop.epoch_loop
    batches = loop.batch_progress
    batches.total.ready = batches.current.ready = batches.current.processed = batches.current.completed = 2
    position.load_state_dict({"epoch": 0, "samples": 16, "batches": 2, "pairs": 24, "seed": 0})
    for _ in range(2):
        position.go_on(trainer)
    assert caplog.text.count("the first step takes") == (left is not None)
    assert left is None or f"takes {left} of them, not {window}" in caplog.text
    batches.current.ready += left or window
    assert loop._accumulated_batches_reached()


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"resident": True, "augmentation": Augmentation(0, 0, 0)}])
def test_overfitting_trains_on_the_same_batches(toy_root, specs, options, tmp_path, recwarn):
    """Also where it goes on within an epoch."""
    train = DeepFashion(toy_root, "train", self_pair_probability=0)
    whole, _ = fit(module(toy_root, specs, train=train, **options), tmp_path, max_epochs=3, overfit_batches=2)
    assert len(whole.seen) == 6
    assert {row[4:-2] for row in whole.seen} == {(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)}
    assert len({row[4:] for row in whole.seen}) == 2
    third = tmp_path / "checkpoints/step=3.ckpt"
    resumed, _ = fit(module(toy_root, specs, train=train, **options), ckpt_path=third, max_epochs=3, overfit_batches=2)
    assert resumed.seen == whole.seen[3:]
    assert not [each for each in recwarn if "shuffling" in str(each.message)]


def test_predict_lists_failures_and_skips_finished_pairs(toy_root, specs, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    picture = next((toy_root / "img").rglob("*.jpg")).read_bytes()
    for name in ("a", "b", "c", "d"):
        (sources / f"{name}.jpg").write_bytes(b"broken" if name in "bc" else picture)
    pose = next((toy_root / "pose").rglob("*.txt"))
    del specs["target_image"]
    for batch_size in (1, 3):
        data = module(toy_root, specs, predict=FolderPairs(sources, pose), batch_size=batch_size)
        recorder = Recorder()
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        failures = Trainer(**options).predict(recorder, data)
        assert recorder.predicted == [0, 3]
        reasons = {failure.pair_id[0]: failure.reason for batch in failures for failure in batch}
        assert set(reasons) == {"b", "c"}
        assert "b.jpg" in reasons["b"]
    data.find_finished = lambda _: {pair.pair_id for pair in data.predict.pairs if pair.pair_id[0] in "ab"}
    recorder = Recorder()
    Trainer(**options).predict(recorder, data)
    assert recorder.predicted == [3]
    data.find_finished = lambda _: {pair.pair_id for pair in data.predict.pairs}
    Trainer(**options).predict(recorder, data)
    assert recorder.predicted == [3]
