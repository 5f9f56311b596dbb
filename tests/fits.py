"""``pgpis fit`` on one or two ranks that can be killed."""

import contextlib
import sys
import time
from pathlib import Path

from lightning.pytorch import Callback

from forked import kill, process
from ranks import join

TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]


class Seen(Callback):
    """Notes the pairs of each step, of which a killed run leaves a line or none."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Add a line to the file of this rank: step, epoch and positions of its pairs."""
        numbers = [trainer.global_step, trainer.current_epoch, *batch["index"].tolist()]
        with (Path(trainer.default_root_dir) / f"seen-{trainer.global_rank}.txt").open("a") as file:
            file.write(" ".join(map(str, numbers)) + "\n")


def seen(folder, epoch, first=1, last=sys.maxsize):
    """Return the positions of the pairs that all ranks saw in some steps of an epoch."""
    lines = [line.split() for path in folder.glob("seen-*.txt") for line in path.read_text().splitlines()]
    rows = [[*map(int, line)] for line in lines]
    return [place for step, own, *places in rows if first <= step <= last and own == epoch for place in places]


def fit(words, folder, ranks=1, kill_after=None):
    """Train by the words of a command; killed, with its workers, after so many steps.

    ``folder`` is where it writes.
    """
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{time.monotonic_ns()}"
    words = [*words, *(TWO if ranks == 2 else ["--trainer.devices=1"])]
    logs = [folder / f"{meeting.name}-{rank}.log" for rank in range(ranks)]
    processes = [
        process(_rank, rank, ranks, meeting, words, log=log, **({"LOCAL_RANK": str(rank)} if ranks == 2 else {}))
        for rank, log in enumerate(logs)
    ]
    try:
        while any(each.is_alive() for each in processes):
            if kill_after and _steps(folder) >= kill_after:
                return
            assert not any(each.exitcode for each in processes), logs[0].read_text()
            time.sleep(0.02)
        assert not any(each.exitcode for each in processes), logs[0].read_text()
        assert not kill_after, "it was not killed"
    finally:
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                kill(each)  # and its workers
            each.kill()
            each.join()


def _steps(folder):
    """Return after which step the newest checkpoint was written."""
    names = [path.stem for path in (folder / "checkpoints").glob("*step=*.ckpt")]
    return max((int(name.rpartition("step=")[2]) for name in names), default=0)


def _rank(rank, ranks, meeting, words):
    """Be one of the ranks, with the environment that Lightning gives to those it starts."""
    from pgpis.cli import main

    if ranks > 1:
        join(rank, meeting)
    sys.exit(main(words))
