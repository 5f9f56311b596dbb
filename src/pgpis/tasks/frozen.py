"""Frozen parts stay out of checkpoints: hooks of the state dict, and the refusal of checkpoints that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pgpis.errors import PgpisError, first_line
from pgpis.tasks.checkpoints import OTHER_RECIPE

BY_WEIGHT = ("acc_delta", "exp_avg", "exp_avg_sq", "exp_inf", "max_exp_avg_sq", "momentum_buffer", "square_avg", "sum")
"""What torch's optimisers keep in the shape of each weight."""


def drop_frozen(task: Any, state_dict: dict[str, Any], prefix: str, _metadata: object) -> None:
    """Leave the frozen parts of a task out of its state dict."""
    for name in task.frozen:
        for key in [key for key in state_dict if key.startswith(f"{prefix}{name}.")]:
            del state_dict[key]


def keep_frozen(task: Any, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Put a task's own frozen parts into a state dict that is to be loaded.

    Raises:
        PgpisError: It holds weights of one.
    """
    for name in task.frozen:
        if (foreign := next((key for key in state_dict if key.startswith(f"{prefix}{name}.")), None)) is not None:
            raise PgpisError(f"'{foreign}' is among the trained weights, but '{name}' is frozen: its weights are fixed")
        for key, value in task.get_submodule(name).state_dict().items():
            state_dict[f"{prefix}{name}.{key}"] = value


def refuse_other_frozen(recorded: Mapping[str, object], present: Mapping[str, str]) -> None:
    """Refuse trained weights that belong to other frozen parts than those that are here, by name and sha256.

    Raises:
        PgpisError: Names the first part that differs, or that only one side has.
    """
    for name in sorted(recorded.keys() | present.keys()):
        there, here = str(recorded.get(name))[:12], str(present.get(name))[:12]
        if name not in present:
            message = f"the checkpoint was trained on a frozen '{name}' (sha256 {there}), and this model has none"
            raise PgpisError(message, hint=OTHER_RECIPE)
        if name not in recorded:
            message = f"the checkpoint has no frozen '{name}', and this model has one (sha256 {here})"
            raise PgpisError(message, hint=OTHER_RECIPE)
        if recorded[name] != present[name]:
            message = f"the checkpoint was trained with another '{name}' (sha256 {there}, here {here})"
            raise PgpisError(message, hint=f"--model.init_args.{name}: the weights used in training")


def refuse_other_weights(weights: Mapping[str, object], own: Mapping[str, torch.Tensor]) -> None:
    """Refuse trained weights whose names, shapes or kinds of numbers are not those of the model.

    Raises:
        PgpisError: Names the first that does not fit.
    """
    for name in sorted(own.keys() | weights.keys()):
        stored, mine = _described(weights.get(name)), _described(own.get(name))
        if stored != mine:
            message = f"the checkpoint is another model's: '{name}' is {stored} there and {mine} here"
            raise PgpisError(message, hint=OTHER_RECIPE)


def refuse_other_optimizer(
    states: Sequence[Any], optimizer: torch.optim.Optimizer, weights: Mapping[str, torch.Tensor]
) -> None:
    """Refuse an optimiser's state that is of another optimiser or other weights: it would fail at the first step.

    Args:
        states: What a checkpoint holds, of one optimiser.
        optimizer: A new one over what is trained; it is not to be used afterwards.
        weights: The weights by name, for messages.

    Raises:
        PgpisError: Names the first thing that does not fit.
    """
    keys = [group.keys() - {"params"} for group in optimizer.param_groups]
    try:
        (stored,) = states
        state = {**stored["state"]}
        numbers = [number for group in stored["param_groups"] for number in group["params"]]
        optimizer.load_state_dict({"state": {}, "param_groups": stored["param_groups"]})
    except Exception as error:  # whatever a foreign file holds there
        message = f"its optimiser's state does not fit: {first_line(error)}"
        raise PgpisError(message, hint=OTHER_RECIPE) from error
    for own, group in zip(keys, optimizer.param_groups, strict=True):
        if lacking := sorted(own - group.keys()):
            kind = type(optimizer).__name__
            raise PgpisError(f"it was trained with another optimiser than {kind}: no {lacking[0]}", hint=OTHER_RECIPE)
    names = {id(weight): name for name, weight in weights.items()}
    trained = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, weight in zip(numbers, trained, strict=True):
        for key, value in {**state.get(number, {})}.items():
            if key in BY_WEIGHT and _described(value) != _described(weight):
                raise PgpisError(
                    f"its optimiser's state does not fit: {key} of '{names[id(weight)]}' is {_described(value)} there "
                    f"and {_described(weight)} here",
                    hint=OTHER_RECIPE,
                )


def _described(value: object) -> str:
    """Return the shape of a tensor, and that it holds no floating-point numbers; else "none"."""
    if not isinstance(value, torch.Tensor):
        return "none"
    return f"{list(value.shape)}" + ("" if value.is_floating_point() else " of integers")
