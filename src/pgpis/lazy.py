"""Imports that take long: on demand, as ``--help`` does without torch, and without looking for garbage meanwhile."""

from __future__ import annotations

import ast
import gc
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgpis.errors import PgpisError


def collect_rarely() -> None:
    """Let Python look for garbage rarely in this process, from before it imports torch.

    Importing torch and what builds on it makes half a million objects, all of which stay: as often as Python looks for
    garbage by itself, that is a fifth of the time of a start.
    """
    gc.set_threshold(50_000, 20, 20)


def optional_module(name: str, need: str, hint: str) -> Any:
    """Import a module of a package that not every installation has.

    Args:
        name: The module.
        need: Who needs what, for the message: ``faces need insightface``.
        hint: What installs it.

    Raises:
        PgpisError: It cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PgpisError(f"{need}, which cannot be imported: {error}", hint=hint) from error


def lazy_names(package: str, file: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package (PEP 562).

    Args:
        package: Its ``__name__``.
        file: Its ``__file__``. What it imports ``if TYPE_CHECKING`` is what it offers, so that type checkers and this
            function read the same list.
    """
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    homes = {
        alias.name: node.module
        for node in imports
        if node.module is not None and node.module.startswith(f"{package}.")
        for alias in node.names
    }

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
