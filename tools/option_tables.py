"""Write the tables of options in the documentation: ``make tables``.

A table stands between ``<!-- options: NAME -->`` and ``<!-- end of options -->``. NAME is a verb (``predict``), whose
options are those of ``pgpis predict --help``, or a class (``pgpis.data.DeepFashion``), whose arguments are keys of a
recipe; ``without a, b`` after it leaves out those that begin so.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pgpis.cli import VERBS
from pgpis.cli.options import Option, options_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(
    r"<!-- options: (?P<name>[\w. ]+?)(?P<without> without [\w, -]+)? -->\n.*?<!-- end of options -->", re.DOTALL
)
DEFAULT = re.compile(r"(?P<text>.*?)(?: \[(?P<default>[^\]]*)\])?")


def table(name: str, without: tuple[str, ...]) -> str:
    """Return the table of a verb or class."""
    module, _, member = VERBS[name][0].partition(":") if name in VERBS else name.rpartition(".")
    owner: Callable[..., Any] = getattr(importlib.import_module(module), member)
    if isinstance(owner, type):
        rows = [_row(option, ".".join(option.place)) for option in options_of(owner)]
    else:
        rows = [_row(option, option.flag) for option in options_of(owner)]
    shown = [row for row in rows if not row.split("`")[1].strip("-").startswith(without)]
    return "\n".join(("| option | meaning | default |", "| --- | --- | --- |", *shown))


def _row(option: Option, name: str) -> str:
    match = DEFAULT.fullmatch(option.help)
    assert match is not None, option.help
    shown = match["default"] or ("required" if option.required else "off" if option.default is False else "-")
    text = re.sub(r"^[A-Z][a-z]*(?=[ ,:;-])", lambda word: word[0].lower(), match["text"])
    return f"| `{name}` | {text} | {shown} |".replace("*", r"\*")


def pages() -> Iterator[tuple[Path, str, str]]:
    """Return each page with a table: its text, and as it should be."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if BLOCK.search(text):
            yield path, text, BLOCK.sub(_block, text)


def _block(match: re.Match[str]) -> str:
    first, last = match[0].split("\n")[0], "<!-- end of options -->"
    without = (match["without"] or "").removeprefix(" without ")
    return f"{first}\n\n{table(match['name'], tuple(without.split(', ')) if without else ())}\n\n{last}"


def main() -> int:
    """Write the pages whose tables have changed."""
    for path, text, right in pages():
        if text != right:
            path.write_text(right, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
