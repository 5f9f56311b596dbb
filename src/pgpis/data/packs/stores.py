"""Where packs lie: a folder, S3 and what speaks like it (by litdata), or another store that fsspec knows."""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pgpis.errors import PgpisError, first_line
from pgpis.files import TEMPORARY, replacing, resolved, sha256_of, write_bytes, writing_at
from pgpis.lazy import optional_module
from pgpis.refusals import UnwritableError, open_file

log = logging.getLogger(__name__)

Result = TypeVar("Result")
INSTALL = 'pip install "pgpis[scale]"'
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before a request that failed is made again, beside the attempts of the store's own client."""


TIMED_OUT, TOO_MANY = 408, 429
"""Statuses of HTTP by which a server refuses what it would answer later."""
NOWHERE = re.compile(r"[A-Za-z][\w+.-]+:(/*|/[^/].*)|s3:///.*", re.DOTALL)
"""URLs that lack their bucket, as those of an empty variable do, or a slash; ``C:/people`` is none."""
DROPPED = frozenset("#?\t\r\n")
"""Stores drop these, and what follows the first two: all files would go to one place."""
HINTS = {
    "read": "is it complete, and can this machine reach it?",
    "write": "is there such a bucket or folder, and may this machine write to it?",
}


class StoreError(UnwritableError):
    """A store cannot be reached, or a file of it is missing or damaged: it ends a job, as all pairs would meet it."""


@dataclass(frozen=True)
class Store:
    """Files by name, in one flat place.

    Raises:
        PgpisError: The place is a URL that names none, or of which stores drop something.
    """

    place: str
    """Folder, or URL such as ``s3://bucket/people``. Credentials and endpoint of S3 are those of boto3."""

    def __post_init__(self) -> None:
        if NOWHERE.fullmatch(self.place):
            raise PgpisError(f"'{self.place}' names no place", hint="a folder, or a URL such as s3://bucket/people")
        _, is_url, path = self.place.partition("://")
        if is_url and (DROPPED & set(path) or "" in path.rstrip("/").split("/")[1:]):
            message = f"{self.place!r}: stores drop what follows '#' or '?', line breaks, tabs and empty parts ('//')"
            raise PgpisError(message, hint="choose a URL without, such as s3://bucket/people")

    def __str__(self) -> str:
        return self.place

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None: it is elsewhere."""
        return None if "://" in self.place else Path(self.place)

    def is_at(self, place: str) -> bool:
        """Whether a folder or URL is this place, however it is spelt."""
        other = Store(place)
        if self.folder and other.folder:
            return resolved(self.folder) == resolved(other.folder)
        return self.place.rstrip("/") == place.rstrip("/")

    def below(self, name: str) -> Store:
        """Return the store in a folder of this one."""
        return Store(f"{self.place.rstrip('/')}/{name}")

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """Return a file's bytes from ``begin`` to ``end``.

        Raises:
            StoreError: It is missing, ends before ``end``, or cannot be read, also after some attempts.
        """

        def of_disk(folder: Path) -> bytes:
            with open_file(folder / name) as file:
                file.seek(begin)
                return file.read(-1 if end is None else end - begin)

        folder = self.folder
        read = functools.partial(of_disk, folder) if folder else lambda: self._client.cat_file(name, begin, end)
        content: bytes = self._persist(name, read)
        if end is not None and len(content) != end - begin:
            raise StoreError(f"{self}/{name} is damaged: it ends early", hint=f"pgpis data check {self}")
        return content

    def read_if_there(self, name: str) -> bytes | None:
        """Return a file's content; None: there is none.

        Raises:
            StoreError: It cannot be read.
        """
        try:
            return self.read(name)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def fetch(self, name: str, path: Path, digest: str | None = None) -> None:
        """Copy a file to this machine, whole or not at all.

        Raises:
            StoreError: As :meth:`read`, or its sha256 is not ``digest``.
            UnwritableError: This machine's disk is full, or cannot be written to.
        """
        with replacing(path) as temporary:
            self._persist(name, lambda: self._client.get_file(name, temporary))
            if digest is not None and sha256_of(temporary) != digest:
                raise StoreError(f"{self}/{name} is damaged", hint=f"pgpis data check {self}")

    def digest(self, name: str) -> str:
        """Return the sha256 of a file; raises as :meth:`read`."""
        if self.folder:
            return self._persist(name, lambda: sha256_of(f"{self.folder}/{name}"))
        with tempfile.TemporaryDirectory(prefix="pgpis-") as folder:
            self.fetch(name, Path(folder) / name)
            return sha256_of(Path(folder) / name)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a folder of this machine for files that :meth:`put` takes; where the store is a folder, inside it."""
        with writing_at(self.folder or Path(tempfile.gettempdir())):
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.folder) as folder:
                yield Path(folder)

    def put(self, path: Path, name: str) -> None:
        """Put a file of :meth:`staging` into the store, whole or not at all.

        Raises:
            UnwritableError: It cannot be written, to a URL also after some attempts.
        """
        if self.folder is None:
            self._persist(name, lambda: self._client.put_file(path, name), "write")
            return
        with replacing(self.folder / name) as temporary:
            path.replace(temporary)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; raises as :meth:`put`."""
        with self.staging() as folder:
            write_bytes(folder / name, content)
            self.put(folder / name, name)

    @property
    def _client(self) -> Any:
        return _client_of(self.place, os.getpid())  # connections do not survive a fork

    def _persist(self, name: str, attempt: Callable[[], Result], verb: str = "read") -> Result:
        """Ask again where a connection broke; what a store refuses, it would refuse again."""
        for pause in (*PAUSES, None):
            try:
                return attempt()
            except PgpisError:
                raise
            except Exception as error:  # each kind of store raises its own; none is dropped
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise  # of this machine's disk
                status = _status_of(error)
                cause = FileNotFoundError(name) if status == 404 else error
                is_refused = 400 <= status < 500 and status not in (TIMED_OUT, TOO_MANY)
                is_final = is_refused or isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
                reason = f"cannot {verb} {self}/{name}: {first_line(error)}"
                if pause is None or self.folder or is_final:
                    raise StoreError(reason, hint=HINTS[verb]) from cause
                log.warning("%s; trying again in %g s", reason, pause)
                time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises


def _status_of(error: Exception) -> int:
    """Return the HTTP status that an error of a store's client tells, or the one that it came of; 0: none."""
    statuses: list[object] = []
    for each in (error, error.__cause__, error.__context__):  # boto3's of an upload tells none itself
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # botocore's
            statuses.append(dict(response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
        else:  # an object of requests, httpx or azure, or the error itself
            names = ("status_code", "status", "code")
            statuses += [getattr(owner, name, None) for owner in (response, each) for name in names]
    return next((status for status in statuses if isinstance(status, int)), 0)


class _S3:
    """What of litdata reads and writes S3, under the names of fsspec."""

    def __init__(self, url: str) -> None:
        downloader = optional_module("litdata.streaming.downloader", f"{url} needs litdata", INSTALL)
        provider = optional_module("litdata.streaming.fs_provider", f"{url} needs litdata", INSTALL)
        # a plain Config: litdata's own makes a thousand attempts where boto3 takes AWS_MAX_ATTEMPTS
        options = {"config": optional_module("botocore.config", f"{url} needs boto3", INSTALL).Config()}
        self.url = url
        self.downloader = downloader.S3Downloader(url, "", [], options)
        self.provider = provider.S3FsProvider(options)

    def cat_file(self, name: str, begin: int, end: int | None) -> bytes:
        if end is not None:
            return bytes(self.downloader.download_bytes(f"{self.url}/{name}", begin, end - begin, ""))
        content = io.BytesIO()
        self.downloader.download_fileobj(f"{self.url}/{name}", content)
        return content.getvalue()

    def get_file(self, name: str, path: Path) -> None:
        with path.open("wb") as file:
            self.downloader.download_fileobj(f"{self.url}/{name}", file)

    def put_file(self, path: Path, name: str) -> None:
        self.provider.upload_file(str(path), f"{self.url}/{name}")


class _FileSystem:
    """A file system of fsspec, below a URL."""

    def __init__(self, url: str) -> None:
        fsspec = optional_module("fsspec.core", f"{url} needs fsspec", "pip install fsspec")
        try:
            self.system, self.root = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url}: {first_line(error)}", hint="install the package that fsspec names") from error

    def cat_file(self, name: str, begin: int, end: int | None) -> bytes:
        return bytes(self.system.cat_file(f"{self.root}/{name}", start=begin, end=end))

    def get_file(self, name: str, path: Path) -> None:
        self.system.get_file(f"{self.root}/{name}", str(path))

    def put_file(self, path: Path, name: str) -> None:
        self.system.makedirs(self.root, exist_ok=True)
        self.system.put_file(str(path), f"{self.root}/{name}")


@functools.cache
def _client_of(url: str, _process: int) -> _S3 | _FileSystem:
    return _S3(url) if url.startswith("s3://") else _FileSystem(url)
