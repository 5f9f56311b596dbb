"""What belongs to one visitor: a folder and what is being made, both gone when the visitor is."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pgpis.app.uploads import MOST_PIXELS, Upload, file_of
from pgpis.errors import PgpisError
from pgpis.files import replacing, resolved, sha256_of
from pgpis.studio.uploads import picture_suffix

SECONDS_KEPT = 3600
"""After the last thing that a visitor asked for. A browser says when its page is closed; other clients need not."""
SECONDS_TO_UPLOAD = 1800
"""After which a file that Gradio has begun and left is removed."""
UPLOADED = re.compile("[0-9a-f]{64}")
"""Names of the folders in which Gradio keeps uploads: their hashes."""
MOST_RESULTS = 6
"""Folders of results of one visitor; older ones are removed."""


class Stop(threading.Event):
    """Ends what is being made."""

    is_for_newer = False
    """Whether what the visitor asked for next took its place."""


@dataclass(eq=False)
class Visitor:
    """One page that somebody has open.

    Its folder lies where Gradio may serve files from, and its name cannot be guessed.
    """

    home: Path
    """Where uploads lie, and the folders of all visitors."""
    folder: Path
    lent: set[str]
    """Hashes of the page's own examples: files that the server keeps once for everybody."""
    stop: Stop = field(default_factory=Stop)
    stopped: float = -math.inf
    """When the visitor last asked to stop."""
    seen: float = field(default_factory=time.monotonic)
    uploads: dict[Path, int] = field(default_factory=dict)
    """Where the server keeps what was uploaded, and when it came, in nanoseconds."""
    has_left: bool = False
    _jobs: int = 0
    """That are at work."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Do something for the visitor: who waits is there, and what is made for one who has left is removed."""
        with self._lock:
            self._jobs += 1
        try:
            yield
        finally:
            with self._lock:
                self._jobs -= 1
                self.seen = time.monotonic()
                if self.has_left:
                    shutil.rmtree(self.folder, ignore_errors=True)

    def is_late(self, now: float) -> bool:
        """Whether the visitor has not asked for anything for long, and nothing is being made."""
        with self._lock:
            return not self._jobs and now - self.seen > SECONDS_KEPT

    def leave(self) -> None:
        """Stop what is being made, and remove the folder."""
        self.stop.set()
        with self._lock:
            self.has_left = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def end(self) -> None:
        """Stop what is being made, and what was asked for before and still waits to begin."""
        self.stopped = time.monotonic()
        self.stop.set()

    def begin(self, asked: float = math.inf) -> tuple[Path, Stop]:
        """Return a new folder for results and what stops the work on them; what was being made before is stopped.

        Args:
            asked: When the visitor asked for it, of the monotonic clock.
        """
        if not self.stop.is_set():
            self.stop.is_for_newer = True
            self.stop.set()
        self.stop = Stop()
        if asked < self.stopped:
            self.stop.set()
        results = sorted(self.folder.glob("result-*"))
        for old in results[: -MOST_RESULTS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        folder = self.folder / f"result-{next(self._numbers):06d}"
        folder.mkdir()
        return folder, self.stop

    def picture(self, upload: Upload, name: str) -> Path:
        """Return a picture under a name of the page's own: the visitor's is nobody's business.

        Raises:
            PgpisError: There is none, or it is not one that is taken.
        """
        source = self.own(upload, name)
        with source.open("rb") as file:
            suffix = picture_suffix(file, name, MOST_PIXELS)
        return self.keep(source, f"{name.lower().replace(' ', '-')}{suffix}")

    def own(self, upload: Upload, name: str) -> Path:
        """Return where the server keeps what was uploaded.

        Raises:
            PgpisError: There is none, or it was not uploaded.
        """
        source = resolved(file_of(upload, name))
        if not source.is_relative_to(self.home) or not source.is_file():
            raise PgpisError(f"{name}: upload it again")
        # the page's own pictures lie elsewhere: they are nobody's to remove
        is_upload = source.parent.parent == self.home and UPLOADED.fullmatch(source.parent.name)
        if is_upload and sha256_of(source) not in self.lent:
            self.uploads[source] = source.stat().st_mtime_ns
        return source

    def lend(self, example: Path) -> Path:
        """Return a copy of one of the page's own pictures, which is no visitor's to remove."""
        self.lent.add(sha256_of(example))
        return self.keep(example, example.name)

    def keep(self, source: Path, name: str) -> Path:
        """Return a copy of a file under another name."""
        path = self.folder / "uploads" / sha256_of(source)[:16] / name
        if not path.exists():
            with replacing(path) as copy:
                shutil.copyfile(source, copy)
        return path

    @property
    def conditions(self) -> Path:
        """Where what is made of pictures is kept, as long as the visitor is here."""
        return self.folder / "conditions"


class Visitors:
    """Everybody who has the page open.

    Args:
        home: Folder from which Gradio serves files.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._visitors: dict[str, Visitor] = {}
        self._lent: set[str] = set()
        self._lock = threading.Lock()

    def of(self, session: str | None) -> Visitor:
        """Return the visitor of a session, and forget those who have not asked for anything for long."""
        with self._lock:
            now = time.monotonic()
            late = [key for key, visitor in self._visitors.items() if visitor.is_late(now)]
            for key in late:
                self._remove(key)
            self._remove_unfinished()
            key = session or ""
            if key not in self._visitors:
                folder = self.home / "visitors" / secrets.token_urlsafe(24)
                folder.mkdir(parents=True)
                self._visitors[key] = Visitor(self.home, folder, self._lent)
            self._visitors[key].seen = now
            return self._visitors[key]

    def leave(self, session: str | None) -> None:
        """Stop what a visitor has asked for, and remove all that is theirs."""
        with self._lock:
            if (session or "") in self._visitors:
                self._remove(session or "")

    def close(self) -> None:
        """Let everybody leave."""
        with self._lock:
            for key in list(self._visitors):
                self._remove(key)

    def _remove(self, key: str) -> None:
        visitor = self._visitors.pop(key)
        visitor.leave()
        # the server keeps equal files of two visitors once, and the other one need not have asked for anything yet
        others = {upload for other in self._visitors.values() for upload in other.uploads}
        for upload in visitor.uploads.keys() - others:
            with contextlib.suppress(OSError):
                if upload.stat().st_mtime_ns == visitor.uploads[upload]:
                    upload.unlink()

    def _remove_unfinished(self) -> None:
        """Remove what is left of uploads that failed, by a full disk say."""
        latest = time.time() - SECONDS_TO_UPLOAD
        for path in self.home.glob("tmp*"):
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mtime < latest:
                    path.unlink()
