"""Validation: one mean over the pairs of all processes, and the schedules that count validations."""

from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.utils.data import DataLoader

from pgpis.errors import PgpisError
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.callbacks import SampleGrid
from pgpis.tasks.options import Schedule

VALUES = (0.1, 0.7, 0.3)


class Task(PersonImageTask):
    """Its loss is the mean of a batch's values, and their largest is logged as well."""

    input_specs = MappingProxyType({})

    def __init__(self, *schedule):
        super().__init__(lambda parameters: torch.optim.SGD(parameters, lr=1.0), *schedule)
        self.weight = nn.Parameter(torch.zeros(1))

    def loss(self, batch, generator, *, train):
        loss = batch["value"].mean() + 0 * self.weight.sum()
        return {"loss": loss, "largest": batch["value"].max()}


def batch_of(*values):
    return {"index": torch.arange(len(values)), "failures": [], "value": torch.tensor(values)}


def loader(*batches):
    return DataLoader([batch_of(*values) for values in batches], batch_size=None)


def trainer_in(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, use_distributed_sampler=False, **quiet, **options)


def validate(folder, *shares):
    """Validate the share of this rank: batches, of which some may hold no pair that could be read."""
    trainer = trainer_in(folder, devices=len(shares), **({"strategy": "ddp"} if len(shares) > 1 else {}))
    (values,) = trainer.validate(Task(), loader(*shares[trainer.global_rank]), verbose=False)
    return values


def test_one_process_logs_the_mean_over_its_pairs(tmp_path):
    """Bit for bit what Lightning makes of what is logged batch by batch."""
    batches = [VALUES, VALUES[:1], (), VALUES[1:]]
    total, count = torch.tensor(0.0), 0
    for values in filter(None, batches):
        total, count = total + torch.tensor(values).mean() * len(values), count + len(values)
    assert validate(tmp_path, batches)["val/loss"] == (total / count).item()


def test_nothing_that_can_be_read_is_no_value(tmp_path):
    assert validate(tmp_path, [(), ()]) == {}


def test_a_process_without_pairs_logs_the_value_of_the_others(tmp_path, two_processes):
    """One pair, two processes; then shares of several sizes; then nothing at all."""
    shares = [[(), ()], [VALUES, VALUES[:1]]]
    for part in ([[(0.5,)], [()]], [[()], [(0.5,)]]):
        assert two_processes(validate, tmp_path, *part) == [{"val/loss": 0.5, "val/largest": 0.5}] * 2
    alone = validate(tmp_path, shares[1])
    assert two_processes(validate, tmp_path, *shares) == [alone] * 2
    both = two_processes(validate, tmp_path, [VALUES], [VALUES[1:]])
    assert both[0] == both[1]
    assert abs(both[0]["val/loss"] - (sum(VALUES) + sum(VALUES[1:])) / 5) < 1e-6
    assert two_processes(validate, tmp_path, [()], [()]) == [{}, {}]


def fit(folder, task, batches, *, steps=4, callbacks=(), **options):
    trainer = trainer_in(folder, devices=1, max_steps=steps, callbacks=list(callbacks), **options)
    trainer.fit(task, loader(*[VALUES] * 4), loader(*batches))
    return trainer


def test_checkpoints_are_chosen_by_the_mean(tmp_path):
    kept = ModelCheckpoint(tmp_path, monitor="val/loss")
    trainer = fit(tmp_path, Task(), [(0.5,), ()], callbacks=[kept])
    assert kept.best_model_score == trainer.callback_metrics["val/loss"] == 0.5
    assert trainer.progress_bar_metrics["val/loss"] == 0.5


class Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def on_plateau(monitor="val/loss", patience=0):
    return Task(Schedule(lr_scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, monitor, patience=patience)))


@pytest.mark.parametrize("monitor", ["val/loss", "train/loss"])
def test_a_plateau_is_counted_in_validations(tmp_path, monitor):
    """In the middle of an epoch: the first one is the best, each further one is no better; the sanity check is none."""
    rates = Rates()
    fit(tmp_path, on_plateau(monitor), [VALUES], callbacks=[rates], val_check_interval=1)
    assert rates.seen == pytest.approx([1, 1, 0.1, 0.01])


def test_a_plateau_is_counted_where_not_every_epoch_ends_with_a_validation(tmp_path):
    """Four steps an epoch."""
    rates = Rates()
    fit(tmp_path, on_plateau(), [VALUES], steps=20, callbacks=[rates], check_val_every_n_epoch=2)
    assert rates.seen == pytest.approx([1] * 16 + [0.1] * 4)


def test_a_plateau_is_counted_in_epochs_where_there_is_no_validation(tmp_path):
    rates = Rates()
    fit(tmp_path, on_plateau("train/loss"), [], steps=12, callbacks=[rates])
    assert rates.seen == pytest.approx([1] * 8 + [0.1] * 4)


def test_a_checkpoint_after_a_validation_has_counted_it(tmp_path):
    for steps, rates in ((2, [1, 1]), (4, [0.1, 0.01])):
        seen, kept = Rates(), ModelCheckpoint(tmp_path, filename=f"{steps}", every_n_train_steps=0, every_n_epochs=1)
        trainer = trainer_in(tmp_path, max_steps=steps, callbacks=[seen, kept], val_check_interval=1)
        last = tmp_path / "2.ckpt"
        trainer.fit(on_plateau(), loader(*[VALUES] * 4), loader(VALUES), ckpt_path=last if last.is_file() else None)
        assert seen.seen == pytest.approx(rates)


def test_a_validation_of_nothing_is_not_counted(tmp_path):
    rates = Rates()
    fit(tmp_path, on_plateau(), [()], callbacks=[rates], val_check_interval=1)
    assert rates.seen == [1] * 4


def test_what_is_monitored_but_not_logged_is_named(tmp_path):
    with pytest.raises(PgpisError, match=r"ReduceLROnPlateau monitors 'val/los', which is not logged(.|\n)*val/loss"):
        fit(tmp_path, on_plateau("val/los"), [VALUES])


@pytest.mark.parametrize("pairs", [0, -1, 1.5])
def test_a_grid_has_rows(pairs):
    with pytest.raises(PgpisError, match=f"pairs is {pairs}, expected a whole number of at least 1"):
        SampleGrid(pairs)


def test_pictures_that_are_not_finite_are_black_in_any_logger():
    logged = {}
    logger = SimpleNamespace(log_image=lambda key, images, **_: logged.update({key: images[0]}))
    trainer = SimpleNamespace(loggers=[logger], sanity_checking=False, global_step=1)
    task, grid = Task(), torch.ones(3, 4, 8)
    for column, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        grid[:, :, column] = value
    task.sample_grid = task.flow_grid = lambda *_: grid
    SampleGrid().on_validation_batch_end(trainer, task, None, batch_of(*VALUES), 0)
    assert set(logged) == {"samples", "flow"}
    for picture in logged.values():
        assert [picture.getpixel((column, 0))[0] for column in range(4)] == [0, 0, 0, 255]
