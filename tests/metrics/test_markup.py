"""Names of files and folders in reports: what a reader sees is the name, whatever is in it."""

import re

import pytest

from pgpis.metrics.markup import latex, markdown

NAMES = [
    "a|b", "`code`", "<script>alert(1)</script>", "[text](http://x)", "![x](y)", "*a* **b**", "_a_ __b__", "a\\|b",
    "\\", "line\nbreak\r\n| new | row |", "&lt;", "~~a~~", "a_b_c", "\u2028", "\x1b[31m", "$x^2$ % # & {}",
    "\\input{/etc/passwd}",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_the_name(name):
    escaped = markdown(name)
    assert len(escaped.splitlines()) == 1
    bare = re.sub(r"\\[\\`*\[\]|~_]", "", escaped)
    assert not re.search(r"[\\`*\[\]|~<>]|&(?!(amp|lt|gt);)", bare)
    back = re.sub(r"\\([\\`*\[\]|~_])", r"\1", escaped)
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        back = back.replace(entity, letter)
    assert back == re.sub(r"[\x00-\x1f\u2028]+", " ", name)


def test_words_stay_readable_in_markdown():
    assert markdown("fid_gt of my_run (measured here), 512x352") == "fid_gt of my_run (measured here), 512x352"


@pytest.mark.parametrize("name", NAMES)
def test_latex_runs_nothing(name):
    escaped = latex(name)
    assert len(escaped.splitlines()) == 1
    known = r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\\[&%$#_{}]"
    assert not re.search(r"[\\&%$#_{}~^<>|]", re.sub(known, "", escaped))


def test_a_backslash_is_not_a_command():
    assert latex("a\\input{b}_c") == r"a\textbackslash{}input\{b\}\_c"
    assert latex("caf\udce9") == r"caf\%E9"
