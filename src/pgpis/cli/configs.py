"""``pgpis configs``: the recipes with a line each, or the text of one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pgpis.cli.recipes import describe, find_recipe, packaged_recipes
from pgpis.errors import PgpisError

USAGE = "usage: pgpis configs [show NAME]\n\nList the recipes that ship with pgpis, or print one of them.\n"


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis configs`` with the words that follow it."""
    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(USAGE)
        return 0
    match list(words):
        case []:
            recipes = packaged_recipes()
            width = max(map(len, recipes))
            for name, path in recipes.items():
                sys.stdout.write(f"{name:<{width}}  {describe(path)}\n")
        case ["show", name]:
            sys.stdout.write(find_recipe(name).read_text(encoding="utf-8"))
        case _:
            raise PgpisError(f"pgpis configs {' '.join(words)}: expected nothing or 'show NAME'", hint="pgpis configs")
    return 0
