"""Warm-up and decay count epochs, also where a run goes on with epochs of another number of steps."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pgpis.data import DeepFashion, PoseTransferDataModule
from pgpis.tasks.base import PersonImageTask
from pgpis.tasks.options import Schedule

SCHEDULE = Schedule(warmup_epochs=1.5, decay_epochs=(1, 2))


class Task(PersonImageTask):
    """The smallest task that trains."""

    def __init__(self, specs):
        super().__init__(lambda parameters: torch.optim.SGD(parameters, lr=1.0), SCHEDULE)
        self.input_specs_, self.head = specs, torch.nn.Linear(1, 1)

    @property
    def input_specs(self):
        return self.input_specs_

    def loss(self, batch, generator, *, train):
        return {"loss": 0 * self.head(batch["index"].float()[:1]).sum()}


class Rates(Callback):
    """Notes the learning rate of each batch by epoch and number in it."""

    def __init__(self):
        self.seen = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen[trainer.current_epoch, batch_idx] = trainer.optimizers[0].param_groups[0]["lr"]


def fit(root, specs, folder, ckpt_path=None, batch_size=2, **options):
    """Return the learning rates of a run, which keeps a checkpoint of each step and of each epoch."""
    rates, each = Rates(), {"dirpath": folder, "save_top_k": -1}
    kept = [
        ModelCheckpoint(every_n_train_steps=1, filename="{step}", **each),
        ModelCheckpoint(filename="{epoch}", **each),
    ]
    drawing = {"num_workers": 0, "input_specs": specs, "pose_canvas": (64, 44)}
    data = PoseTransferDataModule(train=DeepFashion(root, "train", max_pairs=9), batch_size=batch_size, **drawing)
    task = Task(specs)
    task.data = data
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", callbacks=[rates, *kept], max_epochs=3, **quiet, **options)
    trainer.fit(task, data, ckpt_path=ckpt_path)
    return rates.seen


@pytest.fixture
def whole(toy_root, specs, tmp_path):
    """Five steps an epoch."""
    return tmp_path / "whole", fit(toy_root, specs, tmp_path / "whole")


def test_it_is_where_it_was_with_batches_of_the_same_size(whole, toy_root, specs, tmp_path):
    folder, expected = whole
    for step in (3, 5, 7):
        rates = fit(toy_root, specs, tmp_path, folder / f"step={step}.ckpt")
        assert rates == {place: rate for place, rate in expected.items() if 5 * place[0] + place[1] >= step}


@pytest.mark.parametrize(
    "other", [{"batch_size": 1}, {"batch_size": 4}, {"accumulate_grad_batches": 2}, {"limit_train_batches": 4}]
)
def test_it_is_where_it_was_with_epochs_of_another_number_of_steps(other, whole, toy_root, specs, tmp_path):
    """Each batch but those of the step at hand has the rate that it has in a run of that number from the start on."""
    folder, _ = whole
    expected = fit(toy_root, specs, tmp_path / "other", **other)
    window = other.get("accumulate_grad_batches", 1)
    for name in ("step=2", "step=5", "step=7", "epoch=0"):
        first = fit(toy_root, specs, tmp_path / name, folder / f"{name}.ckpt", **other)
        again = min((tmp_path / name).glob("step*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
        for rates in (first, fit(toy_root, specs, tmp_path / "again", again, **other)):
            at_hand = next(iter(rates))[0], next(iter(rates))[1] // window
            later = {place: rate for place, rate in rates.items() if (place[0], place[1] // window) != at_hand}
            assert later
            assert later == {place: expected[place] for place in later}, name


def test_a_checkpoint_of_an_earlier_version_counts_steps(whole, toy_root, specs, tmp_path):
    state = torch.load(whole[0] / "step=5.ckpt", weights_only=True)
    state["lr_schedulers"][0]["lr_lambdas"] = [None]
    torch.save(state, tmp_path / "earlier.ckpt")
    rates = fit(toy_root, specs, tmp_path, tmp_path / "earlier.ckpt", batch_size=1)
    assert rates[1, 3] == SCHEDULE.factor(5 + 3, 9)
