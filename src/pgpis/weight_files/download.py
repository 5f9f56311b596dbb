"""One download: resumed, claimed by one process, with progress."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pgpis import __version__
from pgpis.errors import PgpisError
from pgpis.files import write_text
from pgpis.jobs import SECONDS_BETWEEN_LINES
from pgpis.weight_files.catalogue import WeightFile
from pgpis.weight_files.checksums import CHUNK
from pgpis.weight_files.places import fetch_command

log = logging.getLogger(__name__)

TIMEOUT = 30.0
LARGEST = 2**32
"""Bytes of a download; the largest that is published has a tenth of it."""

Opener = Callable[..., Any]


class Download:
    """The download of one entry, and what the user can do where it fails.

    Args:
        entry: What to download.
        folder: Where to, as the user said it.
        target: The folder itself.
        opener: Opens a ``urllib.request.Request``; takes ``timeout``.
    """

    def __init__(self, entry: WeightFile, folder: str | os.PathLike[str] | None, target: Path, opener: Opener) -> None:
        self.entry, self.opener = entry, opener
        again = self.again = fetch_command(entry.name, folder)
        self.goes_on = f"{again} goes on from there"
        self.by_hand = (
            f"get {entry.url} on another machine, put it here as {target / entry.download}, then run '{again}'"
        )

    def error(self, problem: str, hint: str | None = None) -> PgpisError:
        """Return the error that tells what happened, and what to do."""
        return PgpisError(f"weights '{self.entry.name}': {problem}", hint=hint or self.by_hand)

    def run(self, part: Path) -> None:
        """Bring ``part`` to its full length, from where it is.

        Raises:
            PgpisError: The server cannot be reached, answers something unexpected, or breaks off.
        """
        url, published = self.entry.url, self.entry.size
        with part.open("ab") as file:
            claim(file, part)
            try:
                expected = self._transfer(file, origin_file(part))
            finally:
                size = file.seek(0, os.SEEK_END)
                if size == 0:
                    discard(part)
        if size == 0 or (expected is not None and size < expected):
            raise self.error(f"{url} broke off after {size} of {expected or 'unknown'} bytes", self.goes_on)
        if (expected is not None and size > expected) or (published is not None and size != published):
            discard(part)
            raise self.error(f"{url} gave {size} bytes, expected {published or expected}; they were deleted")

    def _transfer(self, file: BinaryIO, origin: Path) -> int | None:
        """Append what is missing to a file and return the length it should have, None if the server does not say.

        The file goes on only where it is of the same version: by what the server said of it, kept in ``origin``, or
        because the published checksum will tell.
        """
        offset, validator = file.seek(0, os.SEEK_END), _read_origin(origin, self.entry.url)
        if offset and (validator is None or not (validator or self.entry.sha256)):
            return self._anew(file, origin)
        with self._answer(offset, validator) as response:
            span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            start, total = span.groups() if span else (None, None)
            if response.status == 416 and total == str(offset):
                return offset  # it was complete
            is_other = start != str(offset) or (validator and _validator(response) not in ("", validator))
            if response.status == 416 or (response.status == 206 and is_other):
                return self._anew(file, origin)
            if response.status == 200:
                offset = 0
                file.truncate(0)
                file.seek(0)
                validator = _validator(response)
                write_text(origin, json.dumps({"url": self.entry.url, "validator": validator}) + "\n")
            if not (validator or self.entry.sha256):
                self.goes_on = f"{self.again} begins anew"
            length = response.headers.get("Content-Length", "")
            expected = offset + int(length) if length.isdecimal() else None
            if total is not None and total.isdecimal():
                expected = int(total)
            with _meter(self.entry.name, expected, offset) as advance:
                while chunk := self._read(response):
                    file.write(chunk)
                    advance(len(chunk))
                    if file.tell() > LARGEST:
                        file.truncate(0)
                        raise self.error(f"{self.entry.url} gave more than {LARGEST} bytes; they were deleted")
        return expected

    def _anew(self, file: BinaryIO, origin: Path) -> int | None:
        file.truncate(0)
        return self._transfer(file, origin)

    def _answer(self, offset: int, validator: str | None) -> Any:
        """Ask for the bytes from ``offset`` on; the response has status 200 or, where a part was asked for, 206 or 416.

        All bytes are asked for where the server has another version than that of ``validator``.

        Raises:
            PgpisError: There is no other answer.
        """
        url = urlsplit(self.entry.url)
        if url.scheme not in {"http", "https"}:
            raise PgpisError(f"weights '{self.entry.name}': {self.entry.url} is not an http or https address")
        headers = {"User-Agent": f"pgpis/{__version__}"}
        if offset:
            headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator else {})
        request = urllib.request.Request(self.entry.url, headers=headers)  # noqa: S310  (the scheme was checked)
        try:
            response = self.opener(request, timeout=TIMEOUT)
        except HTTPError as error:
            response = error
        except (OSError, HTTPException) as error:
            raise self.error(f"cannot reach {url.hostname} ({getattr(error, 'reason', None) or error})") from error
        final = urlsplit(getattr(response, "url", None) or self.entry.url)
        problem = None
        if response.status not in ({200, 206, 416} if offset else {200}):
            problem = f"the server answered {response.status}"
        elif final.scheme not in ("https", url.scheme):
            problem = f"the server sends on to {final.scheme}://{final.hostname}, which is not safe"
        elif response.status != 416 and response.headers.get("Content-Type", "").startswith("text/html"):
            problem = "the server answered with a web page"
        if problem is not None:
            response.close()
            raise self.error(f"{self.entry.url}: {problem}")
        return response

    def _read(self, response: Any) -> bytes:
        try:
            chunk: bytes = response.read(CHUNK)
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise self.error(f"{self.entry.url} broke off ({reason})", self.goes_on) from error
        return chunk


def origin_file(part: Path) -> Path:
    """Return the file that says where an unfinished download is from, and of which version it is."""
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Remove an unfinished download, unless it has got its name, and what was known of it."""
    part.unlink(missing_ok=True)
    origin_file(part).unlink(missing_ok=True)


def _read_origin(origin: Path, url: str) -> str | None:
    """Return what tells the version of an unfinished download, empty if that is unknown; None: it is from elsewhere."""
    try:
        known = json.loads(origin.read_text(encoding="utf-8"))
        return _sendable(known["validator"]) if known["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or damaged
        return ""


def _validator(response: Any) -> str:
    """Return the header by which a server tells versions of a file apart, empty if there is none to rely on."""
    etag = response.headers.get("ETag", "").strip()
    return _sendable(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))


def _sendable(header: object) -> str:
    return header if isinstance(header, str) and header.isascii() and header.isprintable() else ""


def claim(file: BinaryIO, part: Path) -> None:
    """Keep other processes from the same file; the claim ends when it is closed, or its holder is killed.

    Raises:
        PgpisError: Another process is at it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PgpisError(f"another process is downloading or unpacking {part}", hint="wait until it is done") from error


@contextmanager
def _meter(doing: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    """Show bytes done, bytes a second and the time left: a bar on a terminal, else a line now and then.

    ``total`` and ``done`` are the bytes of all and of what is there; what is yielded takes the count of each chunk.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn(doing), *columns, console=console) as bar:
            task = bar.add_task(doing, total=total, completed=done)
            yield lambda count: bar.advance(task, count)
        return
    begin = last_line = time.monotonic()
    before = done

    def log_line(count: int) -> None:
        nonlocal done, last_line
        done += count
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES or done == total:
            last_line = now
            rate = (done - before) / max(now - begin, 1e-9)
            rest = "" if total is None else f" of {decimal(total)}, {(total - done) / rate:.0f} s left"
            log.info("%s: %s at %s/s%s", doing, decimal(done), decimal(int(rate)), rest)

    yield log_line
