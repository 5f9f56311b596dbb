"""``pgpis data``: what is in a data set's folder and what is missing; one layout from another."""

from __future__ import annotations

import sys
from pathlib import Path

from pgpis.data.names import LayoutName


def check(root: Path, *, report: Path | None = None) -> int:
    """Say which layout a folder has, count its files, list what is missing.

    The exit code is 1 if anything is missing or unreadable.

    Args:
        root: Folder of the data set.
        report: Where all problems are listed [ROOT-problems.txt].
    """
    from pgpis.data.check import check_root  # loads torch

    result = check_root(root)
    sys.stdout.write(result.render())
    if not result.problems:
        return 0
    listing = report or Path(f"{root.resolve().name}-problems.txt")
    result.write(listing)
    sys.stdout.write(f"all {len(result.problems)} problems: {listing}\n")
    return 1


def link(source: Path, *, to: LayoutName, out: Path | None = None) -> int:
    """Lay a data set out as another method reads it, with links.

    The exit code is 1 if anything is missing or unreadable.

    Args:
        source: Folder of the data set, in any layout.
        to: Layout to make.
        out: Folder to write to [SOURCE itself].
    """
    from pgpis.data.link import link_layout  # loads torch

    out = out or source
    report = link_layout(source, out, to)
    sys.stdout.write(
        f"{out}: {report.lists} lists of layout '{to}', {report.links} links made, {report.already} there already\n"
    )
    if report.missing:
        sys.stdout.write(f"{len(report.missing)} files are missing or unreadable, e.g. {report.missing[0]}\n")
    return 1 if report.missing else 0
