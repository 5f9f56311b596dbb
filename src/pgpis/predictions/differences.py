"""How the settings of two predictions differ, in few words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgpis.predictions.marks import WEIGHTS


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
    weights = [key for key in changed if key.startswith(WEIGHTS) and key in before and key in now]
    told = [f"other weights of {', '.join(key.removeprefix(WEIGHTS) for key in weights)}"] if weights else []
    told += _told_each(before, now, [key for key in changed if key not in weights])
    return f"pictures made with {'; '.join(told)}"


def _told_each(
    before: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str], place: str = ""
) -> Iterator[str]:
    """Say what settings are and were, in ``place`` of nested ones; those that are off, or as usual, are not set."""
    for key in keys:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = sorted(each for each in {**old, **new} if old.get(each) != new.get(each))
            yield from _told_each(old, new, inner, f"{place}{key}.")
        else:
            said = (f"{place}{key}{f'={each[key]}' if key in each else ' not set'}" for each in (before, now))
            yield ", now ".join(said)
