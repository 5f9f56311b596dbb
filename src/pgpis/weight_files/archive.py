"""Taking the catalogued files out of a zip that may be damaged or hostile."""

from __future__ import annotations

import errno
import shutil
import stat
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from pgpis.errors import PgpisError
from pgpis.files import TEMPORARY
from pgpis.weight_files.catalogue import WeightFile
from pgpis.weight_files.checksums import CHUNK

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, LookupError, ArithmeticError)
LARGEST_FILE = 2**30
"""Bytes of one unpacked file; the largest that is published has 0.4 of it."""


def unpack(entry: WeightFile, archive: Path, target: Path) -> None:
    """Take the catalogued files out of a zip, all or none; no other process may do so now.

    Raises:
        PgpisError: The zip is damaged, holds an unsafe name or a link, lacks a file, or a file is far too large.
    """
    try:
        with zipfile.ZipFile(archive) as packed, ExitStack() as cleaning:
            _refuse_unsafe(packed, archive)
            temporary = target / f"{TEMPORARY}{entry.name}"
            shutil.rmtree(temporary, ignore_errors=True)  # a killed process may have left it
            cleaning.callback(shutil.rmtree, temporary, ignore_errors=True)
            temporary.mkdir()
            unpacked: list[tuple[Path, Path]] = []
            for number, file in enumerate(entry.files):
                half = temporary / str(number)
                with packed.open(_member(entry, file, packed, archive)) as source, half.open("wb") as out:
                    while chunk := source.read(CHUNK):  # counted here: the directory of the zip may say anything
                        out.write(chunk)
                        if out.tell() > LARGEST_FILE:
                            raise PgpisError(
                                f"{archive}: '{file}' has more than {LARGEST_FILE} bytes; it is not what was published",
                                hint="nothing was unpacked; do not use this file",
                            )
                unpacked.append((half, target / file))
            for half, path in unpacked:
                path.parent.mkdir(parents=True, exist_ok=True)
                half.replace(path)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # of the disk; an impossible position in the zip is EINVAL
        raise PgpisError(
            f"{archive} is a damaged zip: {error}", hint=f"delete it if it is there, then get {entry.url} again"
        ) from error


def _refuse_unsafe(packed: zipfile.ZipFile, archive: Path) -> None:
    for info in packed.infolist():
        name = info.orig_filename.replace("\\", "/")
        path = PurePosixPath(name)
        outside = path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name
        if outside or stat.S_ISLNK(info.external_attr >> 16):
            raise PgpisError(
                f"{archive} holds '{info.orig_filename}': expected no links and no names that lead out of its folder",
                hint="nothing was unpacked; do not use this file",
            )


def _member(entry: WeightFile, file: str, packed: zipfile.ZipFile, archive: Path) -> zipfile.ZipInfo:
    """Return the one member of the zip that becomes ``file``, in whichever folder of the zip it lies."""
    name = entry.member or PurePosixPath(file).name
    members = [info for info in packed.infolist() if not info.is_dir() and PurePosixPath(info.filename).name == name]
    if len(members) != 1:
        raise PgpisError(
            f"{archive} holds {len(members)} files '{name}', expected one: it is not what was published at {entry.url}",
            hint="nothing was unpacked",
        )
    return members[0]
