"""A schedule for a machine that is rented by the minute: the learning rate comes to zero when the time is up."""

from __future__ import annotations

import math
import time

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pgpis.errors import check_range


class CosineUntil(LambdaLR):
    """Half a cosine over a time, after a linear warm-up; give ``trainer.max_time`` the same time.

    How many steps fit into the time depends on the machine, so a run cannot be repeated to the bit. One that goes on
    from a checkpoint has all the time again; ``trainer.max_time`` counts what it took before as well, so add that.

    Args:
        optimizer: Whose learning rate changes.
        seconds: From the first step to a learning rate of zero.
        warmup: Steps of the warm-up.
    """

    def __init__(self, optimizer: Optimizer, seconds: float, warmup: int = 200) -> None:
        check_range("seconds", seconds, 0)
        check_range("warmup", warmup, 0, whole=True)
        started: list[float] = []

        def factor(step: int) -> float:
            if not step:  # asked before training
                return 1 / (warmup + 1)
            if not started:
                started.append(time.monotonic())
            share = min(1.0, (time.monotonic() - started[0]) / seconds) if seconds else 1.0
            return min(1.0, (step + 1) / (warmup + 1)) * (1 + math.cos(math.pi * share)) / 2

        super().__init__(optimizer, factor)
