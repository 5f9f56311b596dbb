"""Pickles of torch tensors with the same bytes every time.

``pickle.dump`` of a tensor writes the address of its memory as the key of its storage, so that no two files are equal.
Here the key is 0; everything else is written as torch writes it, and ``pickle.load`` reads it.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION
from torch.storage import TypedStorage, _load_from_bytes

KEY = "0"
PROTOCOL = 2
SYSTEM = {
    "protocol_version": PROTOCOL_VERSION,
    "little_endian": sys.byteorder == "little",
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def pickled(value: Any) -> bytes:
    """Pickle a value of dicts, lists, numbers and text in which float32 arrays become torch tensors."""
    file = io.BytesIO()
    _TensorPickler(file, PROTOCOL).dump(_with_tensors(value))
    return file.getvalue()


def _with_tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    return value


class _TensorPickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, TypedStorage):
            return _load_from_bytes, (_storage_bytes(value),)
        return NotImplemented


class _StoragePickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, TypedStorage):
            return ("storage", torch.FloatStorage, KEY, "cpu", len(_values(value)), None)
        return None


def _storage_bytes(storage: TypedStorage) -> bytes:
    """Return a float32 storage in the form of ``torch.save`` before version 1.6."""
    file = io.BytesIO()
    for value in (MAGIC_NUMBER, PROTOCOL_VERSION, SYSTEM):
        pickle.dump(value, file, PROTOCOL)
    _StoragePickler(file, PROTOCOL).dump(storage)
    pickle.dump([KEY], file, PROTOCOL)
    values = _values(storage)
    return file.getvalue() + struct.pack("=q", len(values)) + values.tobytes()


def _values(storage: TypedStorage) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = torch.empty(0).set_(storage._untyped_storage).numpy()  # noqa: SLF001
    return values
