"""Stand-ins for what torch pickles: storages and tensors as records."""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pgpis.unpickle.machine import Budget, InertStub, Names, Reader, StandIn, is_shape, is_size, ordered_dict

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_MAGIC = 0x1950A86A20F9469CFC6C
"""What a file of torch < 1.6 begins with."""


@dataclass(frozen=True)
class StorageRecord:
    """Where the numbers of a tensor lie in the file."""

    key: str
    """Name of the record in the archive."""
    dtype: torch.dtype
    numel: int
    """Number of elements, as the file says; nobody has checked it."""
    values: torch.Tensor | None = field(default=None, compare=False)
    """The numbers, where the pickle itself holds them."""


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that has not been read yet; whether it lies inside its storage has not been checked."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def torch_names(budget: Budget) -> Names:
    """Return what stands for torch's functions and classes."""
    rebuild, parameter = StandIn(_tensor), StandIn(lambda data, *_: data)
    return {
        **{("torch", name): dtype for name, dtype in _DTYPES.items()},
        **{("torch._utils", f"_rebuild_tensor{ending}"): rebuild for ending in ("", "_v2")},
        **{("torch._utils", f"_rebuild_parameter{ending}"): parameter for ending in ("", "_with_state")},
        ("torch.storage", "_load_from_bytes"): StandIn(lambda data: _embedded(data, budget)),
        ("collections", "OrderedDict"): ordered_dict(budget),
    }


def storage_of(identity: Any) -> StorageRecord | InertStub:
    """Return the record that a persistent id of ``torch.save`` stands for."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise pickle.UnpicklingError("unknown persistent object")
    _, dtype, key, _, numel, *_ = identity
    if not isinstance(dtype, torch.dtype):
        return InertStub()
    if not isinstance(key, str) or not is_size(numel):
        raise pickle.UnpicklingError("a storage without name or size")
    return StorageRecord(key, dtype, numel)


def strided(record: TensorRecord, storage: torch.Tensor, budget: Budget) -> torch.Tensor:
    """Return a tensor of its own, contiguous: what it is a view of is not kept alive.

    Args:
        record: The tensor.
        storage: All numbers of its storage, ``(N,)``.
        budget: Of the file.

    Raises:
        pickle.UnpicklingError: It reaches beyond its storage, or repeats it.
    """
    numel = math.prod(record.shape)
    steps = zip(record.shape, record.stride, strict=True)
    last = record.offset + sum((extent - 1) * step for extent, step in steps) if numel else 0
    if numel > len(storage) or last >= max(len(storage), 1):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    budget.spend_bytes(numel * storage.itemsize)
    tensor = storage.as_strided(record.shape, record.stride, record.offset)
    return tensor.contiguous() if numel == len(storage) else tensor.clone(memory_format=torch.contiguous_format)


def _tensor(storage: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_: object) -> Any:
    if not isinstance(storage, StorageRecord):
        return InertStub()
    if not is_size(offset) or not is_shape(size) or not is_shape(stride) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    return TensorRecord(storage, offset, size, stride)


def _embedded(data: Any, budget: Budget) -> StorageRecord:
    """Read a storage that torch pickles as a file of torch < 1.6 inside the pickle."""
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage without bytes")
    stream = io.BytesIO(data)
    reader = Reader(torch_names(budget), budget, storage_of)
    magic, _, system, storage, keys = (reader.load(stream) for _ in range(5))
    little = isinstance(system, dict) and system.get("little_endian") is True
    if magic != _MAGIC or not little or not isinstance(storage, StorageRecord):
        raise pickle.UnpicklingError("a storage of an unknown form")
    if not isinstance(keys, list) or len(keys) != 1 or keys[0] != storage.key:
        raise pickle.UnpicklingError("a storage of an unknown name")
    count, nbytes = int.from_bytes(stream.read(8), "little"), storage.numel * storage.dtype.itemsize
    values = memoryview(data)[stream.tell() :]
    if count != storage.numel or len(values) != nbytes:
        raise pickle.UnpicklingError("a storage of another size")
    budget.spend_bytes(nbytes)
    empty = torch.empty(0, dtype=storage.dtype)
    numbers = torch.frombuffer(bytearray(values), dtype=storage.dtype) if nbytes else empty
    return replace(storage, values=numbers)
