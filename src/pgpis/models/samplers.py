"""Which schedulers of diffusers can take part in the sampling loop, and with how many steps."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers import SchedulerMixin
from torch._subclasses.fake_tensor import unset_fake_temporarily

from pgpis.errors import PgpisError, check_range, first_line
from pgpis.pictures.decoding import warn_once

LEVELS = 1000
"""Noise levels of a scheduler whose configuration does not say."""
LEAST_LEVEL = 0.9
"""Share of the noise levels below which a first step is far from the pure noise that sampling starts from."""
FEW_STEPS = 10
"""Below so many steps, ``leading`` ones cannot begin above :data:`LEAST_LEVEL`."""
UNFIT = (ValueError, IndexError, TypeError, NotImplementedError)
"""What schedulers raise where a number of steps is not for them."""
STEP = {"self", "model_output", "timestep", "sample"}
"""What the loop gives ``step``."""


def check_sampler(sampler: type[SchedulerMixin]) -> None:
    """Refuse a class of schedulers that the sampling loop cannot run, or that adds noise instead of taking it away.

    Raises:
        PgpisError: Names the class.
    """
    parameters = inspect.signature(sampler.step).parameters.items() if hasattr(sampler, "step") else ()
    more = [name for name, entry in parameters if entry.default is entry.empty and name not in STEP]
    lacking = [name for name in ("step", "scale_model_input", "set_timesteps") if not hasattr(sampler, name)]
    reason = (
        "it leads from pictures to noise" if "Inverse" in sampler.__name__
        else f"its step() asks for {more[0]}" if more
        else f"it has no {lacking[0]}()" if lacking
        else None
    )  # fmt: skip
    if reason:
        message = f"scheduler: {sampler.__name__} cannot draw pictures here: {reason}"
        raise PgpisError(message, hint="one that can, such as DDIMScheduler or DPMSolverMultistepScheduler")


def predicted_as_trained(trained: SchedulerMixin, spec: Mapping[str, Any]) -> str | None:
    """Return what a denoiser predicts, as the scheduler says that it comes with.

    Raises:
        PgpisError: ``spec``, settings of another scheduler, say otherwise.
    """
    predicted: str | None = trained.config.get("prediction_type")
    if predicted and (other := spec.get("prediction_type", predicted)) != predicted:
        message = f"scheduler: prediction_type is {other}, and this model was trained to predict {predicted}"
        raise PgpisError(message, hint="leave it out")
    return predicted


def check_steps(sampler: SchedulerMixin, steps: object) -> None:
    """Refuse numbers of steps with which a scheduler fails, or does not begin near pure noise.

    That includes all numbers, where its time steps are no noise levels. It stays as it is.

    Raises:
        PgpisError: Names the number, and numbers or settings that go.
    """
    check_sampler(type(sampler))
    name, levels = type(sampler).__name__, sampler.config.get("num_train_timesteps", LEVELS)
    check_range("num_inference_steps", steps, 1, levels, whole=True)
    number = int(steps)  # type: ignore[call-overload]
    try:
        first = _first_level(sampler, number)
    except UNFIT as error:
        message = f"num_inference_steps is {number}, with which {name} does not go: {first_line(error)}"
        raise PgpisError(message, hint="fewer --steps, or another sampling.scheduler") from error
    least = LEAST_LEVEL * levels
    if least <= first < levels:
        return
    message = (
        f"num_inference_steps is {number}, with which {name} begins at noise level {first:g} of 0 to {levels - 1}, "
        "though the picture begins as pure noise"
    )
    has_spacing = "timestep_spacing" in inspect.signature(type(sampler).__init__).parameters
    if number < FEW_STEPS and first < levels and has_spacing:
        warn_once(f"{message}; sampling.scheduler: {{timestep_spacing: trailing}} begins at the last")
        return
    fewer = (other for other in range(number - 1, 0, -1) if least <= _first_level(sampler, other) < levels)
    setting = "sampling.scheduler: {timestep_spacing: trailing}" if has_spacing else "another sampling.scheduler"
    raise PgpisError(message, hint=f"--steps {found}, or {setting}" if (found := next(fewer, None)) else setting)


def _first_level(sampler: SchedulerMixin, steps: int) -> float:
    with unset_fake_temporarily():  # pgpis bench memory builds pipelines of tensors that have no values
        trial = type(sampler).from_config(sampler.config)
        trial.set_timesteps(steps)
        return float(trial.timesteps.max())
