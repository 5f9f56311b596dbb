"""What the user is told where a file or folder cannot be read, written or used, and whether others would fail alike."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from io import BufferedReader
from pathlib import Path

from pgpis.errors import PgpisError

LEAST_SPACE = 1 << 16
"""Bytes below which a disk is full."""
_REMEDIES = {
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EDQUOT: "free some of your quota, then run the same command again",
    errno.EFBIG: "the file system or a limit of the shell (ulimit -f) allows no larger files",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file is in the place of a folder: move it, or choose another folder",
    errno.EEXIST: "a file is in the place of a folder: move it, or choose another folder",
    errno.EISDIR: "a folder is in the place of the file: move it, or choose another name",
    errno.EBUSY: "a disk is mounted there, or it is in use: choose a folder below it",
    errno.ENOTEMPTY: "choose another folder, or remove this one",
}
_ENDING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_FOLDER_ERRORS = (*_ENDING, errno.ENOTDIR, errno.EEXIST)


class UnwritableError(PgpisError):
    """Nothing more can be written there: it ends a job, where other errors of a file cost that file alone."""


def write_refusal(path: Path, error: BaseException) -> PgpisError | None:
    """Return what the user is told where ``path`` cannot be written; None: the error is of another kind."""
    if isinstance(error, PgpisError):
        return None
    code = error.errno if isinstance(error, OSError) else None
    if code is None and isinstance(error, Exception):
        # libraries that write by themselves say it in words: "Os { code: 28, ...", "iostream error"
        match = re.search(r"\bcode: (\d+)", str(error))
        code = int(match[1]) if match else errno.ENOSPC if _is_full(path) else None
    if code not in _REMEDIES:
        return None
    kind = UnwritableError if code in _ENDING else PgpisError
    return kind(f"cannot write {path}: {os.strerror(code)}", hint=_REMEDIES[code])


def refusal_of(error: OSError) -> PgpisError | None:
    """Return what the user is told of a file or folder that was read or written; None: the error says it itself."""
    if error.errno in _OF_WRITING:
        return write_refusal(Path(os.fsdecode(error.filename or "the output, or a file of this run")), error)
    if not error.filename or error.errno not in _REMEDIES:
        return None
    hint = "choose a place that you may use" if error.errno in (errno.EACCES, errno.EPERM) else _REMEDIES[error.errno]
    return PgpisError(f"cannot use {os.fsdecode(error.filename)}: {os.strerror(error.errno)}", hint=hint)


def file_status(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of a file that is to be read: a pipe could be waited for, and a device read, for ever.

    Raises:
        OSError: It is missing, or its folder may not be entered.
        PgpisError: It is a folder, pipe, socket or device.
    """
    status = os.stat(path)  # noqa: PTH116  a path may be text
    if not stat.S_ISREG(status.st_mode):
        raise PgpisError(f"cannot read {os.fspath(path)}: it is not a file")
    return status


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file to read its bytes; raises as :func:`file_status`."""
    file_status(path)
    return Path(path).open("rb")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < LEAST_SPACE
    except OSError:
        return False


def meets_every_file(error: BaseException) -> bool:
    """Whether what stopped one file from being written would stop all others in its folder too: a full disk, say."""
    cause = error.__cause__ if isinstance(error, PgpisError) else error
    return isinstance(cause, OSError) and cause.errno in _FOLDER_ERRORS
