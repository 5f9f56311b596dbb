"""Recipes by name, from the working directory, its ``configs/`` or inside the package; and ``pgpis configs``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any

import yaml

from pgpis.data.tables import read_text
from pgpis.errors import PgpisError, nearest
from pgpis.files import resolved

Recipes = Annotated[tuple[str, ...], {"short": ("-c",)}]
"""Option of a verb: recipes by name, of which a later one is laid over the earlier."""
EXTENDS = "extends"
"""Key of a recipe: the recipe that it is laid over."""
MOST_NODES = 100_000
"""Values of a recipe, counted as often as aliases repeat them."""

log = logging.getLogger(__name__)

TOP_LEVEL = (
    *("config", "model", "data", "trainer", "seed_everything", "ckpt_path"),
    *("print_config", "verbose", "return_predictions", "weights_only"),
)
"""Keys of a recipe, and words of the command line beside them, that stand for themselves; others have a dot."""
PACKAGED = Path(__file__).resolve().parent.parent / "configs"


class Quoting(yaml.SafeDumper):
    """Quotes all texts: PyYAML leaves ``1e3`` plain, which is a number to jsonargparse."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
# jsonargparse writes a run's settings by it: defaults of Lightning's Timer are members of enumerations
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))


def packaged_recipes() -> dict[str, Path]:
    """Return the recipes that ship with pgpis, by their name relative to ``configs/``."""
    return {path.relative_to(PACKAGED).as_posix(): path for path in sorted(PACKAGED.rglob("*.yaml"))}


def describe(path: Path) -> str:
    """Return the first comment line of a recipe: what it is for."""
    first = path.read_text(encoding="utf-8").partition("\n")[0].strip()
    return first.lstrip("# ") if first.startswith("#") else ""


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
    sys.stdout.write(read_text(find_recipe(name), "recipe"))


def find_recipe(name: str) -> Path:
    """Find the recipe ``name``.

    Raises:
        PgpisError: It is in none of the places; names the closest recipe.
    """
    for candidate in (Path(name), Path("configs") / name, PACKAGED / name):
        if candidate.is_file():
            return candidate.resolve()
    recipes = packaged_recipes()
    if name in recipes:  # it was not to be seen a moment ago: what keeps it from being read is told where that is tried
        return recipes[name]
    raise PgpisError(
        f"config not found: {name}{nearest(name, recipes)}",
        hint=f"looked in ./, ./configs/ and {PACKAGED}; 'pgpis configs' lists the recipes",
    )


def find_recipes(names: Iterable[str]) -> None:
    """Find recipes before anything is imported for them; errors as :func:`find_recipe`."""
    for name in names:
        find_recipe(name)


def check_recipe(path: Path) -> yaml.MappingNode | None:
    """Read what is YAML with keys and values before the config system does; None: it is empty.

    Raises:
        PgpisError: It is not text, not YAML, or its aliases multiply it without end; names the line.
    """
    text = read_text(path, "recipe")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        nodes = _count_nodes(root, {})
    except RecursionError as error:
        raise PgpisError(f"{path} is nested too deeply for a recipe") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).replace('"<unicode string>", ', "").split())
        raise PgpisError(f"{path} is not YAML: {reason}") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise PgpisError(f"{path}: expected keys and values, like those that 'pgpis configs show fpdm.yaml' prints")
    if nodes > MOST_NODES:
        raise PgpisError(f"{path}: its aliases come to {nodes} values, expected at most {MOST_NODES}")
    return root


def read_recipe(recipe: str) -> list[yaml.MappingNode]:
    """Read a recipe and what it extends, which is what it is laid over.

    Args:
        recipe: Its path, or its text.

    Returns:
        The recipe's own content last, without the key ``extends``.

    Raises:
        PgpisError: One of them is not a recipe, is not there, lies outside, or extends itself.
    """
    if "\n" in recipe:  # written by pgpis itself
        text = yaml.compose(recipe, Loader=yaml.SafeLoader)
        return [text] if isinstance(text, yaml.MappingNode) else []
    contents: list[yaml.MappingNode] = []
    lineage = [Path(recipe)]
    while True:
        content = check_recipe(lineage[-1]) or yaml.MappingNode("tag:yaml.org,2002:map", [])
        contents.insert(0, content)
        bases = [value for key, value in content.value if key.value == EXTENDS]
        if not bases:
            return contents
        content.value = [(key, value) for key, value in content.value if key.value != EXTENDS]
        base = _find_base(lineage[-1], bases[-1])
        if base in lineage:
            raise PgpisError(f"{recipe} extends itself: {' -> '.join(map(str, [*lineage, base]))}")
        lineage.append(base)


def _find_base(path: Path, name: yaml.Node) -> Path:
    """Find the recipe that another one extends: beside it, or where any recipe is found; nowhere else."""
    base = PurePath(str(name.value))
    if not isinstance(name, yaml.ScalarNode) or base.is_absolute() or ".." in base.parts or base.suffix != ".yaml":
        raise PgpisError(
            f"{path}: {EXTENDS}: expected the name of a recipe below this folder or of one that ships with pgpis",
            hint=f"{EXTENDS}: fpdm.yaml",
        )
    beside = resolved(path.parent / base)
    try:
        return beside if beside.is_file() else find_recipe(str(base))
    except PgpisError as error:
        raise PgpisError(f"{path}: {EXTENDS}: {error.message}", hint=error.hint) from error


def _count_nodes(node: yaml.Node | None, counts: dict[int, int]) -> int:
    """Count the values below a node; an alias counts like what it repeats, and one of itself without end."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = MOST_NODES + 1  # while it is being counted: it contains itself
        entries = (each for entry in node.value for each in (entry if isinstance(entry, tuple) else (entry,)))
        counts[id(node)] = 1 + sum(_count_nodes(each, counts) for each in entries)
    return counts[id(node)]


def resolve_configs(words: Sequence[str]) -> list[str]:
    """Replace the name after each ``--config`` by the path it stands for, and log the choice."""
    resolved: list[str] = []
    remaining = iter(words)
    for word in remaining:
        name = next(remaining, None) if word in ("-c", "--config") else word.removeprefix("--config=")
        if name is None:
            raise PgpisError("--config expects the name of a recipe", hint="'pgpis configs' lists them")
        if name == word:
            resolved.append(word)
            continue
        path = find_recipe(name)
        if name != str(path):  # chosen before
            log.info("config %s: %s", name, path)
        resolved.append(f"--config={path}")
    return resolved


def strays_in(words: Iterable[str]) -> list[str]:
    """Return the words that are neither a key of a recipe, as ``--KEY=VALUE``, nor ``--KEY`` and its ``VALUE``."""
    strays: list[str] = []
    takes_value = False
    for word in words:
        is_option = word.startswith("--")
        key, has_value, _ = word.removeprefix("--").partition("=")
        if is_option:
            takes_value = not has_value
            is_stray = "." not in key and key.rstrip("+") not in TOP_LEVEL
        else:
            is_stray, takes_value = not (takes_value or word == "-c"), word == "-c"
        strays += [word] if is_stray else []
    return strays


def texts_of(recipes: Iterable[Mapping[str, Any]]) -> dict[str, str | list[Any]]:
    """Return texts and lists of recipes, each laid over those before it, by their whole keys; no names of classes."""
    last: dict[str, Any] = {}
    for recipe in recipes:
        for key, value in _leaves_of(recipe):
            last = {own: each for own, each in last.items() if not own.startswith(f"{key}.")} | {key: value}
    texts = {key: value for key, value in last.items() if isinstance(value, str | list)}
    return {key: value for key, value in texts.items() if not key.endswith("class_path")}


def _leaves_of(recipe: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Return the values of a recipe by their whole keys."""
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _leaves_of(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def without_none(recipe: Any) -> Any:
    """Leave out what is left to the other recipes."""
    if not isinstance(recipe, dict):
        return str(recipe) if isinstance(recipe, Path) else recipe
    values = {key: without_none(value) for key, value in recipe.items() if value is not None}
    return {key: value for key, value in values.items() if value != {}}
