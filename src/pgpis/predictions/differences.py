"""How the settings of two predictions differ, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

WEIGHTS = "weights of "
"""How the name of a setting begins that is the hash of a part's weights."""


def told_differences(before: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Say what was made before and what is to be made now.

    Args:
        before: Settings of the pictures that are there.
        now: Settings of those that are to be made.
        keys: Those that differ.

    Returns:
        Both models where it is another one, by its inputs or weights; else the settings, and of nested ones only what
        differs.
    """
    changed = sorted(keys)
    models = [settings.get("pipeline") or settings.get("ckpt_path") for settings in (before, now)]
    if models[0] != models[1] and any(key == "inputs" or key.startswith(WEIGHTS) for key in changed):
        return "pictures of {}, now {}".format(*(model or "another model" for model in models))
    parts = [key.removeprefix(WEIGHTS) for key in changed if key.startswith(WEIGHTS)]
    told = [f"other weights of {', '.join(parts)}"] if parts else []
    for key in (key for key in changed if not key.startswith(WEIGHTS)):
        told += (f"{name}={old}, now {name}={new}" for name, old, new in _leaves(key, before.get(key), now.get(key)))
    return f"pictures made with {'; '.join(told)}"


def _leaves(name: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Return name and both values of what differs in a setting, which may be nested."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [(name, old, new)]
    inner = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [leaf for key in inner for leaf in _leaves(f"{name}.{key}", old.get(key), new.get(key))]
