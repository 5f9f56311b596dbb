"""Pairs per second, also of a run that goes on in the middle of an epoch."""

import time

from lightning.pytorch.callbacks import ModelCheckpoint
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
