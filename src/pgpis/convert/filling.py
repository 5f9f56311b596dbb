"""Converted weights into modules, strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from pgpis.convert.architecture import Shapes
from pgpis.errors import PgpisError
from pgpis.models.foreign import building
from pgpis.models.loading import check_finite
from pgpis.models.stored import refuse_integers

Module = TypeVar("Module", bound=nn.Module)

SIZES_HINT = "if the model is not of the published size, describe it with --config or --base"


@contextmanager
def building_part(part: str, hint: str = SIZES_HINT) -> Iterator[None]:
    """Turn whatever building a part from its configuration raises into one error, with ``hint`` if it has none.

    Raises:
        PgpisError: The configuration describes no such part.
    """
    try:
        with building(f"{part}: its configuration"):
            yield
    except PgpisError as error:
        raise PgpisError(error.message, hint=error.hint or hint) from error


def build_empty(part: str, build: Callable[[], Module], hint: str = SIZES_HINT) -> Module:
    """Build a part whose tensors have no values, as :func:`building_part` says."""
    with torch.device("meta"), building_part(part, hint):
        return build()


def fill_module(part: str, module: nn.Module, weights: Mapping[str, torch.Tensor], hint: str = SIZES_HINT) -> None:
    """Put weights into a module that was built without any.

    Raises:
        PgpisError: A tensor is missing, left over, has another shape, or holds integers or numbers that are not finite.
    """
    expected, present = shapes_of(module.state_dict()), shapes_of(weights)
    problems = [f"lacks '{name}'" for name in expected if name not in present]
    problems += [f"has a tensor too many, '{name}'" for name in present if name not in expected]
    problems += [
        f"has '{name}' as {present[name]} instead of {shape}"
        for name, shape in expected.items()
        if present.get(name, shape) != shape
    ]
    if problems:
        more = f" ({len(problems)} such differences)" if len(problems) > 1 else ""
        raise PgpisError(f"{part}: the checkpoint {problems[0]}{more}", hint=hint)
    refuse_integers(module, weights, part)
    module.load_state_dict(weights, strict=True, assign=True)
    check_finite(part, weights)
    module.eval()


def shapes_of(weights: Mapping[str, torch.Tensor]) -> Shapes:
    """Return the shapes of tensors by name."""
    return {name: tuple(value.shape) for name, value in weights.items()}


def as_float32(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights with all floating point numbers in float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
