"""Two processes of one group that do what tests ask: started once, because each start loads torch anew."""

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path


class Ranks:
    """Two ranks, with the environment that Lightning gives to those it starts."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        for rank in range(2):
            environment = {**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": os.pathsep.join(sys.path)}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with (folder / f"{rank}.log").open("w") as log:
                words = [sys.executable, __file__, str(rank), str(folder)]
                self.processes.append(subprocess.Popen(words, env=environment, stderr=log, **pipes))

    def __call__(self, work, *arguments):
        """Call a function of a module in both, in the working directory; return what each returns."""
        for process in self.processes:
            pickle.dump((work, arguments, Path.cwd()), process.stdin)
            process.stdin.flush()
        answers = [pickle.load(process.stdout) for process in self.processes]
        failed = [answer for answer, is_value in answers if not is_value]
        assert not failed, "\n".join(failed)
        return [answer for answer, _ in answers]

    def said(self):
        """Return what the first one has written so far."""
        return (self.folder / "0.log").read_text()

    def close(self):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def serve(rank, folder):
    """Do what is asked until nobody can ask any more."""
    import torch.distributed as dist

    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed goes to the log
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    with contextlib.suppress(EOFError):
        while True:
            work, arguments, place = pickle.load(requests)
            os.chdir(place)
            try:
                answer = work(*arguments), True
            except BaseException:  # noqa: BLE001  the test tells it
                answer = traceback.format_exc(), False
            pickle.dump(answer, answers)
            answers.flush()
    dist.destroy_process_group()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
