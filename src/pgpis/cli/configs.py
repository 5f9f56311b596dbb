"""``pgpis configs``: the recipes with a line each, or the text of one."""

from __future__ import annotations

import sys

from pgpis.cli.recipes import describe, find_recipe, packaged_recipes


def configs() -> None:
    """List the recipes that ship with pgpis."""
    recipes = packaged_recipes()
    width = max(map(len, recipes))
    for name, path in recipes.items():
        sys.stdout.write(f"{name:<{width}}  {describe(path)}\n")


def show(name: str) -> None:
    """Print a recipe.

    Args:
        name: The recipe, as ``pgpis configs`` lists it, or a file.
    """
    sys.stdout.write(find_recipe(name).read_text(encoding="utf-8"))
