"""Training goes on as if it had not ended from checkpoints between two batches of one step of the optimiser."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from lightning.pytorch.cli import ReduceLROnPlateau

from pgpis.data import DeepFashion, PoseTransferDataModule
from pgpis.tasks.validation import counted_in_validations, step_after_validation

PAIRS = 9


class Learner(LightningModule):
    """Weights that depend on every batch, its noise and, by the learning rate, on the number of validations."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        self.seen.append((number, self.current_epoch, batch_idx, self.global_step, *batch["index"].tolist()))
        noise = torch.rand((), generator=torch.Generator().manual_seed(number))
        return (self.layer(batch["index"].double().mean().float().reshape(1, 1) / PAIRS) - noise).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0)

    def on_validation_epoch_end(self):
        self.validated.append((self.trainer.fit_loop.epoch_loop.total_batch_idx, self.current_epoch, self.global_step))
        step_after_validation(self.trainer, {"val/loss": torch.tensor(1.0)})

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        schedule = ReduceLROnPlateau(optimizer, "val/loss", factor=0.9, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": counted_in_validations(schedule)}


class Keep(Callback):
    """Keeps a checkpoint of each batch that is not the last of a step, and of each validation after one."""

    def __init__(self, folder):
        self.folder = folder
        self.paths = []

    def on_train_batch_end(self, trainer, *_):
        self._save(trainer, "batch")

    def on_validation_end(self, trainer, *_):
        self._save(trainer, "validation")

    def _save(self, trainer, kind):
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            self.paths.append(self.folder / f"{loop.total_batch_idx}_{kind}.ckpt")
            trainer.save_checkpoint(self.paths[-1])


def fit(root, specs, folder, ckpt_path=None, batch_size=2, **options):
    """Return the learner, all that it has come to, and the checkpoints."""
    sets = {split: DeepFashion(root, split, max_pairs=PAIRS) for split in ("train", "val")}
    drawing = {"num_workers": 0, "input_specs": specs, "pose_canvas": (64, 44)}
    patience, keep, learner = EarlyStopping("val/loss", patience=50), Keep(folder), Learner()
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[patience, EMAWeightAveraging(decay=0.5), keep],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        **options,
    )
    trainer.fit(learner, PoseTransferDataModule(**sets, batch_size=batch_size, **drawing), ckpt_path=ckpt_path)
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    loop = trainer.fit_loop.state_dict()
    counters = [loop[name] for name in ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict")]
    told = (trainer.global_step, patience.wait_count, rate, learner.layer.weight.item(), counters)
    return learner, told, keep.paths


RUNS = [
    {"max_epochs": 2, "accumulate_grad_batches": 3, "val_check_interval": 2},
    {"max_epochs": -1, "max_steps": 3, "accumulate_grad_batches": 4, "val_check_interval": 1},
    {"max_epochs": 2, "accumulate_grad_batches": 2, "val_check_interval": 3, "check_val_every_n_epoch": None},
    {"max_epochs": 2, "accumulate_grad_batches": 7, "limit_train_batches": 4},
]


@pytest.mark.parametrize("options", RUNS, ids=["validating", "steps", "over epochs", "one step an epoch"])
def test_a_run_that_goes_on_within_a_step_is_the_uninterrupted_one(options, toy_root, specs, tmp_path):
    """Batches since the last step are seen again, validations not run again; so it is when it is killed once more."""
    whole, told, paths = fit(toy_root, specs, tmp_path, **options)
    assert len(paths) >= 4
    assert told[2] == pytest.approx(0.1 * 0.9 ** (len(whole.validated) - 1))  # a validation less or more is seen
    for path in paths:
        state = torch.load(path, weights_only=True)
        first, kind = int(path.stem.split("_")[0]), path.stem.split("_")[1]
        rest, rest_told, further = fit(toy_root, specs, tmp_path / path.stem, path, **options)
        assert rest.seen == [row for row in whole.seen if row[3] >= state["global_step"]], path.stem
        assert rest.validated == [row for row in whole.validated if row[0] >= first + (kind == "validation")], path.stem
        assert rest_told == told, path.stem
        assert fit(toy_root, specs, tmp_path / "once_more", further[0], **options)[1] == told, path.stem


@pytest.mark.parametrize(("batch_size", "window"), [(1, 4), (3, 2), (2, 1)])
def test_pairs_that_went_into_no_step_are_seen_by_batches_of_another_size(
    batch_size, window, toy_root, specs, tmp_path
):
    """Each pair goes into one step an epoch, also where the first step takes few batches and is not reached."""
    options = {"max_epochs": 1, "accumulate_grad_batches": 3}
    other = {"max_epochs": 1, "accumulate_grad_batches": window, "batch_size": batch_size}
    whole, _, paths = fit(toy_root, specs, tmp_path, **options)
    for path in paths:
        steps = torch.load(path, weights_only=True)["global_step"]
        rest, _, further = fit(toy_root, specs, tmp_path / path.stem, path, **other)
        for again in further[:1]:
            state = torch.load(again, weights_only=True)
            last, *_ = fit(toy_root, specs, tmp_path / "last", again, **options)
            rest.seen = [row for row in rest.seen if row[3] < state["global_step"]] + last.seen
        rows = [row for row in whole.seen if row[3] < steps] + rest.seen
        assert sorted(index for row in rows for index in row[4:]) == list(range(PAIRS)), path.stem
