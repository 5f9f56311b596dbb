"""Averages of weights leave alone what training leaves alone."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

from pgpis.tasks.averaging import average_exactly

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
