"""``pgpis fit`` on one or two ranks that can be killed: forked from a process that has loaded torch once for all."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from lightning.pytorch import Callback

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["pgpis.cli.lightning", "pgpis.tasks"])
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
    processes = [FORKING.Process(target=_rank, args=(rank, ranks, meeting, words)) for rank in range(ranks)]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            if kill_after and _steps(folder) >= kill_after:
                return
            assert not any(process.exitcode for process in processes), (folder / f"{meeting.name}-0.log").read_text()
            time.sleep(0.02)
        assert not any(process.exitcode for process in processes), (folder / f"{meeting.name}-0.log").read_text()
        assert not kill_after, "it was not killed"
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()


def _steps(folder):
    """Return after which step the newest checkpoint was written."""
    names = [path.stem for path in (folder / "checkpoints").glob("*step=*.ckpt")]
    return max((int(name.rpartition("step=")[2]) for name in names), default=0)


def _rank(rank, ranks, meeting, words):
    """Be one of the ranks, with the environment that Lightning gives to those it starts."""
    import torch.distributed as dist

    from pgpis.cli import main

    os.setsid()  # workers die with it
    log = os.open(f"{meeting}-{rank}.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if ranks > 1:
        os.environ["LOCAL_RANK"] = str(rank)
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=ranks)
    sys.exit(main(words))
