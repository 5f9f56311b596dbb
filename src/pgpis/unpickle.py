"""Reading a pickle without running it: tensors become records, everything else an inert stub."""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any

import torch

_STORAGES = {
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

UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading a damaged pickle may raise."""


@dataclass(frozen=True)
class StorageRecord:
    """Where the numbers of a tensor lie in the file."""

    key: str
    """Name of the record in the archive."""
    dtype: torch.dtype
    numel: int
    """Number of elements."""


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that has not been read yet; the numbers come from the file and have not been checked."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class InertStub:
    """Stands for any object of a pickle that is neither a tensor nor a built-in container.

    Its class is never imported, its constructor never called; what would fill it is thrown away.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, *state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, *values: object) -> None:
        """Ignore what a pickle puts into a list-like object."""

    extend = append
    add = append


class InertMapping(dict[Any, Any]):
    """Stands for ``OrderedDict``; keeps the items and ignores attributes, such as a state dict's ``_metadata``."""

    def __setstate__(self, *state: object) -> None:
        pass


class _StorageType:
    """Stands for one of torch's storage classes."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, *state: object) -> None:
        pass


class _RebuildTensor:
    """Stands for the functions that make a tensor of a storage."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_: object) -> Any:
        if not isinstance(storage, StorageRecord):
            return InertStub()
        return TensorRecord(storage, offset, tuple(size), tuple(stride))

    def __setstate__(self, *state: object) -> None:
        pass


class _RebuildParameter:
    """Stands for the functions that make a parameter of a tensor."""

    __slots__ = ()

    def __call__(self, data: Any, *_: object) -> Any:
        return data

    def __setstate__(self, *state: object) -> None:
        pass


class _InertUnpickler(pickle.Unpickler):
    """Looks up no class and no function: every name becomes one of the stand-ins above."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _RebuildParameter()
        if (module, name) == ("collections", "OrderedDict"):
            return InertMapping
        return InertStub

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("unknown persistent object")
        _, kind, key, _, numel = pid
        if not isinstance(kind, _StorageType):
            return InertStub()
        return StorageRecord(key, kind.dtype, numel)


def inert_load(data: bytes) -> Any:
    """Read a pickle of ``torch.save`` without importing, calling or reading anything else.

    Args:
        data: The pickle.

    Returns:
        Built-in containers, numbers and strings as they are; :class:`TensorRecord` for tensors;
        :class:`InertStub` for everything else.

    Raises:
        Exception: One of :data:`UNPICKLING_ERRORS` if the data is damaged.
    """
    refuse_large_memo(data)
    return _InertUnpickler(io.BytesIO(data)).load()


def refuse_large_memo(data: bytes) -> None:
    """Refuse a pickle that asks for more memory than it can need.

    The C unpickler allocates its memo up to the highest index, so a few damaged bytes could ask for gigabytes.

    Raises:
        Exception: One of :data:`UNPICKLING_ERRORS`.
    """
    for code, argument, _ in pickletools.genops(data):
        if code.name.endswith("PUT") and isinstance(argument, int) and argument > len(data):
            raise pickle.UnpicklingError("memo index out of range")
