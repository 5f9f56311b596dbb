"""A run that goes on trains as its recipe says: its optimiser and schedule may have other constants than before."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from pgpis.errors import PgpisError, check_range, first_line
from pgpis.tasks.checkpoints import OTHER_RECIPE
from pgpis.tasks.epochs import EpochFactor

log = logging.getLogger(__name__)

CONSTANTS = "constants"
"""In a checkpoint: what the recipe said of optimiser and schedule, as text by name."""
OPTIMIZER = "optimizer"
COMPUTED = {"params", "initial_lr", "base_lrs", "lr_lambdas", "_last_lr"}
"""What optimisers and schedules hold that follows from the rest, from the data or from the weights."""
MOST_STEPS = 10**7
LONGEST = 80


def constants_of(optimizer: Optimizer, scheduler: Any) -> dict[str, str]:
    """Return the constants of a new optimiser and its schedule, by name."""
    values = {**optimizer.param_groups[0], **scheduler.state_dict(), **optimizer.defaults}
    for factor in scheduler.lr_lambdas if isinstance(scheduler, LambdaLR) else ():
        values |= factor.constants if isinstance(factor, EpochFactor) else {}
    texts = {name: repr(value) for name, value in values.items() if name not in COMPUTED}
    texts = {name: text for name, text in texts.items() if " at 0x" not in text}  # another in every process
    return {OPTIMIZER: type(optimizer).__name__, "schedule": type(scheduler).__name__, **texts}


def take_constants(checkpoint: dict[str, Any], optimizer: Optimizer, scheduler: Any) -> None:
    """Put today's constants of optimiser and schedule into a checkpoint, whose own are left alone where none changed.

    A schedule that changed is taken to the step that training has come to; one that counts validations begins anew.

    Args:
        checkpoint: What is to be loaded; it is changed.
        optimizer: A new one, which is not to be used afterwards.
        scheduler: Its schedule, likewise.

    Raises:
        PgpisError: It was trained with another optimiser, or today's schedule has no such step.
    """
    recorded, own = checkpoint.get(CONSTANTS), constants_of(optimizer, scheduler)
    if not isinstance(recorded, dict):  # earlier versions noted none
        return
    before = {name: str(recorded[name])[:LONGEST] for name in own if str(recorded.get(name, own[name])) != own[name]}
    if OPTIMIZER in before:
        message = f"it was trained with another optimiser than {own[OPTIMIZER]}: {before[OPTIMIZER]}"
        raise PgpisError(message, hint=OTHER_RECIPE)
    if not before:
        return
    changes = ", ".join(f"{name} {own[name][:LONGEST]} (before: {text})" for name, text in before.items())
    log.info("from step %s on with today's %s", checkpoint.get("global_step"), changes)
    keys = set(before)
    if not keys <= optimizer.defaults.keys() - {"lr"}:
        keys = optimizer.param_groups[0].keys() - {"params"}
        _advance(scheduler, checkpoint)
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        group.update({key: optimizer.param_groups[0][key] for key in keys})


def _advance(scheduler: Any, checkpoint: dict[str, Any]) -> None:
    steps: Any = checkpoint.get("global_step")
    try:
        check_range("global_step", steps, 0, MOST_STEPS, whole=True)
        (stored,) = checkpoint["lr_schedulers"]
        if isinstance(scheduler, LambdaLR):  # where in its epochs a run is that has gone on before
            for factor, counted in zip(scheduler.lr_lambdas, stored.get("lr_lambdas") or (), strict=False):
                vars(factor).update(counted or {})
        with warnings.catch_warnings(action="ignore"):  # of a schedule that is ahead of its optimiser
            for _ in range(0 if isinstance(scheduler, ReduceLROnPlateau) else steps):
                scheduler.step()
    except Exception as error:  # a schedule of anybody's, and whatever a foreign file holds
        message = f"today's {type(scheduler).__name__} cannot go on after {steps} steps: {first_line(error)}"
        raise PgpisError(message, hint=OTHER_RECIPE) from error
    checkpoint["lr_schedulers"] = [scheduler.state_dict()]
