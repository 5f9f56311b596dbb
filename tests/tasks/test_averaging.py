"""Averages of weights leave alone what training leaves alone."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch.utils.data import DataLoader

from pgpis.tasks import callbacks
from pgpis.tasks.averaging import average_exactly
from pgpis.tasks.callbacks import ExportModel

STEPS = 50


class Parts(LightningModule):
    """A part that is trained, one that is frozen, and position ids."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trained, self.frozen = torch.nn.Linear(3, 1), torch.nn.Linear(300, 30).requires_grad_(False)
        self.register_buffer("position_ids", torch.arange(257), persistent=False)

    def training_step(self, batch, batch_idx):
        return (self.trained(batch) - 1).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.trained.parameters(), lr=0.01)

    def export(self, _directory):
        self.exported = self.trained.weight.detach().clone()
        return "parts"


def test_frozen_weights_and_integers_stay(tmp_path):
    model, average = Parts(), EMAWeightAveraging(decay=0.9999)
    trainer = Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=STEPS,
        callbacks=[average],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    average_exactly(trainer)
    before, start = model.frozen.weight.clone(), model.trained.weight.clone()
    trainer.fit(model, DataLoader(torch.ones(2 * STEPS, 3), batch_size=2))
    assert torch.equal(model.frozen.weight, before)
    assert torch.equal(model.position_ids, torch.arange(257))
    assert not torch.equal(model.trained.weight, start)


def test_a_run_that_goes_on_from_its_end_exports_the_average(tmp_path, monkeypatch):
    """Also where no step is left; and the checkpoint of the end, the only one here, holds weights and average."""
    monkeypatch.setattr(callbacks, "PersonImageTask", Parts)

    def trained(folder, steps, checkpoint=None):
        model, kept = Parts(), ModelCheckpoint(folder, every_n_train_steps=99, save_last=True)
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        parts = [kept, ExportModel(), EMAWeightAveraging(decay=0.9)]
        trainer = Trainer(default_root_dir=folder, max_steps=steps, callbacks=parts, **options)
        average_exactly(trainer)
        trainer.fit(model, DataLoader(torch.ones(12, 3), batch_size=2), ckpt_path=checkpoint)
        return model.exported

    whole = trained(tmp_path / "whole", 6)
    trained(tmp_path / "run", 3)
    last = tmp_path / "run/last.ckpt"
    stored = torch.load(last, weights_only=True)
    assert not torch.equal(stored["state_dict"]["trained.weight"], stored["current_model_state"]["trained.weight"])
    for _ in range(2):
        assert torch.equal(trained(tmp_path / "run", 6, last), whole)
        last = max((tmp_path / "run").glob("last*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
