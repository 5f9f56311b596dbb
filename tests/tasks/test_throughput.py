"""Pairs per second, also over epochs and in a run that goes on in the middle of one."""

import csv
import time
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from test_validation import VALUES, Task, loader, trainer_in

from pgpis.tasks.callbacks import Throughput


def test_the_clock_starts_with_the_run_in_the_middle_of_an_epoch(tmp_path):
    """Not with the computer: the one value that is logged would be a thousandth of what it is."""
    kept = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=1)
    trainer_in(tmp_path, max_steps=1, callbacks=[kept]).fit(Task(), loader(*[VALUES] * 4))
    trainer = trainer_in(tmp_path, max_steps=2, callbacks=[Throughput()], log_every_n_steps=2)
    start = time.perf_counter()
    trainer.fit(Task(), loader(*[VALUES] * 4), ckpt_path=tmp_path / "last.ckpt")
    assert trainer.callback_metrics["train/pairs_per_second"] >= len(VALUES) / (time.perf_counter() - start)


@pytest.mark.parametrize("window", [1, 2])
def test_it_is_logged_at_each_logging_step_whatever_epochs_validations_and_windows_there_are(window, tmp_path):
    """Epochs of 4 batches, validated after the second of each for 0.3 s, and logging steps of 3."""

    class Slow(Task):
        def validation_step(self, batch, batch_idx):
            time.sleep(0.3)

        def on_validation_epoch_end(self):
            pass

    options = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "max_steps": 9}
    options |= {"accumulate_grad_batches": window, "val_check_interval": 2, "num_sanity_val_steps": 0}
    logger = CSVLogger(tmp_path)
    trainer = Trainer(logger=logger, callbacks=[Throughput()], log_every_n_steps=3, **options)
    trainer.fit(Slow(), loader(*[VALUES] * 4), loader(VALUES))
    rows = [*csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines())]
    logged = {int(row["step"]): float(row["train/pairs_per_second"]) for row in rows if row["train/loss"]}
    assert logged.keys() == {2, 5, 8}
    assert min(logged.values()) > 3 * window * len(VALUES) / 0.3
