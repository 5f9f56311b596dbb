"""Recipes of strangers are looked at before the config system reads them."""

import pytest

from pgpis.cli.recipes import check_recipe, packaged_recipes
from pgpis.errors import PgpisError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize("path", packaged_recipes().values(), ids=str)
def test_recipes_that_ship_are_let_through(path):
    check_recipe(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model:\n  a: \xe4\n", "line 2 is not UTF-8"),
        (b"model: [1, 2\n", "is not YAML: .*line"),
        (b"model: @x\n", "is not YAML"),
        (b"- a\n- b\n", "expected keys and values"),
        (b"[" * 5000, "nested too deeply"),
        (BOMB.encode(), "its aliases come to"),
        (b"a: &a [*a]\n", "its aliases come to"),
    ],
)
def test_what_is_not_a_recipe_is_named(content, reason, tmp_path):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(PgpisError, match=rf"mine\.yaml.*{reason}"):
        check_recipe(tmp_path / "mine.yaml")
