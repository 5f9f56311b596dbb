"""Write the tables of options in the documentation: ``make tables``.

A table stands between ``<!-- options: NAME -->`` and ``<!-- end of options -->``. NAME is a verb (``predict``), whose
options are those of ``pgpis predict --help``, or a class (``pgpis.data.DeepFashion``), whose arguments are keys of a
recipe; ``without a,b`` after it leaves some out.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pgpis.cli import VERBS
from pgpis.cli.options import Option, documentation, options_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"(<!-- options: (?P<name>[\w. ]+?)(?: without (?P<without>[\w,-]+))? -->\n).*?(<!-- end of options -->)", re.S)
DEFAULT = re.compile(r"^(?P<text>.*?)(?: \[(?P<default>[^\[\]]*(?:\[[^\]]*\])?[^\[\]]*)\])?$", re.S)


def row(option: Option, *, is_key: bool) -> str:
    """Return a line of a table."""
    match = DEFAULT.fullmatch(option.help)
    assert match is not None
    flag = option.place[-1] if is_key else option.flag
    default = "required" if option.required else match["default"] or ("off" if option.default is False else "–")
    is_value = option.default not in (None, False, ()) and not option.text.endswith("]")
    cells = (f"`{flag}`", match["text"], f"`{default}`" if is_value else default)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
