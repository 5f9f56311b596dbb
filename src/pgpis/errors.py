"""The one exception that reaches the user as a message instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


class PgpisError(Exception):
    """Bad input or a wrong option, told so that the user can mend it.

    Args:
        message: Names the file or option and says what was expected.
        hint: The command or change that mends it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint


def refuse_if_all_fail(attempt: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Try items until one succeeds.

    Raises:
        PgpisError: None does; the first one's.
    """

    def reason(item: Item) -> PgpisError | None:
        try:
            attempt(item)
        except PgpisError as error:
            return error
        except Exception:  # noqa: BLE001  libraries raise anything on odd files, which the item's own reading will tell
            return None
        return None

    reasons = map(reason, items)
    first = next(reasons, None)
    if first is not None and all(reasons):
        raise first


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the valid name closest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
