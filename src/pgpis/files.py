"""Files and folders: written whole or not at all, used by one job at a time."""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from pgpis.errors import PgpisError
from pgpis.interrupts import resumable
from pgpis.refusals import open_file, write_refusal

LOCK = ".pgpis.lock"
TEMPORARY = ".pgpis-"
"""How the name of every unfinished file begins; nothing else may begin so."""
LONGEST_NAME = 255
"""Bytes that a file system allows in one name."""
_UMASK = os.umask(0o077)
"""Of this process; it can only be read by setting it."""
os.umask(_UMASK)


@contextmanager
def writing_at(path: Path) -> Iterator[None]:
    """Turn what keeps a block from writing into the error that names ``path`` and says what helps.

    Raises:
        PgpisError: The disk is full, the folder is read-only, ...; see :func:`write_refusal`.
    """
    try:
        yield
    except BaseException as error:
        refusal = write_refusal(path, error)
        if refusal is None:
            raise
        raise refusal from error


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that takes its place when the block succeeds.

    Its content is on the disk before the name changes, so that neither a kill nor a power cut leaves half a file. A
    link is replaced, and what it names stays: ``pgpis data link`` links files of another data set.

    Raises:
        PgpisError: The file cannot be written; see :func:`writing_at`.
    """
    target = Path(path)
    with ExitStack() as cleaning, writing_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=TEMPORARY, suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        cleaning.callback(temporary.unlink, missing_ok=True)
        yield temporary
        temporary.chmod(_mode(target, 0o666))
        _flush(temporary)
        temporary.replace(target)


@contextmanager
def replacing_folder(
    path: str | os.PathLike[str], *, overwrite: bool = False, is_locked: bool = False
) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place when the block succeeds; see :func:`replacing`.

    Args:
        path: Where the folder shall be. A link to a folder stays, and the folder that it names is replaced.
        overwrite: Remove a folder that is there, when the new one is whole.
        is_locked: Whether no other job writes to it now: what a killed one has left is removed.

    Raises:
        PgpisError: It cannot be written, or ``path`` is a folder that is not empty and shall stay.
    """
    target = resolved(path)
    refuse_unwritable(target)
    with ExitStack() as cleaning, writing_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_locked:
            temporary = target.with_name(file_name(f"{TEMPORARY}{target.name}", ""))
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(0o700)
        else:
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=TEMPORARY))
        cleaning.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        temporary.chmod(_mode(target, 0o777))
        if overwrite and target.is_dir():
            former = target.rename(temporary.with_name(f"{temporary.name}-former"))
            temporary.rename(target)
            shutil.rmtree(former, ignore_errors=True)
        else:
            temporary.replace(target)


def refuse_unwritable(path: str | os.PathLike[str]) -> None:
    """Refuse a place where :func:`replacing_folder` could not put a folder, before the work that fills it.

    Raises:
        PgpisError: A disk is mounted there, or the folder around it cannot be written to.
    """
    target = resolved(path)
    with writing_at(target):
        if target.is_mount():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        around = next(folder for folder in target.parents if folder.exists())
        with tempfile.TemporaryFile(dir=around):
            pass


def _mode(target: Path, usual: int) -> int:
    """Return the permissions of what is replaced, else those that the system gives new ones."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return usual & ~_UMASK


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield an open binary file that takes the place of ``path`` when the block succeeds; see :func:`replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that no reader ever sees half of it."""
    write_bytes(path, text.encode(errors="backslashreplace"))  # of names that are not UTF-8


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that no reader ever sees half of it."""
    with writing(path) as file:
        file.write(content)


def append_bytes(path: Path, content: bytes) -> None:
    """Add to a file in one go: what several processes add at the same time does not mix.

    Raises:
        PgpisError: It cannot be written.
    """
    with writing_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            left = memoryview(content)
            while left:  # a signal, or a disk that is nearly full, ends a write early
                left = left[file.write(left) :]


def passing_folder(prefix: str) -> Path:
    """Make a folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def printable(text: str) -> str:
    """Spell the bytes of a file name that are not UTF-8 like ``%E9``, so that it can be written anywhere."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", text)


def file_name(name: str, suffix: str) -> str:
    """Return the name of a file, with ``%2F`` for what parts folders; a name too long is cut, and ends in its hash."""
    whole = re.sub(r"[/\\\0]", lambda match: f"%{ord(match[0]):02X}", printable(name))
    if len(f"{whole}{suffix}".encode()) <= LONGEST_NAME:
        return whole + suffix
    ending = f"~{hashlib.sha256(whole.encode()).hexdigest()[:16]}{suffix}"
    return whole.encode()[: LONGEST_NAME - len(ending.encode())].decode("utf-8", "ignore") + ending


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of what a path leads to, where links lead in a circle, too: ``Path.resolve`` fails."""
    return Path(os.path.realpath(path))


def is_file(path: Path) -> bool:
    """Whether a file exists; false also for a name that no file system takes."""
    try:
        return path.is_file()
    except OSError:
        return False


def require(path: Path, what: str, hint: str | None = None) -> None:
    """Refuse a path that leads nowhere, also one that no file system takes.

    Raises:
        PgpisError: ``WHAT not found: PATH``.
    """
    if not os.path.exists(path):  # noqa: PTH110  as above
        raise PgpisError(f"{what} not found: {path}", hint=hint)


def files_below(folder: Path) -> list[Path]:
    """List what is in a folder and the folders in it but is not a folder, by path; links to folders are followed.

    ``Path.rglob`` leaves them out, before Python 3.13 in any case. A link to a folder that it lies in is left out here:
    it would lead round for ever.
    """
    files: list[Path] = []
    around = {os.fspath(folder): frozenset[object]()}
    for place, folders, names in os.walk(folder, followlinks=True):
        own = around.pop(place) | {_identity(place)}
        folders[:] = [name for name in folders if _identity(os.path.join(place, name)) not in own]  # noqa: PTH118
        around |= {os.path.join(place, name): own for name in folders}  # noqa: PTH118  as os.walk spells them
        files += [Path(place, name) for name in names]
    return sorted(files)


def _identity(folder: str) -> object:
    """Return what tells a folder from all others, by whatever path it is reached."""
    try:
        stat = os.stat(folder)  # noqa: PTH116
    except OSError:  # it may not be entered, and nothing of it is listed
        return folder
    return stat.st_dev, stat.st_ino


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed job left half-written in a folder; call it with the folder locked."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, *, resumes: bool = True) -> Iterator[None]:
    """Keep other jobs out of a folder while the block runs; a killed job's lock is gone with it.

    A folder made for the block that is empty in the end is removed; a refusal leaves no lock where there was none.
    ``resumes``: the same command goes on with what the block has written, and a stop says so.

    Raises:
        PgpisError: Another job writes there, or the folder cannot be written to.
    """
    with writing_at(folder):
        was_there, was_locked = folder.exists(), (folder / LOCK).exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (lock := FileLock(folder / LOCK)).acquire(blocking=False)
        except Timeout as error:
            raise PgpisError(f"another run is writing to {folder}", hint="wait, or choose another folder") from error
    try:
        with resumable() if resumes else nullcontext():
            yield
    finally:
        with suppress(OSError):
            is_empty = not was_there and os.listdir(folder) == [LOCK]  # noqa: PTH208  all that there is, in one look
            if is_empty or (isinstance(sys.exception(), PgpisError) and not was_locked):
                (folder / LOCK).unlink()  # while it is held: who opened it in the meantime sees that it is gone
            if is_empty:
                folder.rmdir()
        lock.release()


@contextmanager
def waiting_for(lock: Path) -> Iterator[None]:
    """Run a block when no other job that names the same lock does; the lock's file stays, a killed job's hold ends.

    Raises:
        PgpisError: The lock cannot be written.
    """
    with writing_at(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's content, in hexadecimal; raises as :func:`open_file`."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
