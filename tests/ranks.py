"""Two processes of one group that do what tests ask: started once for all tests that need two."""

import contextlib
import os
import sys
import traceback
from pathlib import Path

from forked import FORKING, process


class Ranks:
    """Two ranks, with the environment that Lightning gives to those it starts."""

    def __init__(self, folder):
        self.folder = folder
        self.processes, self.pipes = [], []
        for rank in range(2):
            pipe, other = FORKING.Pipe()
            words = rank, folder / "rendezvous", other
            self.processes.append(process(_serve, *words, log=folder / f"{rank}.log", LOCAL_RANK=str(rank)))
            self.pipes.append(pipe)
            other.close()

    def __call__(self, work, *arguments):
        """Call a function of a module in both, in the working directory; return what each returns."""
        for pipe in self.pipes:
            pipe.send((work, arguments, Path.cwd()))
        answers = [pipe.recv() for pipe in self.pipes]
        failed = [answer for answer, is_value in answers if not is_value]
        assert not failed, "\n".join(failed)
        return [answer for answer, _ in answers]

    def said(self):
        """Return what the first one has written so far."""
        return (self.folder / "0.log").read_text()

    def close(self):
        for pipe in self.pipes:
            pipe.close()
        for each in self.processes:
            each.join(30)
            each.kill()
            each.join()


def join(rank, meeting):
    """Be one of two, which meet at a file that only they know."""
    import torch.distributed as dist
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    rank_zero_only.rank = rank  # it was read from the environment of the process that loaded Lightning
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)


def _serve(rank, meeting, pipe):
    """Do what is asked until nobody can ask any more."""
    import torch.distributed as dist

    join(rank, meeting)
    with contextlib.suppress(EOFError):
        while True:
            work, arguments, place = pipe.recv()
            os.chdir(place)
            try:
                answer = work(*arguments), True
            except BaseException:  # noqa: BLE001  the test tells it
                answer = traceback.format_exc(), False
            sys.stdout.flush()
            pipe.send(answer)
    dist.destroy_process_group()
