"""Training that max_steps, max_time or a callback ends in the middle of an epoch goes on as if it had not ended."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau

from pgpis.data import DeepFashion, PoseTransferDataModule
from pgpis.tasks.callbacks import count_whole_epochs
from pgpis.tasks.validation import counted_in_validations, step_without_validation

PAIRS = 9


class Learner(LightningModule):
    """Weights that depend on every batch, its noise and its learning rate."""

    def __init__(self, plateau=False):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.plateau = plateau
        self.seen = []

    def training_step(self, batch, batch_idx):
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        self.seen.append((self.current_epoch, batch_idx, self.global_step, number, *batch["index"].tolist()))
        noise = torch.rand((), generator=torch.Generator().manual_seed(number))
        loss = (self.layer(batch["index"].double().mean().float().reshape(1, 1) / PAIRS) - noise).square().mean()
        self.log("loss", 1.0)
        return loss

    def on_train_epoch_end(self):
        if self.plateau:
            step_without_validation(self.trainer)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        if self.plateau:
            schedule = ReduceLROnPlateau(optimizer, "loss", patience=0)
            return {"optimizer": optimizer, "lr_scheduler": counted_in_validations(schedule)}
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


class Stop(Callback):
    """Asks for the end of training after a batch, as a limit of time does."""

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        trainer.should_stop = not self.left


def fit(root, specs, folder, *, ckpt_path=None, batches=None, plateau=False, batch_size=2, **options):
    """Return all that a run has come to; it keeps its last checkpoint as the recipes do."""
    sets = {split: DeepFashion(root, split, max_pairs=PAIRS) for split in ("train", "val")}
    drawing = {"num_workers": 0, "input_specs": specs, "pose_canvas": (64, 44)}
    data = PoseTransferDataModule(**sets, batch_size=batch_size, **drawing)
    patience = EarlyStopping("loss", patience=50, check_on_train_epoch_end=True)
    average = EMAWeightAveraging(decay=0.5, update_every_n_steps=3, update_starting_at_epoch=0)
    checkpoints = ModelCheckpoint(folder, save_last=True)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[patience, average, checkpoints, *([] if batches is None else [Stop(batches)])],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        limit_val_batches=0,
        **options,
    )
    count_whole_epochs(trainer)
    learner = Learner(plateau)
    trainer.fit(learner, data, ckpt_path=ckpt_path)
    state = torch.load(checkpoints.last_model_path, weights_only=True)
    told = (
        trainer.current_epoch,
        trainer.global_step,
        patience.wait_count,
        trainer.optimizers[0].param_groups[0]["lr"],
    )
    return learner.seen, told, {**state["state_dict"], "exported": learner.layer.weight.detach()}, state


def stages(root, specs, folder, ends, **options):
    """Run by run, each until a number of steps."""
    seen, last = [], None
    for end in ends:
        rows, told, weights, state = fit(root, specs, folder, ckpt_path=last, max_steps=end, **options)
        seen += rows
        last = folder / "last.ckpt"
    return seen, told, weights, state


def assert_equal(run, whole):
    """The same batches, counters, learning rate, patience and, to the bit, weights."""
    assert run[0] == whole[0]
    assert run[1] == whole[1]
    assert run[2].keys() == whole[2].keys()
    assert all(torch.equal(value, whole[2][name]) for name, value in run[2].items())
    loops = [state["loops"]["fit_loop"] for *_, state in (run, whole)]
    for name in ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict", "state_dict"):
        assert loops[0][name] == loops[1][name], name


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": -1, "plateau": True},
        {"max_epochs": -1},
        {"max_epochs": -1, "limit_train_batches": 4},
        {"max_epochs": -1, "limit_train_batches": 0.5},
        {"max_epochs": -1, "accumulate_grad_batches": 2},
        {"max_epochs": 2},
    ],
    ids=["plateau", "endless", "limited", "limited share", "accumulating", "two epochs"],
)
def test_three_runs_of_two_steps_are_one_of_six(options, toy_root, specs, tmp_path):
    whole = stages(toy_root, specs, tmp_path / "whole", [6], **options)
    cut = stages(toy_root, specs, tmp_path / "cut", [2, 4, 6], **options)
    assert_equal(cut, whole)


def test_max_epochs_after_a_cut_sees_every_pair(toy_root, specs, tmp_path):
    """The third run has five of ten batches left, and five of ten steps."""
    whole = stages(toy_root, specs, tmp_path / "whole", [24], max_epochs=2)
    cut = stages(toy_root, specs, tmp_path / "cut", [2, 5, 7, 24], max_epochs=2)
    assert_equal(cut, whole)
    for epoch in range(2):
        assert sorted(index for row in cut[0] if row[0] == epoch for index in row[4:]) == list(range(PAIRS))


@pytest.mark.parametrize(("steps", "window"), [(-1, 1), (-1, 2), (7, 2)])
def test_a_stop_after_any_batch_loses_nothing(window, steps, toy_root, specs, tmp_path):
    """As ``max_time`` asks for; gradients that were added up for a step are in no checkpoint, but made again."""
    options = {"max_epochs": 2, "max_steps": steps, "accumulate_grad_batches": window}
    whole = fit(toy_root, specs, tmp_path / "whole", **options)
    for first in (1, 4, 5, 7):
        folder = tmp_path / str(first)
        begun = fit(toy_root, specs, folder, batches=first, **options)
        ended = fit(toy_root, specs, folder, ckpt_path=folder / "last.ckpt", **options)
        again = first % 5 % window
        assert_equal((begun[0][: first - again] + ended[0], *ended[1:]), whole)


def test_another_batch_size_goes_on_after_a_cut(toy_root, specs, tmp_path):
    seen = stages(toy_root, specs, tmp_path, [2], max_epochs=1)[0]
    seen += fit(toy_root, specs, tmp_path, ckpt_path=tmp_path / "last.ckpt", max_epochs=1, batch_size=3)[0]
    assert sorted(index for row in seen for index in row[4:]) == list(range(PAIRS))


def test_a_checkpoint_of_an_earlier_version_goes_on_where_it_was_cut(toy_root, specs, tmp_path):
    """Its data set says the next epoch; the counters of the trainer tell better."""
    whole = stages(toy_root, specs, tmp_path / "whole", [6], max_epochs=-1)
    seen, *_, state = stages(toy_root, specs, tmp_path / "cut", [2], max_epochs=-1)
    state["PoseTransferDataModule"] = {"epoch": 1, "samples": 0, "batches": 0, "pairs": PAIRS, "seed": 0}
    torch.save(state, tmp_path / "cut/last.ckpt")
    rest = fit(toy_root, specs, tmp_path / "cut", ckpt_path=tmp_path / "cut/last.ckpt", max_steps=6, max_epochs=-1)
    assert_equal((seen + rest[0], *rest[1:]), whole)
