"""``pgpis weights``: weights that others published: what there is, getting it, checking it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pgpis.errors import PgpisError
from pgpis.files import locked
from pgpis.refusals import UnwritableError
from pgpis.weight_files import CATALOGUE, catalogued, fetch, is_settled, locate, states, weights_folder

COMMERCIAL = {True: "yes", False: "no", None: "not stated"}


def list_weights() -> None:
    """List the weights that others published, their licences and where they are."""
    entries = [(each.name, each.licence, COMMERCIAL[each.commercial], _where(each.name)) for each in CATALOGUE.values()]
    _table([("name", "licence", "commercial use", "where"), *entries])
    sys.stdout.write(f"'pgpis weights fetch NAME' downloads to {weights_folder()}\n")


def _where(name: str) -> str:
    located = locate(name)
    paths = [path for path in located.values() if path is not None]
    if not paths:
        return "missing"
    if missing := [file for file, path in located.items() if path is None]:
        return f"incomplete, missing {', '.join(missing)}"
    return str(paths[0]) if len(paths) == 1 else os.path.commonpath(paths)


def fetch_weights(names: Sequence[str], *, folder: Path | None = None, accept_licence: bool = False) -> int:
    """Download weights. Run again, it goes on where it was.

    The exit code is 1 if a download failed.

    Args:
        names: Which; ``pgpis weights list`` lists them.
        folder: Where to [$PGPIS_WEIGHTS or ~/.cache/pgpis/weights].
        accept_licence: You keep to a licence that does not allow every use.
    """
    for name in names:
        catalogued(name)
    target = weights_folder() if folder is None else folder.expanduser()
    only_looks = all(is_settled(name, folder) for name in names)
    failures = []
    with nullcontext() if only_looks else locked(target):  # what is only looked at may lie in another's folder
        for name in dict.fromkeys(names):
            try:
                paths = fetch(name, folder, accept_licence=accept_licence)
            except UnwritableError:
                raise
            except PgpisError as error:
                failures.append(error)
            else:
                sys.stdout.write("".join(f"{name}: {path}\n" for path in paths))
    if failures:
        sys.stdout.write(f"{len(failures)} failed:\n" + "".join(f"  {failure}\n" for failure in failures))
    return 1 if failures else 0


def verify_weights(names: Sequence[str] = (), *, folder: Path | None = None) -> int:
    """Compare files of weights with their checksums.

    The exit code is 1 if one is damaged, or one that is named is missing.

    Args:
        names: Which [all].
        folder: Look here only [wherever ``list`` finds them].
    """
    for name in names:
        catalogued(name)
    rows: list[tuple[str, ...]] = []
    failed = False
    for name in dict.fromkeys(names or CATALOGUE):
        for state in states(name, folder):
            rows.append((name, state.state, state.reason or str(state.path)))
            failed = failed or state.state == "damaged" or (bool(names) and state.state == "missing")
    _table(rows)
    return 1 if failed else 0


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sys.stdout.write("  ".join(map(str.ljust, row, widths)).rstrip() + "\n")
