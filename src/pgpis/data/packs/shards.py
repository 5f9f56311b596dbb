"""Files in litdata's shards, read by their number in any order, through a bounded cache where the shards are far away.

litdata's own reader by index drops a shard as soon as another one is asked for: right for a stream, and a download of a
whole shard for each picture in the order of ``ResumableSampler``, which is that of the folder.
"""

from __future__ import annotations

import logging
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from pgpis.data.packs.stores import Store, StoreError
from pgpis.errors import PgpisError
from pgpis.files import is_file, remove_unfinished, sha256_of, writing_at

log = logging.getLogger(__name__)

WORD = 4
"""Bytes of litdata's numbers: of items, of their offsets, and of the one value that each item holds."""


class Shards:
    """The numbered files of a pack.

    Args:
        store: Where the shards are.
        chunks: What the index says of each: ``filename``, ``chunk_size`` files, ``chunk_bytes``, ``sha256``.
        cache: Folder of this machine for shards that are elsewhere.
        cache_bytes: The most that it may hold. The first shards that fit are kept when they are first read; of the
            others only the bytes of the file that is asked for are read. In a random order no choice hits more often.
    """

    def __init__(self, store: Store, chunks: Sequence[dict[str, Any]], cache: Path, cache_bytes: int) -> None:
        self.store = store
        self.chunks = chunks
        self.cache = cache
        self.cache_bytes = cache_bytes
        self.starts = [0, *accumulate(chunk["chunk_size"] for chunk in chunks)]
        self.keep_from(0)
        self._is_full = False
        self._fetched: set[int] = set()
        self._away: set[int] = set()
        """Shards that are kept no more: other processes remove them, or this disk damages them or is full."""
        self._offsets: dict[int, NDArray[np.int64]] = {}

    def keep_from(self, number: int) -> None:
        """Keep first the shards from that of a file on, and the others where room is left."""
        first = bisect_right(self.starts, number) - 1
        order = [*range(first, len(self.chunks)), *range(first)]
        ends = list(accumulate(self.chunks[shard]["chunk_bytes"] for shard in order))
        self.kept = frozenset(order[: bisect_right(ends, self.cache_bytes)])
        self._has_made_room = False

    def shard_of(self, number: int) -> str:
        """Return the name of the shard that holds a file."""
        return str(self.chunks[bisect_right(self.starts, number) - 1]["filename"])

    def read(self, number: int) -> bytes:
        """Return the content of a file.

        Raises:
            StoreError: Its shard is missing or damaged, or cannot be reached.
        """
        shard = bisect_right(self.starts, number) - 1
        if self.store.folder is None and self._has_room(shard) and shard not in self._away:
            for anew in (False, True):
                if self._is_cached(shard, anew=anew):
                    try:
                        return self._read(Store(str(self._place(shard))), shard, number)
                    except StoreError as error:  # another process made room, or the copy was damaged
                        log.warning("%s; it is read from %s", error.message, self.store)
                        self._offsets.pop(shard, None)
            self._away.add(shard)
        return self._read(self.store, shard, number)

    def mend(self, number: int) -> bool:
        """Fetch the shard of a file that cannot be decoded anew, where the copy in the cache is damaged."""
        shard = bisect_right(self.starts, number) - 1
        path = self._place(shard) / self.chunks[shard]["filename"]
        if self.store.folder is not None or shard in self._away or not is_file(path):
            return False
        if sha256_of(path) == self.chunks[shard]["sha256"]:
            return False
        log.warning("%s is damaged; it is read from %s", path, self.store)
        self._offsets.pop(shard, None)
        if not self._is_cached(shard, anew=True):
            self._away.add(shard)
        return True

    def _read(self, store: Store, shard: int, number: int) -> bytes:
        chunk = self.chunks[shard]
        if shard not in self._offsets:
            head = store.read(chunk["filename"], 0, (chunk["chunk_size"] + 2) * WORD)
            store.read(chunk["filename"], chunk["chunk_bytes"] - 1, chunk["chunk_bytes"])  # it is there to its end
            self._offsets[shard] = _checked(np.frombuffer(head, "<u4").astype(np.int64), chunk, store)
        begin, end = self._offsets[shard][number - self.starts[shard] :][:2].tolist()
        return b"" if end - begin == WORD else store.read(chunk["filename"], begin + WORD, end)

    def _place(self, shard: int) -> Path:
        """Return the folder of a shard in the cache; another content is another folder."""
        return self.cache / str(self.chunks[shard]["sha256"])[:16]

    def _has_room(self, shard: int) -> bool:
        """Whether a shard is one of those that are kept; others of an earlier run go before the first is read."""
        if not self._has_made_room:
            self._has_made_room = True
            self._make_room()
        return shard in self.kept

    def _is_cached(self, shard: int, *, anew: bool = False) -> bool:
        """Whether a shard is in the cache, into which it is fetched, once by each process, while there is room.

        Args:
            shard: Its number.
            anew: What is there cannot be read.
        """
        name, digest = self.chunks[shard]["filename"], self.chunks[shard]["sha256"]
        path = self._place(shard) / name
        if is_file(path) and not anew:
            return True
        if self._is_full or shard in self._fetched:
            return False
        self._fetched.add(shard)
        try:
            self._fetch(name, path, digest, anew=anew)
        except StoreError:
            raise
        except PgpisError as error:
            log.warning("%s; training goes on without more shards in the cache", error.message)
            self._is_full = True
            return False
        return True

    def _fetch(self, name: str, path: Path, digest: str, *, anew: bool) -> None:
        """Copy a shard into the cache, once for all processes of this machine."""
        with writing_at(path):
            self.cache.mkdir(parents=True, exist_ok=True)
        with writing_at(path), _lock_of(path.parent):
            if is_file(path) and (not anew or sha256_of(path) == digest):
                return
            path.unlink(missing_ok=True)
            remove_unfinished(path.parent)  # of a process that was killed
            self._make_room()
            self.store.fetch(name, path, digest)

    def _make_room(self) -> None:
        """Remove shards that have been packed anew since, or are not kept, but for those that others fetch now.

        Who reads one of them goes on reading it in the store.
        """
        kept = {self._place(shard).name for shard in self.kept}
        for folder in self.cache.iterdir() if self.cache.is_dir() else ():
            if folder.name not in kept and folder.is_dir():
                with suppress(OSError), _lock_of(folder, timeout=0):  # a cache that is only read stays as it is
                    shutil.rmtree(folder, ignore_errors=True)


def _lock_of(folder: Path, timeout: float = -1) -> FileLock:
    """Return the lock of a shard's folder, which lies beside it, as the folder may go."""
    return FileLock(f"{folder}.lock", timeout=timeout)


def _checked(head: NDArray[np.int64], chunk: dict[str, Any], store: Store) -> NDArray[np.int64]:
    """Return the offsets of a shard's files, which must be those that the index promises."""
    count, offsets = head[0], head[1:]
    is_whole = count == chunk["chunk_size"] and offsets[-1] == chunk["chunk_bytes"] and (np.diff(offsets) >= WORD).all()
    if not is_whole:
        raise StoreError(f"{store}/{chunk['filename']} is damaged", hint=f"pgpis data check {store}")
    return offsets
