"""Reading foreign weight files: torch archives (Lightning or plain) and safetensors; nothing in them is executed."""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pgpis.convert.formats import SAFETENSORS, check_format, unreadable
from pgpis.errors import PgpisError
from pgpis.unpickle import (
    UNPICKLING_ERRORS,
    Budget,
    Reader,
    StorageRecord,
    TensorRecord,
    storage_of,
    strided,
    torch_names,
)

_INFO_KEYS = ("epoch", "global_step", "pytorch-lightning_version")
_ARCHIVE_ERRORS = (
    *UNPICKLING_ERRORS,
    NotImplementedError,  # zipfile: compression or flags that it does not know
    OSError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class ForeignCheckpoint:
    """Weights of a foreign file."""

    path: Path
    tensors: dict[str, torch.Tensor]
    """On the CPU, by the names of the file; names that share their storage there share it here."""
    info: dict[str, str | int]
    """``epoch``, ``global_step`` and ``pytorch-lightning_version``, where the file says them."""


def read_state_dict(path: str | Path) -> ForeignCheckpoint:
    """Read the weights of a foreign file.

    Args:
        path: A file of ``torch.save`` (zip archive, torch >= 1.6): a Lightning checkpoint or a plain state dict; or a
            safetensors file. Optimiser states are not read.

    Raises:
        PgpisError: Missing, truncated, damaged, or not a checkpoint.
    """
    path = Path(path)
    check_format(path)
    if path.suffix == SAFETENSORS:
        try:
            return ForeignCheckpoint(path, load_file(path), {})
        except (SafetensorError, OSError, ValueError) as error:
            raise unreadable(path, error) from error
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).read()
    except _ARCHIVE_ERRORS as error:
        raise unreadable(path, error) from error


class _Archive:
    """Reads one open archive."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.archive = archive
        pickles = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise PgpisError(f"{path} is a zip archive, but not one of torch.save: it holds no data.pkl")
        self.root = pickles[0].removesuffix("data.pkl")
        self.storages: dict[str, torch.Tensor] = {}
        self.tensors: dict[TensorRecord, torch.Tensor] = {}
        self.bytes_left = path.stat().st_size
        self.budget = Budget(self.bytes_left)

    def read(self) -> ForeignCheckpoint:
        byte_order = f"{self.root}byteorder"
        if byte_order in self.archive.namelist() and self._bytes("byteorder") != sys.byteorder.encode():
            raise PgpisError(f"{self.path} was written on a machine with another byte order")
        reader = Reader(torch_names(self.budget), self.budget, storage_of)
        content = reader.load(bytes(self._bytes("data.pkl")))
        nested = content.get("state_dict") if isinstance(content, dict) else None
        state_dict = content if nested is None else nested
        if not isinstance(state_dict, dict) or not any(isinstance(v, TensorRecord) for v in state_dict.values()):
            raise PgpisError(f"{self.path} is not a checkpoint: it holds no state dict")
        about = {} if nested is None else content
        info = {key: value for key in _INFO_KEYS if isinstance(value := about.get(key), (str, int))}
        return ForeignCheckpoint(self.path, self._materialise(state_dict), info)

    def _materialise(self, state_dict: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
        tensors = {}
        for name, record in state_dict.items():
            if not isinstance(name, str) or not isinstance(record, TensorRecord):
                raise PgpisError(f"{self.path}: entry {str(name)[:80]!r} of the state dict is not a plain tensor")
            if record not in self.tensors:
                self.tensors[record] = strided(record, self._storage(record.storage), self.budget)
            tensors[name] = self.tensors[record]
        return tensors

    def _storage(self, record: StorageRecord) -> torch.Tensor:
        if record.key not in self.storages:
            content = self._bytes(f"data/{record.key}")
            if len(content) != record.numel * record.dtype.itemsize:
                raise ValueError(f"storage {record.key} has {len(content)} bytes, not as many as its tensors need")
            empty = torch.empty(0, dtype=record.dtype)
            self.storages[record.key] = torch.frombuffer(content, dtype=record.dtype) if content else empty
        storage = self.storages[record.key]
        if storage.dtype != record.dtype or len(storage) != record.numel:
            raise ValueError(f"storage {record.key} is used in two ways")
        return storage

    def _bytes(self, name: str) -> bytearray:
        """Read an entry; together they hold no more than the file, or they overlap."""
        entry = self.archive.getinfo(self.root + name)
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"'{name}' is compressed, which torch.save never does")
        self.bytes_left -= entry.file_size
        if self.bytes_left < 0:
            raise ValueError("its entries hold more bytes than the file")
        content = bytearray(entry.file_size)
        with self.archive.open(entry) as file:
            _read_into(file, content)
        return content


def _read_into(file: Any, content: bytearray) -> None:
    view, position = memoryview(content), 0
    while position < len(content):
        count = file.readinto(view[position : position + 2**24])
        if not count:
            raise EOFError("the archive is cut off")
        position += count
    if file.read(1):
        raise ValueError("a storage is longer than the archive says")
