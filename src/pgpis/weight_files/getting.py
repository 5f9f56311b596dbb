"""Getting weights: from the network, or from what was put into the folder by hand."""

from __future__ import annotations

import logging
import os
import urllib.request
from pathlib import Path

from pgpis.errors import PgpisError
from pgpis.files import sha256_of
from pgpis.refusals import write_refusal
from pgpis.weight_files.archive import unpack
from pgpis.weight_files.catalogue import WeightFile, catalogued
from pgpis.weight_files.checksums import read_record, verify, write_record
from pgpis.weight_files.download import Download, Opener, claim, discard
from pgpis.weight_files.places import fetch_command, look, weights_folder

log = logging.getLogger(__name__)


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    accept_licence: bool = False,
    opener: Opener = urllib.request.urlopen,
) -> list[Path]:
    """Download the files of an entry, unless they are there.

    A download that was broken off goes on where it was. Files appear under their names when they are complete and
    their checksums, where published, are right. A damaged file is downloaded again. A zip that was put into the folder
    by hand is unpacked without network. Size and sha256 of each file are recorded in ``checksums.json``.

    Args:
        name: Of the entry.
        folder: Where to; None: :func:`weights_folder`, unless the files are in one of :func:`places` already.
        accept_licence: You keep to a licence that does not allow every use.
        opener: Opens a ``urllib.request.Request``; takes ``timeout``.

    Returns:
        The files, in the order of the entry.

    Raises:
        PgpisError: The licence was not accepted, there is no network, the download is incomplete or not what was
            published, or the folder cannot be written.
    """
    entry = catalogued(name)
    target = weights_folder() if folder is None else Path(folder).expanduser()
    try:
        there, new = _already_there(entry, folder, target)
        if there is not None:
            if new:
                write_record(target, new)
            return there
        if entry.commercial is False and not accept_licence:
            raise PgpisError(
                f"weights '{name}': the licence does not allow every use ({entry.licence})",
                hint=f"if you keep to it: {fetch_command(name, folder)}",
            )
        log.info("%s: %s to %s, licence: %s", name, entry.url, target, entry.licence)
        return _get(entry, target, Download(entry, folder, target, opener))
    except OSError as error:  # of the disk: what the network raises is reported where it is read
        refusal = write_refusal(Path(error.filename or target), error)
        if refusal is not None:
            raise refusal from error
        raise PgpisError(
            f"weights '{name}': cannot read or write {error.filename or target}: {error.strerror or error}",
            hint="free space or choose another folder with --folder or PGPIS_WEIGHTS",
        ) from error


def is_settled(name: str, folder: str | os.PathLike[str] | None = None) -> bool:
    """Whether :func:`fetch` would only look: all files are there and whole, and the folder's own are recorded."""
    target = weights_folder() if folder is None else Path(folder).expanduser()
    try:
        there, new = _already_there(catalogued(name), folder, target, logging.DEBUG)
    except PgpisError:  # a damaged record, which fetch tells
        return False
    return there is not None and not new


def _already_there(
    entry: WeightFile, folder: str | os.PathLike[str] | None, target: Path, level: int = logging.WARNING
) -> tuple[list[Path] | None, list[Path]]:
    """Return the files if all are there and none is damaged, and which of them are not recorded yet."""
    locations = [location for location in look(entry, folder).values() if location is not None]
    if len(locations) < len(entry.files):
        return None, []
    reason = verify(entry.name, folder)
    if reason is not None:
        log.log(level, "%s; it is downloaded again", reason)
        return None, []
    recorded = read_record(target)
    own = [location.path for location in locations if location.root == target]
    new = [path for path in own if path.relative_to(target).as_posix() not in recorded]
    return [location.path for location in locations], new


def _get(entry: WeightFile, target: Path, download: Download) -> list[Path]:
    """Download or take what was put there by hand, check, unpack, record."""
    goal = target / entry.download
    goal.parent.mkdir(parents=True, exist_ok=True)
    by_hand = entry.zipped and goal.is_file()
    source = goal if by_hand else goal.with_name(f"{goal.name}.part")
    if not by_hand:
        download.run(source)
    with source.open("r+b" if os.access(source, os.W_OK) else "rb") as file:  # NFS locks what is open for writing
        claim(file, source)
        try:
            _check_published(entry, source, "" if by_hand else "; it was deleted", download.by_hand)
            if entry.zipped:
                unpack(entry, source, target)
        except PgpisError:
            if not by_hand:
                discard(source)
            raise
    if not entry.zipped:
        source.replace(goal)
    if not by_hand:
        discard(source)
    paths = [target / file for file in entry.files]
    write_record(target, paths)
    return paths


def _check_published(entry: WeightFile, path: Path, deleted: str, by_hand: str) -> None:
    if entry.sha256 is not None and not (digest := sha256_of(path)).startswith(entry.sha256):
        raise PgpisError(
            f"{path} is not what was published: its sha256 begins with {digest[:8]}, "
            f"expected {entry.sha256[:8]}{deleted}",
            hint=by_hand if deleted else f"delete it; {by_hand}",
        )
