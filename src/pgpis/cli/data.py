"""``pgpis data check ROOT``: what is in a data set's folder, and what is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.data.check import check_root


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis data``."""
    root = ArgumentParser(exit_on_error=False, prog="pgpis data", description="Look after a data set on disk.")
    check = ArgumentParser(
        exit_on_error=False, description="Say which layout a folder has, count its files, list what is missing."
    )
    check.add_argument("root", type=Path, help="folder of the data set")
    check.add_argument("--report", type=Path, default=None, help="where all problems are listed [ROOT-problems.txt]")
    root.add_subcommands().add_subcommand("check", check, help="check a folder")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis data check``; 1 if anything is missing or unreadable."""
    options = parse(parser(), words)
    report = check_root(options.root)
    sys.stdout.write(report.render())
    if not report.problems:
        return 0
    listing = options.report or Path(f"{options.root.resolve().name}-problems.txt")
    report.write(listing)
    sys.stdout.write(f"all {len(report.problems)} problems: {listing}\n")
    return 1
