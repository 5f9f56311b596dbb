"""Where a recipe given by name is found: working directory, its ``configs/``, then the copies inside the package."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pgpis.errors import PgpisError, nearest

log = logging.getLogger(__name__)

PACKAGED = Path(__file__).resolve().parent.parent / "configs"


def packaged_recipes() -> dict[str, Path]:
    """Return the recipes that ship with pgpis, by their name relative to ``configs/``."""
    return {path.relative_to(PACKAGED).as_posix(): path for path in sorted(PACKAGED.rglob("*.yaml"))}


def describe(path: Path) -> str:
    """Return the first comment line of a recipe: what it is for."""
    with path.open(encoding="utf-8") as file:
        first = file.readline().strip()
    return first.lstrip("# ") if first.startswith("#") else ""


def find_recipe(name: str) -> Path:
    """Find the recipe ``name``.

    Raises:
        PgpisError: It is in none of the places; names the closest recipe.
    """
    for candidate in (Path(name), Path("configs") / name, PACKAGED / name):
        if candidate.is_file():
            return candidate.resolve()
    raise PgpisError(
        f"config not found: {name}{nearest(name, packaged_recipes())}",
        hint=f"looked in ./, ./configs/ and {PACKAGED}; 'pgpis configs' lists the recipes",
    )


def resolve_configs(words: Sequence[str]) -> list[str]:
    """Replace the name after each ``--config`` by the path it stands for, and log the choice."""
    resolved: list[str] = []
    takes_name = False
    for word in words:
        if takes_name or word.startswith("--config="):
            name = word if takes_name else word.removeprefix("--config=")
            path = find_recipe(name)
            log.info("config %s: %s", name, path)
            resolved.append(str(path) if takes_name else f"--config={path}")
            takes_name = False
            continue
        word = "--config" if word == "-c" else word  # noqa: PLW2901
        takes_name = word == "--config"
        resolved.append(word)
    if takes_name:
        raise PgpisError("--config expects the name of a recipe", hint="'pgpis configs' lists them")
    return resolved
