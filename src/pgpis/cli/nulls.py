"""Null on the command line: jsonargparse hands one that is nested in a class on as the text "None"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence

import yaml

from pgpis.errors import PgpisError

KEY = re.compile(r"--(model|data\.(?:train|val|test|predict))\.(?:init_args\.)?(?!init_args\b)(\w+)\.([\w.]+)")


def with_nulls(words: Sequence[str], options: Mapping[str, Collection[str]]) -> list[str]:
    """Replace words that set a nested option to null, or to what holds one, by the text of a recipe that does so.

    Args:
        words: Of a command line, where the last wins, as among recipes.
        options: The model's, with the fields of those that are groups.

    Raises:
        PgpisError: It is an entry of a mapping, which a recipe would replace as a whole.
    """
    kept: list[str] = []
    remaining = itertools.pairwise([*words, ""])
    for word, following in remaining:
        key, has_value, value = word.partition("=")
        nested = KEY.fullmatch(key)
        node = nested and _composed(value if has_value else following)
        if not (nested and node and _holds_null(node)) or (nested[1] == "model" and nested[2] not in options):
            kept.append(word)
            continue
        place, option, field = nested.groups()
        is_entry = "." in field or (place == "model" and not options[option])
        if is_entry and "init_args." not in field:
            raise PgpisError(
                f"{key}: null cannot be given to an entry alone",
                hint=f"give all entries: {key.rpartition('.')[0]}='{{...}}', or a recipe",
            )
        for name in reversed([*place.split("."), "init_args", option, *field.split(".")]):
            node = yaml.MappingNode("tag:yaml.org,2002:map", [(yaml.ScalarNode("tag:yaml.org,2002:str", name), node)])
        kept.append(f"--config={yaml.serialize(node)}")
        if not has_value:
            next(remaining, None)
    return kept


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # a text to the config system
        return None


def _holds_null(node: yaml.Node) -> bool:
    if isinstance(node, yaml.CollectionNode):
        return any(
            _holds_null(each) for entry in node.value for each in (entry if isinstance(entry, tuple) else (entry,))
        )
    return bool(node.tag.endswith(":null"))
