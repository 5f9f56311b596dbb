"""Options that others set: given otherwise, they are refused, as the config system drops them in silence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from pgpis.cli.recipes import check_recipe, read_recipe
from pgpis.errors import PgpisError

SEED = "seed_everything"
SEEDS = {"model.seed": "model.init_args.seed", "data.seed": "data.seed"}
"""What ``SEED`` sets, by the name without ``init_args``."""
OF_MODEL = ("data.input_specs", "data.loss_specs", "data.frozen_features")
"""What the model sets."""
RECIPE = "--config="


def without_linked(words: Sequence[str]) -> list[str]:
    """Leave out of a command line what ``seed_everything`` sets to the same.

    Args:
        words: With recipes as ``--config=PATH`` or ``--config=TEXT``.

    Raises:
        PgpisError: A recipe or word sets a seed to something else, or what the model declares. A recipe's own
            ``seed_everything`` counts too: what an earlier run saved may be laid under another seed.
    """
    kept: list[str] = []
    given: list[tuple[str, str, str]] = []
    seed = "0"
    remaining = itertools.pairwise([*words, ""])
    for word, following in remaining:
        contents = read_recipe(word.removeprefix(RECIPE)) if word.startswith(RECIPE) else [_mapping(word, following)]
        path = word.removeprefix(RECIPE)
        place = "" if path == word or "\n" in path else f"{path}: "
        for content in contents:
            values = dict(_leaves(content))
            seed = values.get(SEED, seed)
            given += [(place, key, value) for key, value in values.items() if value != values.get(SEED)]
        if word.startswith("--") and _short(word[2:].partition("=")[0]) in SEEDS:
            if "=" not in word:
                next(remaining, None)
        else:
            kept.append(word)
    for place, key, value in given:
        if key in SEEDS and value != seed:
            message = f"{place}{SEEDS[key]} is {value}, and is set by {SEED}, which is {seed}"
            raise PgpisError(message, hint=f"leave it out; --{SEED} {value} sets all seeds")
        if key.startswith(OF_MODEL):
            raise PgpisError(f"{place}{key} is set by the model", hint="leave it out")
    return kept


def _mapping(word: str, following: str) -> yaml.Node | None:
    """Return what a word of the command line sets, as a recipe would."""
    key, has_value, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or key.partition(".")[0] not in ("model", "data", SEED):
        return None
    text = value if has_value else following
    try:
        content = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # no YAML: the config system says so
        return None
    if key == "data" and isinstance(content, yaml.ScalarNode) and Path(text).is_file():
        content = check_recipe(Path(text))
    return content and yaml.MappingNode("", [(yaml.ScalarNode("", key), content)])


def _leaves(node: yaml.Node | None, key: str = "") -> Iterator[tuple[str, str]]:
    """Return the values of a mapping by their whole keys without ``init_args``, of those that are named above."""
    if isinstance(node, yaml.MappingNode):
        for own, value in node.value:
            yield from _leaves(value, f"{key}.{own.value}" if key else str(own.value))
    elif node is not None and not node.tag.endswith(":null") and _short(key).startswith((SEED, *SEEDS, *OF_MODEL)):
        yield _short(key), str(node.value)


def _short(key: str) -> str:
    return key.replace(".init_args.", ".")
