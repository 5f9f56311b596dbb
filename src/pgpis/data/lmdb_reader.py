"""Entries of an LMDB, read without mapping the file: a damaged or truncated one gives an error, not SIGBUS.

LMDB trusts what it maps, so that one wrong offset ends the process without a word. All that is needed here is to look
up a key in the main table; every offset is checked against the file.

Source: the data format of LMDB 0.9 (version 1), ``mdb.c``: MDB_meta, MDB_page, MDB_node.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pgpis.errors import PgpisError
from pgpis.pictures.decoding import MOST_BYTES
from pgpis.refusals import open_file

MAGIC, VERSION = 0xBEEFC0DE, 1
HEADER = 16  # bytes of a page before its content
BRANCH, LEAF = 0x01, 0x02
BIG = 0x01  # flag of an entry that has pages of its own
EMPTY = 2**64 - 1
DEEPEST = 32


class DamagedError(Exception):
    """The database is not what its header says."""


def read_entry(database: Path, key: bytes) -> bytes | None:
    """Return the entry of an LMDB's main table, or None where it has none.

    Raises:
        PgpisError: The file is missing, truncated or damaged, or the entry is too large.
    """
    try:
        with open_file(database) as file:
            return _Tree(file).get(key)
    except FileNotFoundError:
        raise PgpisError(f"LMDB not found: {database}") from None
    except (OSError, DamagedError, struct.error, IndexError) as error:
        reason = error if isinstance(error, OSError | DamagedError) else "one of its pages is damaged"
        raise PgpisError(f"cannot read the LMDB {database}: {reason}", hint="copy or download it again") from error


class _Tree:
    """The main table of one database."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        magic, version, self.page_size = struct.unpack_from("<II16xI", self._read(0, 256), HEADER)
        if (magic, version) != (MAGIC, VERSION):
            raise DamagedError(f"it does not start like an LMDB of format {VERSION}")
        if not 512 <= self.page_size <= 2**16:
            raise DamagedError(f"its header names pages of {self.page_size} bytes")
        # two headers take turns; the one of the later transaction counts
        headers = [self._read(number * self.page_size, 256) for number in (0, 1)]
        header = max(headers, key=lambda content: struct.unpack_from("<Q", content, HEADER + 128))
        if struct.unpack_from("<I", header, HEADER)[0] != MAGIC:
            raise DamagedError("its second header is damaged")
        self.flags, self.root, self.last_page = struct.unpack_from("<H34xQQ", header, HEADER + 76)
        whole = (self.last_page + 1) * self.page_size
        if self.size < whole:
            raise DamagedError(f"it is cut short: {self.size} bytes, its header says {whole}")

    def get(self, key: bytes) -> bytes | None:
        """Walk from the root to the leaf that holds a key."""
        if self.flags:
            raise DamagedError("its keys are not sorted as bytes")
        number = self.root
        for _ in range(DEEPEST):
            if number == EMPTY:
                return None
            page = self._page(number)
            _, _, flags, lower, _ = struct.unpack_from("<QHHHH", page)
            offsets = struct.unpack_from(f"<{max(0, lower - HEADER) // 2}H", page, HEADER)
            if not flags & (BRANCH | LEAF):
                break
            # the first key of a branch stands for all that are smaller
            first = 1 if flags & BRANCH else 0
            position = bisect_right(offsets, key, lo=first, key=partial(self._key, page)) - 1
            if flags & BRANCH:
                low, high, top, _ = struct.unpack_from("<HHHH", page, offsets[position])
                number = low | high << 16 | top << 32
            elif position < 0 or self._key(page, offsets[position]) != key:
                return None
            else:
                return self._value(page, offsets[position])
        raise DamagedError("its tree is damaged")

    def _key(self, page: bytes, offset: int) -> bytes:
        (length,) = struct.unpack_from("<H", page, offset + 6)
        return page[offset + 8 : offset + 8 + length]

    def _value(self, page: bytes, offset: int) -> bytes:
        low, high, flags, length = struct.unpack_from("<HHHH", page, offset)
        size, start = low | high << 16, offset + 8 + length
        if flags & ~BIG:
            raise DamagedError("the entry is a table, not a picture")
        if size > MOST_BYTES:
            raise DamagedError(f"the entry has {size} bytes, more than {MOST_BYTES}")
        if not flags:
            if start + size > len(page):
                raise DamagedError("one of its entries is damaged")
            return page[start : start + size]
        (number,) = struct.unpack_from("<Q", page, start)
        self._page(number)
        return self._read(number * self.page_size + HEADER, size)

    def _page(self, number: int) -> bytes:
        if number > self.last_page:
            raise DamagedError(f"it has no page {number}")
        return self._read(number * self.page_size, self.page_size)

    def _read(self, start: int, size: int) -> bytes:
        if start + size > self.size:
            raise DamagedError(f"it ends at byte {self.size}, before what should be at {start}")
        self.file.seek(start)
        return self.file.read(size)
