"""A run that goes on has the constants of its recipe, and is left alone where these are those it had."""

import copy
from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from pgpis.errors import PgpisError
from pgpis.tasks.epochs import EpochFactor
from pgpis.tasks.options import Schedule
from pgpis.tasks.resuming import CONSTANTS, constants_of, take_constants

STEPS = 4


def epochs(optimizer, warmup=5):
    factor = EpochFactor(Schedule(warmup_epochs=warmup))
    factor.steps_per_epoch, factor.ahead = 2, 1
    return LambdaLR(optimizer, factor)


def new(schedule, kind=torch.optim.AdamW, **options):
    optimizer = kind([torch.nn.Parameter(torch.zeros(2))], **{"lr": 0.1} | options)
    return optimizer, schedule(optimizer)


def step(optimizer, scheduler):
    optimizer.step()
    scheduler.step(*[1.0] * isinstance(scheduler, ReduceLROnPlateau))
    return {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}


def stopped(schedule, **options):
    """A checkpoint after some steps."""
    optimizer, scheduler = new(schedule, **options)
    constants = constants_of(optimizer, scheduler)
    for _ in range(STEPS):
        step(optimizer, scheduler)
    states = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [scheduler.state_dict()]}
    return copy.deepcopy({"global_step": STEPS, CONSTANTS: constants, **states})


def resumed(checkpoint, schedule, **options):
    """Optimiser and schedule as Lightning restores them."""
    take_constants(checkpoint, *new(schedule, **options))
    optimizer, scheduler = new(schedule, **options)
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    scheduler.load_state_dict(checkpoint["lr_schedulers"][0])
    return optimizer, scheduler


SCHEDULES = [
    epochs,
    partial(CosineAnnealingLR, T_max=9),
    partial(StepLR, step_size=3),
    partial(OneCycleLR, max_lr=0.3, total_steps=9),
    partial(ReduceLROnPlateau, patience=0),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_whose_recipe_stayed_is_left_alone(schedule):
    checkpoint = stopped(schedule)
    before = copy.deepcopy(checkpoint)
    take_constants(checkpoint, *new(schedule))
    assert repr(checkpoint) == repr(before)
    for noted in (None, 7, {}, {"lr": torch.zeros(3)}):  # of an earlier version, or foreign
        take_constants(stopped(schedule) | {CONSTANTS: noted}, *new(schedule))


@pytest.mark.parametrize("schedule", SCHEDULES[:-1])
@pytest.mark.parametrize("options", [{"lr": 0.001}, {"weight_decay": 0.5}, {"lr": 0.02, "eps": 0.1}], ids=str)
def test_a_recipe_that_changed_counts_from_here(schedule, options):
    optimizer, scheduler = new(schedule, **options)
    expected = [step(optimizer, scheduler) for _ in range(STEPS + 3)]
    restored = resumed(stopped(schedule), schedule, **options)
    assert [step(*restored) for _ in range(3)] == expected[STEPS:]


def test_a_schedule_that_changed_is_taken_to_its_place(caplog):
    caplog.set_level("INFO")
    longer = partial(OneCycleLR, max_lr=0.3, total_steps=20)
    for other in (longer, epochs, SCHEDULES[1]):
        optimizer, scheduler = new(other)
        expected = [step(optimizer, scheduler) for _ in range(9)][STEPS:]
        restored = resumed(stopped(partial(OneCycleLR, max_lr=0.3, total_steps=STEPS)), other)
        assert [step(*restored)["lr"] for _ in expected] == pytest.approx([group["lr"] for group in expected])
    shorter = partial(epochs, warmup=3)
    optimizer, scheduler = new(shorter)
    expected = [step(optimizer, scheduler) for _ in range(9)][STEPS:]
    restored = resumed(stopped(epochs), shorter)
    assert [step(*restored) for _ in expected] == expected
    assert f"from step {STEPS} on with today's warmup_epochs 3 (before: 5)" in caplog.messages
    assert f"from step {STEPS} on with today's total_steps 20 (before: {STEPS})" in caplog.text
    with pytest.raises(PgpisError, match=f"today's OneCycleLR cannot go on after {STEPS} steps: Tried to step"):
        resumed(stopped(longer), partial(OneCycleLR, max_lr=0.3, total_steps=2))


def test_what_counts_validations_keeps_its_rate_unless_another_is_given():
    plateau = SCHEDULES[-1]
    lowered = stopped(plateau)["optimizer_states"][0]["param_groups"][0]["lr"]
    assert lowered < 0.1
    (group,) = resumed(stopped(plateau), plateau, weight_decay=0.5)[0].param_groups
    assert (group["lr"], group["weight_decay"]) == (lowered, 0.5)
    optimizer, scheduler = resumed(stopped(plateau), plateau, lr=0.05)
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert scheduler.num_bad_epochs == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"global_step": 10**12}, "after 1000000000000 steps"),
        ({"global_step": "x"}, "after x steps"),
        ({"lr_schedulers": [7]}, "cannot go on"),
        ({"lr_schedulers": [{"lr_lambdas": [{"steps_per_epoch": "x"}]}]}, "cannot go on"),
        ({CONSTANTS: {"optimizer": "Adam"}}, "trained with another optimiser than AdamW: Adam"),
    ],
)
def test_what_does_not_fit_is_named(change, expected):
    with pytest.raises(PgpisError, match=expected):
        take_constants(stopped(epochs) | change, *new(epochs, lr=0.01))
