"""What a call of any pipeline takes and returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, cast

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from numpy.typing import NDArray
from PIL import Image

from pgpis.errors import PgpisError, nearest

CallableT = TypeVar("CallableT", bound=Callable[..., Any])

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None
OutputType: TypeAlias = Literal["pil", "np", "pt", "latent"]
Images: TypeAlias = list[Image.Image] | NDArray[np.float32] | torch.Tensor
"""Pictures for "pil"; ``(R, H, W, 3)`` in [0, 1] for "np"; ``(R, 3, H, W)`` in [-1, 1] for "pt"; scaled latents
``(R, C, h, w)`` for "latent"."""
StepCallback: TypeAlias = Callable[[Any, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]
"""From pipeline, number of the step, time step and tensors by name to those that it replaces; None: nothing."""


class SamplingOptions(TypedDict, total=False):
    """What a call of any pipeline takes beside its pictures, their size and the guidance."""

    num_inference_steps: int | None
    """Denoising steps; None: the pipeline's own."""
    num_images_per_pair: int
    """Results n per pair; results are ordered ``b0, b1, .., b0, b1, ..``."""
    generator: Generators
    """One generator for all; or one per pair or per result, so that a result does not depend on the rest of the
    batch."""
    latents: torch.Tensor | None
    """Standard normal start ``(n * B, C, H / 8, W / 8)``; drawn if None."""
    output_type: OutputType
    """"pil", "np" ((R, H, W, 3) in [0, 1]), "pt" (tensor in [-1, 1]) or "latent"."""
    guidance_band: tuple[float, float] | None
    """Noise levels with guidance, as shares of the training's time steps: (0.2, 0.8) guides where the step is between a
    fifth and four fifths of them; outside, the conditional branch runs alone. None: all have guidance. Source:
    Kynkäänniemi et al. 2024."""
    deep_cache: int | None
    """Every so many steps the whole denoiser runs, else its outermost blocks alone, on the deep features of the last
    whole step; None: in each. Source: Ma et al. 2024."""
    anchors: torch.Tensor | None
    """Which K of the B pairs each one's self-attention reads at the same step, beside its own cells: int64 ``(B, K)``,
    as the first frame of a video by the others. None: of no other."""
    cache_keys_values: bool
    """Compute the tokens' keys and values once; False recomputes them at each step, where the method allows it."""
    callback_on_step_end: StepCallback | None
    """Called as ``callback(pipeline, step, timestep, tensors)``; ``latents`` in what it returns replace the current
    ones, None leaves them, and ``pipeline._interrupt = True`` ends the denoising. Or a ``PipelineCallback`` of
    diffusers."""
    callback_on_step_end_tensor_inputs: Sequence[str] | None
    """What ``tensors`` holds: ``latents``, or nothing."""
    return_dict: bool
    """False returns a tuple instead."""


def check_anchors(anchors: object, pairs: int) -> None:
    """Refuse what does not name K of the pairs for each pair.

    Raises:
        PgpisError: Says what was expected.
    """
    if anchors is None:
        return
    if not isinstance(anchors, torch.Tensor) or anchors.dtype != torch.int64 or anchors.shape[:-1] != (pairs,):
        raise PgpisError(f"anchors are not whole numbers of pairs, expected an int64 tensor ({pairs}, K)")
    if anchors.numel() and not 0 <= anchors.min() <= anchors.max() < pairs:
        raise PgpisError(f"anchors name pairs up to {int(anchors.max())}, expected 0 to {pairs - 1}")


def callback_inputs(callback: object, names: object, known: Sequence[str]) -> list[str]:
    """Return the names of the tensors that a callback is given at the end of a step.

    Args:
        callback: None: nothing is called.
        names: One name, several, or None for none; a callback of diffusers names its own.
        known: What there is to give.

    Raises:
        PgpisError: The callback cannot be called, or asks for something else.
    """
    if callback is not None and not callable(callback):
        raise PgpisError(f"callback_on_step_end is {type(callback).__name__}, expected a function or None")
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        names = callback.tensor_inputs
    several = isinstance(names, Iterable) and not isinstance(names, str)
    asked: list[Any] = [] if names is None else [*names] if several else [names]  # type: ignore[misc]
    if unknown := [name for name in asked if name not in known]:
        raise PgpisError(
            f"callback_on_step_end_tensor_inputs: a callback gets no {unknown[0]!r}, expected one of "
            f"{', '.join(map(repr, known))}"
        )
    return asked


def replaced_latents(returned: object, latents: torch.Tensor) -> torch.Tensor:
    """Return the latents that a callback returned, or those that there are.

    Raises:
        PgpisError: It returned something else than latents by name or None, or latents that are of another shape or
            no floating point numbers.
    """
    if returned is None:
        return latents
    if not isinstance(returned, Mapping):
        got = type(returned).__name__
    elif others := [name for name in returned if name != "latents"]:
        got = repr(others[0])
    else:
        new = returned.get("latents", latents)
        if isinstance(new, torch.Tensor) and new.shape == latents.shape and new.is_floating_point():
            return new
        kind = f"{new.dtype} of shape {tuple(new.shape)}" if isinstance(new, torch.Tensor) else type(new).__name__
        got = f"latents that are {kind}"
    expected = f"None or {{'latents': a tensor of floating point numbers of shape {tuple(latents.shape)}}}"
    raise PgpisError(f"callback_on_step_end returned {got}, expected {expected}")


def shows_options_of(other: Callable[..., Any]) -> Callable[[CallableT], CallableT]:
    """Put the keyword arguments of another function, to which ``**options`` are passed on, into a method's signature.

    A call with any other is a ``PgpisError`` that names the nearest.
    """

    def decorate(function: CallableT) -> CallableT:
        signature = inspect.signature(function)
        own = {name: entry for name, entry in signature.parameters.items() if entry.kind is not entry.VAR_KEYWORD}
        passed = inspect.signature(other).parameters.items()
        more = [entry for name, entry in passed if entry.kind is entry.KEYWORD_ONLY and name not in own]
        names = [*own, *(entry.name for entry in more)]

        @functools.wraps(function)
        def checked(self: Any, *arguments: Any, **options: Any) -> Any:
            for name in options:
                if name not in names:
                    raise PgpisError(f"{type(self).__name__} takes no argument '{name}'{nearest(name, names[1:])}")
            return function(self, *arguments, **options)

        checked.__signature__ = signature.replace(parameters=[*own.values(), *more])  # type: ignore[attr-defined]
        return cast("CallableT", checked)

    return decorate


def per_row(generator: Generators, pairs: int, num_images: int) -> Generators:
    """Give each of the tiled results its generator; a pair's results draw from the pair's own one after another."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    if not isinstance(generator, list) or not all(isinstance(entry, torch.Generator) for entry in generator):
        raise PgpisError(f"generator is {type(generator).__name__}, expected a torch.Generator or a list of them")
    if len(generator) not in (pairs, pairs * num_images):
        raise PgpisError(f"got {len(generator)} generators, expected one, {pairs} or {pairs * num_images}")
    return generator * num_images if len(generator) == pairs else generator
