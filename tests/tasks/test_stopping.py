"""A training that a signal stops, wherever it comes, ends as the uninterrupted one when it goes on."""

import signal
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader

from pgpis.interrupts import Stopped, StopRequest
from pgpis.tasks.averaging import average_exactly
from pgpis.tasks.callbacks import StopOnSignal

BATCHES = 4
LOSSES = (5.0, 1.0, 4.0, 6.0, 2.0, 7.0, 3.0, 8.0, 9.0, 4.0)


class Line(LightningModule):
    """One weight, which asks for a stop in a training batch, or in the validation after a step."""

    def __init__(
        self, request: StopRequest, in_batch: int | None = None, in_validation: int | None = None, twice: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(1, 1)
        self.request, self.in_batch, self.in_validation, self.twice = request, in_batch, in_validation, twice

    def training_step(self, batch, batch_idx):
        if self.in_batch == self.trainer.fit_loop.epoch_loop.total_batch_idx:
            for _ in range(1 + self.twice):
                self.request.note(signal.SIGINT, None)
        return (self.line(batch) - 3).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", torch.tensor(LOSSES[self.trainer.global_step % len(LOSSES)]))
        if self.in_validation == self.trainer.global_step and not self.trainer.sanity_checking:
            self.request.signum = signal.SIGINT

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(folder, options, checkpoint=None, keepers=(), **stop):
    """Return the checkpoint of a stop, if there was one, and all that the run has come to; ``keepers`` come first."""
    request = StopRequest()
    model, patience = Line(request, **stop), EarlyStopping("val/loss", patience=50)
    best = ModelCheckpoint(dirpath=folder, monitor="val/loss", save_last=True, filename="{epoch}-{step}")
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[*keepers, best, patience, EMAWeightAveraging(decay=0.5)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        log_every_n_steps=1,
        **options,
    )
    average_exactly(trainer)
    trainer.callbacks.append(StopOnSignal(request, ["pgpis", "fit"]))
    loader, stopped = DataLoader(torch.ones(2 * BATCHES, 1), batch_size=2), None
    with warnings.catch_warnings(action="ignore"):
        try:
            trainer.fit(model, loader, loader, ckpt_path=checkpoint)
        except Stopped as error:
            stopped = error.command and error.command.split()[-1]
    state = {
        "best": (best.best_model_path, best.best_model_score),
        "patience": (patience.wait_count, patience.best_score),
        "progress": (trainer.current_epoch, trainer.global_step),
        "rate": trainer.optimizers[0].param_groups[0]["lr"],
        "weight": model.line.weight.item(),
    }
    return stopped, state


@pytest.mark.parametrize(
    ("options", "batches", "last"),
    [
        ({"max_epochs": 3}, 12, 11),
        ({"max_steps": 12, "max_epochs": -1}, 12, 11),
        ({"max_steps": 12, "max_epochs": -1, "val_check_interval": 2}, 12, 11),
        ({"max_steps": 9, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None}, 9, 8),
        ({"max_epochs": 4, "check_val_every_n_epoch": 2}, 16, 15),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 12, 11),
        ({"max_epochs": 3, "accumulate_grad_batches": 3, "val_check_interval": 2}, 12, 11),
    ],
    ids=["epochs", "steps", "twice an epoch", "over epochs", "every second epoch", "accumulated", "within a step"],
)
def test_stopped_and_resumed_is_uninterrupted(options, batches, last, tmp_path):
    """Best weights, patience, average and learning rate; in the last step there is nothing left to stop."""
    _, whole = fit(tmp_path / "run", options)
    stops = [{"in_batch": batch} for batch in range(batches)]
    stops += [{"in_validation": step} for step in range(1, whole["progress"][1] + 1)]
    stopped_at = []
    for stop in stops:
        for path in (tmp_path / "run").glob("*.ckpt"):
            path.unlink()
        stopped, state = fit(tmp_path / "run", options, **stop)
        if stopped is not None:
            stopped_at.append(stop)
            again, state = fit(tmp_path / "run", options, stopped)
            assert again is None
        assert state == whole, stop
    assert {"in_batch": last} not in stopped_at
    assert {"in_batch": 0 if "accumulate_grad_batches" not in options else 2} in stopped_at
    assert len(stopped_at) > batches / 2


def test_epochs_of_one_step_can_be_stopped(tmp_path):
    options = {"max_steps": 5, "max_epochs": -1, "limit_train_batches": 1}
    _, whole = fit(tmp_path / "run", options)
    stopped, _ = fit(tmp_path / "again", options, in_batch=1)
    assert stopped is not None
    _, state = fit(tmp_path / "again", options, stopped)
    assert state["weight"] == whole["weight"]


def test_a_second_ctrl_c_names_the_last_checkpoint_of_this_run_alone(tmp_path):
    """Where it has saved none, the same command begins anew, and another run's is not what goes on with it."""
    options = {"max_epochs": 3}
    _, whole = fit(tmp_path / "whole", options)
    assert fit(tmp_path / "run", options, in_batch=2, twice=True)[0] is None
    stopped, state = fit(tmp_path / "run", options, in_batch=BATCHES + 2, twice=True)
    assert stopped == str(tmp_path / "run/last.ckpt")
    assert state["progress"] == (1, BATCHES + 2)
    assert fit(tmp_path / "run", options, stopped)[1]["weight"] == whole["weight"]
    assert fit(tmp_path / "run", options, in_batch=2, twice=True)[0] is None


def test_a_stop_keeps_a_whole_state_where_others_keep_weights_alone(tmp_path):
    options = {"max_steps": 5, "max_epochs": -1}
    _, whole = fit(tmp_path / "run", options)
    of_weights = ModelCheckpoint(tmp_path / "weights", save_weights_only=True, every_n_train_steps=1)
    stopped, _ = fit(tmp_path / "again", options, keepers=[of_weights], in_batch=1)
    assert stopped == str(tmp_path / "again/last.ckpt")
    assert fit(tmp_path / "again", options, stopped)[1]["weight"] == whole["weight"]
    request, trainer = StopRequest(), Trainer(logger=False, max_steps=5, callbacks=[of_weights], accelerator="cpu")
    trainer.callbacks.append(StopOnSignal(request, ["pgpis", "fit"]))
    with warnings.catch_warnings(action="ignore"), pytest.raises(Stopped) as error:
        trainer.fit(Line(request, in_batch=1), DataLoader(torch.ones(8, 1), batch_size=2))
    assert error.value.command.endswith(f" --ckpt_path {tmp_path}/weights/last.ckpt")
    assert "optimizer_states" in torch.load(tmp_path / "weights/last.ckpt", weights_only=True)
