"""The one exception that reaches the user as a message instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PgpisError(Exception):
    """Bad input or a wrong option, told so that the user can mend it.

    Args:
        message: Names the file or option and says what was expected.
        hint: The command or change that mends it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the valid name closest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
