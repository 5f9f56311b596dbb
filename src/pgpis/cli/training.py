"""``pgpis fit``, ``validate`` and ``test``: their words are keys of a recipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def fit(*words: str) -> int:
    """Train a model from a recipe."""
    return _run("fit", words)


def validate(*words: str) -> int:
    """Compute the validation loss and draw sample grids."""
    return _run("validate", words)


def test(*words: str) -> int:
    """Generate the test pairs and score them."""
    return _run("test", words)


def _run(verb: str, words: Sequence[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        from pgpis.cli.training_help import short_help  # these load torch

        sys.stdout.write(short_help(verb))
        return 0
    from pgpis.cli import lightning

    return lightning.run(verb, ["--help" if word == "--help-all" else word for word in words]).exit_code
