"""What is asked for by name. Programs call the endpoints too, so that anything may stand where the page has a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pgpis.errors import PgpisError, nearest


def one_of(value: Any, valid: Iterable[str], what: str) -> str:
    """Return what is chosen.

    Args:
        value: As it was sent.
        valid: What may be chosen.
        what: It is called.

    Raises:
        PgpisError: There is none of this name.
    """
    names = list(valid)
    if value not in names:
        raise PgpisError(f"there is no {what} '{value}'{nearest(str(value), names)}")
    return str(value)


def some_of(values: Any, valid: Iterable[str], what: str) -> list[str]:
    """Return all that are chosen; arguments as in :func:`one_of`.

    Raises:
        PgpisError: None is chosen, there is none of a name, or one is chosen twice.
    """
    names = list(valid)
    chosen = [one_of(value, names, what) for value in list_of(values, what)]
    for name in names:
        if chosen.count(name) > 1:
            raise PgpisError(f"the {what} '{name}' is chosen twice")
    return chosen


def list_of(values: Any, what: str) -> Sequence[Any]:
    """Return what was sent as a list.

    Raises:
        PgpisError: It is none, or empty.
    """
    if not isinstance(values, list) or not values:
        raise PgpisError(f"no {what} is chosen")
    return values
