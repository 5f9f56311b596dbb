"""Pictures in files, or in the LMDBs of NTED and PIDM: an entry is named like a file below ``data.mdb``."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path, PurePosixPath

from PIL import Image

from pgpis.data.lmdb_reader import read_entry
from pgpis.data.names import DATABASE
from pgpis.errors import PgpisError
from pgpis.files import is_file, sha256_of
from pgpis.pictures.decoding import decode, read_bytes
from pgpis.pictures.images import read_image, upright_rgb


def read_picture(path: Path) -> Image.Image:
    """Read a picture as 8-bit RGB; ``ROOT/512-352/data.mdb/KEY.png`` is an entry of an LMDB.

    Raises:
        PgpisError: It is missing, damaged or not a picture.
    """
    return read_image(path) if DATABASE not in path.parts else upright_rgb(decode(read_content(path), path), path)


def read_content(path: Path) -> bytes:
    """Return the bytes of a picture's file or entry.

    Raises:
        PgpisError: It is missing or cannot be read.
    """
    if DATABASE not in path.parts:
        return read_bytes(path)
    content = _entry(path)
    if content is None:
        raise PgpisError(f"picture not found: {path}")
    return content


def picture_exists(path: Path) -> bool:
    """Whether a file or an entry exists; false also for a name that no file system takes."""
    return is_file(path) if DATABASE not in path.parts else _entry(path) is not None


def picture_stamp(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a picture's file, or of the LMDB that holds it; None: it is not there."""
    if DATABASE in path.parts:
        path = Path(*path.parts[: path.parts.index(DATABASE) + 1])
    if not path.is_file():
        return None
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def content_hash(path: Path | None) -> str:
    """Return the hash of a file's or an entry's content; empty where there is none that can be read."""
    try:
        if path is None:
            return ""
        if DATABASE in path.parts:
            content = _entry(path)
            return "" if content is None else hashlib.sha256(content).hexdigest()
        stat = path.stat()
        return _content_hash(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except (OSError, PgpisError):
        return ""


@functools.lru_cache(maxsize=1 << 16)
def _content_hash(path: Path, *_stamp: int) -> str:
    """Hash a file once, also where it takes part in many pairs; half a kilobyte is kept of each."""
    return sha256_of(path)


def _entry(path: Path) -> bytes | None:
    position = path.parts.index(DATABASE) + 1
    database, key = Path(*path.parts[:position]), PurePosixPath(*path.parts[position:])
    entries = (read_entry(database, os.fsencode(name)) for name in (str(key), f"img/{key}"))
    return next((content for content in entries if content is not None), None)
