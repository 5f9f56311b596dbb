"""Folders below the user's home, which some users do not have."""

from __future__ import annotations

from pathlib import Path

from pgpis.errors import PgpisError


def below_home(path: str, instead: str) -> Path:
    """Return a path that may begin with ``~``.

    Args:
        path: It.
        instead: What else says where, for messages.

    Raises:
        PgpisError: The user has no home folder, as in some containers.
    """
    found = below_any_home(path)
    if found is None:
        hint = f"set $HOME, or {instead}, to a folder that can be written to"
        raise PgpisError(f"{path}: this user has no home folder", hint=hint)
    return found


def below_any_home(path: str) -> Path | None:
    """Return a path that may begin with ``~``; None: the user has no home folder, and nothing lies there."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None
