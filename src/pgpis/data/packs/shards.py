"""Files in litdata's shards, read by their number in any order, through a bounded cache where the shards are far away.

litdata's own reader by index drops a shard as soon as another one is asked for: right for a stream, and a download of a
whole shard for each picture in the order of ``ResumableSampler``, which is that of the folder.
"""

from __future__ import annotations

import logging
import shutil
from bisect import bisect_right
from collections.abc import Sequence
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
        self._offsets: dict[int, NDArray[np.int64]] = {}

    def keep_from(self, number: int) -> None:
        """Keep first the shards from that of a file on, and the others where room is left."""
        first = bisect_right(self.starts, number) - 1
        order = [*range(first, len(self.chunks)), *range(first)]
        ends = list(accumulate(self.chunks[shard]["chunk_bytes"] for shard in order))
        self.kept = frozenset(order[: bisect_right(ends, self.cache_bytes)])

    def shard_of(self, number: int) -> str:
        """Return the name of the shard that holds a file."""
        return str(self.chunks[bisect_right(self.starts, number) - 1]["filename"])

    def read(self, number: int) -> bytes:
        """Return the content of a file.

        Raises:
            StoreError: Its shard is missing or damaged, or cannot be reached.
        """
        shard = bisect_right(self.starts, number) - 1
        store, chunk = self._nearest(shard), self.chunks[shard]
        if shard not in self._offsets:
            head = store.read(chunk["filename"], 0, (chunk["chunk_size"] + 2) * WORD)
            store.read(chunk["filename"], chunk["chunk_bytes"] - 1, chunk["chunk_bytes"])  # it is there to its end
            self._offsets[shard] = _checked(np.frombuffer(head, "<u4").astype(np.int64), chunk, self.store)
        begin, end = self._offsets[shard][number - self.starts[shard] :][:2].tolist()
        return b"" if end - begin == WORD else store.read(chunk["filename"], begin + WORD, end)

    def _nearest(self, shard: int) -> Store:
        """Return where to read a shard: where it is, or in the cache, into which it is copied while there is room."""
        if self.store.folder is not None or shard not in self.kept:
            return self.store
        name, digest = self.chunks[shard]["filename"], self.chunks[shard]["sha256"]
        path = self.cache / digest[:16] / name  # another content is another file
        if not is_file(path):
            if self._is_full:
                return self.store
            try:
                self._fetch(name, path, digest)
            except StoreError:
                raise
            except PgpisError as error:
                log.warning("%s; training goes on without more shards in the cache", error.message)
                self._is_full = True
                return self.store
        return Store(str(path.parent))

    def _fetch(self, name: str, path: Path, digest: str) -> None:
        """Copy a shard into the cache, once for all processes of this machine."""
        with writing_at(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if is_file(path):
                return
            remove_unfinished(path.parent)  # of a process that was killed
            self._remove_former()
            self.store.fetch(name, path)
            if sha256_of(path) != digest:
                path.unlink()
                raise StoreError(f"{self.store}/{name} is damaged", hint=f"pgpis data check {self.store}")

    def _remove_former(self) -> None:
        """Remove shards of the same store that have been packed anew since."""
        digests = {chunk["sha256"][:16] for chunk in self.chunks}
        for folder in self.cache.iterdir():
            if folder.name not in digests:
                shutil.rmtree(folder, ignore_errors=True)


def _checked(head: NDArray[np.int64], chunk: dict[str, Any], store: Store) -> NDArray[np.int64]:
    """Return the offsets of a shard's files, which must be those that the index promises."""
    count, offsets = head[0], head[1:]
    is_whole = count == chunk["chunk_size"] and offsets[-1] == chunk["chunk_bytes"] and (np.diff(offsets) >= WORD).all()
    if not is_whole:
        raise StoreError(f"{store}/{chunk['filename']} is damaged", hint=f"pgpis data check {store}")
    return offsets
