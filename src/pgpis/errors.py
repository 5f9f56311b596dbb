"""The one exception that reaches the user as a message instead of a traceback."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
HINT = "\n  hint: "
"""Between message and hint in the text of an error."""


class PgpisError(Exception):
    """Bad input or a wrong option, phrased so that the user can fix it.

    Args:
        message: Names the file or option and says what was expected.
        hint: The command or change that mends it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}{HINT}{hint}")
        self.message = message
        self.hint = hint


def error_of(*texts: str, hint: str | None = None) -> PgpisError:
    """Return the error that says the texts of others, their hints told apart from their messages.

    Args:
        texts: As ``str`` gives them.
        hint: A further one.
    """
    parts = [text.partition(HINT) for text in texts]
    hints = dict.fromkeys([*(own for *_, own in parts), hint])
    return PgpisError("; ".join(message for message, *_ in parts), hint="; ".join(filter(None, hints)) or None)


@contextmanager
def hinting(further: str | None) -> Iterator[None]:
    """Add a hint to what a block refuses; None: add nothing."""
    try:
        yield
    except PgpisError as error:
        if further is None:
            raise
        raise error_of(str(error), hint=further) from error


def manual(*pages: str) -> str:
    """Name pages of the documentation in a message: without a path, since a wheel does not hold them."""
    return f"the documentation's page{'s' if len(pages) > 1 else ''} {' and '.join(pages)}"


def refuse_if_all_fail(attempt: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Try items until one succeeds.

    Raises:
        PgpisError: None does; the first one's.
    """
    first: PgpisError | None = None
    for item in items:
        try:
            attempt(item)
        except PgpisError as error:
            first = first or error
        except Exception:  # noqa: BLE001  libraries raise anything on odd files, which the item's own reading will tell
            return
        else:
            return
    if first is not None:
        raise first


class NotFiniteError(PgpisError):
    """Rows of a batch came out as numbers that are not finite; as 8 bit they would be black pictures without a word.

    Args:
        rows: The rows concerned.
        images: The whole batch as it came out, for a caller who goes on with the other rows.
        dtype: Name of the type that it was computed in.
        cause: What is to blame where float16 is not.
    """

    def __init__(self, rows: Sequence[int], images: Sized, dtype: str, cause: str) -> None:
        which = "" if len(images) == 1 else f" of the results {', '.join(map(str, rows))} (of 0 to {len(images) - 1})"
        if dtype == "float16":
            cause = "float16 ends at 65504: use bfloat16 or float32 (dtype, or --trainer.precision)"
        super().__init__(f"the numbers{which} are not finite in {dtype}", hint=cause)
        self.reason = f"the picture's numbers are not finite in {dtype}: {cause}"
        self.rows = rows
        self.images: Any = images


def check_range(
    name: str,
    value: object,
    least: float,
    most: float = math.inf,
    *,
    whole: bool = False,
    optional: bool = False,
    above: bool = False,
    hint: str | None = None,
) -> None:
    """Refuse an option that is not a finite number in ``[least, most]``.

    Args:
        name: The option, as the user spells it.
        value: What it was set to.
        least: Smallest value allowed.
        most: Largest value allowed.
        whole: Whether it must be a whole number.
        optional: Whether None is allowed too.
        above: Whether ``least`` itself is not allowed.
        hint: What mends it.

    Raises:
        PgpisError: Names the option, its value and what was expected.
    """
    kind = numbers.Integral if whole else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if (optional and value is None) or (
        is_number and least <= value <= most and value < math.inf and not (above and value == least)  # type: ignore[operator]
    ):
        return
    expected = "a whole number" if whole else "a number"
    expected += f" from {least} to {most}" if most < math.inf else f" {'above' if above else 'of at least'} {least}"
    raise PgpisError(f"{name} is {value!r}, expected {expected}", hint=hint)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the valid name closest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"; did you mean '{match[0]}'?" if match else ""


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or the name of its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
