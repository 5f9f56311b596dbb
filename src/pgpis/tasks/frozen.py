"""Frozen parts stay out of checkpoints: hooks of the state dict, and the refusal of checkpoints that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pgpis.errors import PgpisError
from pgpis.tasks.checkpoints import OTHER_RECIPE


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
    """Refuse trained weights whose names or shapes are not those of the model.

    Raises:
        PgpisError: Names the first that does not fit.
    """
    for name in sorted(own.keys() | weights.keys()):
        mine, stored = own.get(name), weights.get(name)
        if mine is None or not isinstance(stored, torch.Tensor) or mine.shape != stored.shape:
            shapes = [list(value.shape) if isinstance(value, torch.Tensor) else "none" for value in (stored, mine)]
            message = f"the checkpoint is another model's: '{name}' is {shapes[0]} there and {shapes[1]} here"
            raise PgpisError(message, hint=OTHER_RECIPE)
