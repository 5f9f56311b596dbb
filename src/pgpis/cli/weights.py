"""``pgpis weights``: weights that others published: what there is, getting it, checking it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from pgpis.cli.verbs import parse
from pgpis.errors import PgpisError
from pgpis.files import UnwritableError, locked
from pgpis.weight_files import CATALOGUE, catalogued, fetch, locate, states, weights_folder

COMMERCIAL = {True: "yes", False: "no", None: "not stated"}


def parser() -> ArgumentParser:
    """Return the parser of ``pgpis weights``."""
    root = ArgumentParser(
        exit_on_error=False, prog="pgpis weights", description="Look after weights that others published."
    )
    listing = ArgumentParser(exit_on_error=False, description="List the weights, their licences and where they are.")
    getting = ArgumentParser(exit_on_error=False, description="Download weights. Run again, it goes on where it was.")
    getting.add_argument("names", nargs="+", help="which; 'pgpis weights list' lists them")
    getting.add_argument(
        "--folder", type=Path, default=None, help="where to [$PGPIS_WEIGHTS or ~/.cache/pgpis/weights]"
    )
    getting.add_argument(
        "--accept-licence", action="store_true", help="you keep to a licence that does not allow every use"
    )
    checking = ArgumentParser(exit_on_error=False, description="Compare files with their checksums.")
    checking.add_argument("names", nargs="*", help="which [all]")
    checking.add_argument("--folder", type=Path, default=None, help="look here only [wherever 'list' finds them]")
    verbs = root.add_subcommands()
    verbs.add_subcommand("list", listing, help="what there is")
    verbs.add_subcommand("fetch", getting, help="download weights")
    verbs.add_subcommand("verify", checking, help="find damaged files")
    return root


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis weights``; 1 if a download failed, a file is damaged or a named one is missing."""
    options = parse(parser(), words)
    if "names" not in options:
        return _list()
    for name in options.names:
        catalogued(name)
    return _fetch(options) if "accept_licence" in options else _verify(options)


def _list() -> int:
    rows = [("name", "licence", "commercial use", "where")]
    rows += [
        (entry.name, entry.licence, COMMERCIAL[entry.commercial], _where(name)) for name, entry in CATALOGUE.items()
    ]
    _table(rows)
    sys.stdout.write(f"'pgpis weights fetch NAME' downloads to {weights_folder()}\n")
    return 0


def _where(name: str) -> str:
    located = locate(name)
    paths = [path for path in located.values() if path is not None]
    if not paths:
        return "missing"
    missing = [file for file, path in located.items() if path is None]
    if missing:
        return f"incomplete, missing {', '.join(missing)}"
    return str(paths[0]) if len(paths) == 1 else os.path.commonpath(paths)


def _fetch(options: Any) -> int:
    target = weights_folder() if options.folder is None else options.folder.expanduser()
    complete = all(None not in locate(name, options.folder).values() for name in options.names)
    with nullcontext() if complete else locked(target):  # what is only looked at may lie in a folder that is not ours
        told = [_fetch_one(name, options) for name in dict.fromkeys(options.names)]
    failures = [failure for failure in told if failure is not None]
    if failures:
        sys.stdout.write(f"{len(failures)} failed:\n" + "".join(f"  {failure}\n" for failure in failures))
    return 1 if failures else 0


def _fetch_one(name: str, options: Any) -> str | None:
    """Fetch and print where the files are; or return why not."""
    try:
        paths = fetch(name, options.folder, accept_licence=options.accept_licence)
    except UnwritableError:
        raise
    except PgpisError as error:
        return str(error)
    sys.stdout.write("".join(f"{name}: {path}\n" for path in paths))
    return None


def _verify(options: Any) -> int:
    named = bool(options.names)
    rows: list[tuple[str, ...]] = []
    failed = False
    for name in dict.fromkeys(options.names or CATALOGUE):
        for state in states(name, options.folder):
            rows.append((name, state.state, state.reason or str(state.path)))
            failed = failed or state.state == "damaged" or (named and state.state == "missing")
    _table(rows)
    return 1 if failed else 0


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{line.rstrip()}\n")
