"""Recipes of strangers are looked at before the config system reads them."""

from pathlib import Path

import pytest
import yaml

from pgpis.cli.recipes import check_recipe, find_recipe, packaged_recipes, read_recipe, strays_in
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


def test_a_recipe_that_is_not_to_be_seen_for_a_moment_is_not_suggested_in_its_own_place(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    assert find_recipe("fpdm.yaml") == packaged_recipes()["fpdm.yaml"]


def test_what_is_neither_a_key_nor_its_value_is_a_stray():
    words = (
        "--trainer.devices 2 --model FPDMTask -c a.yaml --data.train=x stray --print_config --lr 3 --seed_everything 1"
    )
    assert strays_in(words.split()) == ["stray", "--lr"]


def written(folder, **recipes):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_recipe_is_laid_over_what_it_extends(tmp_path, monkeypatch):
    """Beside it, or where any recipe is found; the nearest comes last."""
    written(tmp_path, mine="extends: other.yaml\na: 1\n", other="extends: fpdm.yaml\nb: 2\n")
    monkeypatch.chdir(written(tmp_path / "elsewhere", other="c: 3\n"))
    texts = [yaml.serialize(content) for content in read_recipe(str(tmp_path / "mine.yaml"))]
    assert texts[-2:] == ["b: 2\n", "a: 1\n"]
    assert "class_path: FPDMTask" in texts[-3]
    assert not any("extends" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mine.yaml", "extends itself: .*mine.yaml -> .*mine.yaml"),
        ("other.yaml", "extends itself: .*mine.yaml -> .*other.yaml -> .*mine.yaml"),
        ("/etc/hostname", "expected the name of a recipe"),
        ("/etc/hostname.yaml", "expected the name of a recipe"),
        ("../secret.yaml", "expected the name of a recipe"),
        ("[fpdm.yaml]", "expected the name of a recipe"),
        ("''", "expected the name of a recipe"),
        ("fdpm.yaml", "mine.yaml: extends: config not found: fdpm.yaml; did you mean 'fpdm.yaml'"),
        ("list.yaml", "list.yaml: expected keys and values"),
    ],
)
def test_what_cannot_be_extended_is_named(name, reason, tmp_path):
    written(tmp_path, secret="a: 1\n")
    folder = written(tmp_path / "theirs", mine=f"extends: {name}\n", other="extends: mine.yaml\n", list="[1]\n")
    with pytest.raises(PgpisError, match=reason):
        read_recipe(str(folder / "mine.yaml"))
