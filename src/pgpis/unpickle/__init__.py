"""Reading pickles of other people without running them, in bounded time and memory."""

from pgpis.unpickle.machine import UNPICKLING_ERRORS, Budget, InertStub, Reader, StandIn
from pgpis.unpickle.numpy_values import ArrayRecord, numpy_names
from pgpis.unpickle.torch_values import StorageRecord, TensorRecord, storage_of, strided, torch_names

__all__ = [
    "UNPICKLING_ERRORS",
    "ArrayRecord",
    "Budget",
    "InertStub",
    "Reader",
    "StandIn",
    "StorageRecord",
    "TensorRecord",
    "numpy_names",
    "storage_of",
    "strided",
    "torch_names",
]
