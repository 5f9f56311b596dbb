"""Validation: one mean over the pairs of all processes, and the schedules that count validations."""

from types import MappingProxyType

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from pgpis.tasks.base import PersonImageTask

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
