"""Text from other people, such as file names, inside Markdown and LaTeX: shown as it is, never taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pgpis.files import printable

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKDOWN = re.compile(r"[&<>]|[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is one
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
}


def markdown(text: str) -> str:
    """Escape text for one line or one cell of a table in Markdown."""
    return _MARKDOWN.sub(lambda match: _HTML.get(match[0], rf"\{match[0]}"), _line(text))


def latex(text: str) -> str:
    """Escape text for one line, one cell of a table or a comment in LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in _line(text))


def _line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", printable(text))


def latex_table(comments: Iterable[str], alignment: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in LaTeX, with comments above; everything in it is markup already."""
    lines = [
        *(f"% {comment}" for comment in comments),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row(head),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    row = " & ".join(cells)
    # what ends the row before looks for arguments of its own
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown, its cells escaped."""
    lines = ["|" + "|".join(f" {markdown(cell)} " if cell else " " for cell in head) + "|", f"|{' --- |' * len(head)}"]
    return [*lines, *(f"| {' | '.join(map(markdown, row))} |" for row in rows)]
