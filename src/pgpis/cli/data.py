"""``pgpis data``: what is in a data set's folder and what is missing; one layout from another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.data.names import LayoutName


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis data``."""
    root = ArgumentParser(exit_on_error=False, prog="pgpis data", description="Look after a data set on disk.")
    check = ArgumentParser(
        exit_on_error=False, description="Say which layout a folder has, count its files, list what is missing."
    )
    check.add_argument("root", type=Path, help="folder of the data set")
    check.add_argument("--report", type=Path, default=None, help="where all problems are listed [ROOT-problems.txt]")
    link = ArgumentParser(exit_on_error=False, description="Lay a data set out as another method reads it, with links.")
    link.add_argument("source", type=Path, help="folder of the data set, in any layout")
    link.add_argument("--to", type=LayoutName, required=True, help="layout to make")
    link.add_argument("--out", type=Path, default=None, help="folder to write to [SOURCE itself]")
    verbs = root.add_subcommands()
    verbs.add_subcommand("check", check, help="check a folder")
    verbs.add_subcommand("link", link, help="make one layout from another")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis data``; 1 if anything is missing or unreadable."""
    options = parse(parser(), words)
    return _link(options) if "to" in options else _check(options)


def _link(options: Any) -> int:
    from pgpis.data.link import link_layout  # loads torch

    report = link_layout(options.source, options.out or options.source, options.to)
    made = f"{report.lists} lists of layout '{options.to}', {report.links} links made, {report.already} there already"
    sys.stdout.write(f"{options.out or options.source}: {made}\n")
    if report.missing:
        sys.stdout.write(f"{len(report.missing)} files are missing or unreadable, e.g. {report.missing[0]}\n")
    return 1 if report.missing else 0


def _check(options: Any) -> int:
    from pgpis.data.check import check_root  # loads torch

    report = check_root(options.root)
    sys.stdout.write(report.render())
    if not report.problems:
        return 0
    listing = options.report or Path(f"{options.root.resolve().name}-problems.txt")
    report.write(listing)
    sys.stdout.write(f"all {len(report.problems)} problems: {listing}\n")
    return 1
