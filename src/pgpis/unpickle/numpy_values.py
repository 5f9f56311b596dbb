"""Stand-ins for what NumPy pickles: types of numbers and arrays."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgpis.unpickle.machine import Budget, Names, StandIn, is_shape, ordered_dict

DTYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])


class _Dtype:
    """Stands for ``numpy.dtype``: holds plain numbers only, in the machine's or the other byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str):
            raise pickle.UnpicklingError("no numbers")
        if code not in DTYPES:
            raise pickle.UnpicklingError(f"numbers of type {code[:20]!r}")
        self.code = code
        self.order = "<"

    def fill(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a malformed type of numbers")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class ArrayRecord:
    """Stands for ``numpy.ndarray``; ``values`` is None until its content is known."""

    __slots__ = ("budget", "values")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.values: NDArray[Any] | None = None

    def fill(self, state: Any) -> None:
        """Take what NumPy passes to ``__setstate__``."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("a malformed array")
        _, shape, dtype, fortran, data = state
        self.values = _array(self.budget, data, dtype, shape, "F" if fortran is True or fortran == 1 else "C")


def numpy_names(budget: Budget) -> Names:
    """Return what stands for NumPy's functions and classes."""

    def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> ArrayRecord:
        array = ArrayRecord(budget)
        array.values = _array(budget, data, dtype, shape, order)
        return array

    def encode(text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("text that is not bytes")
        budget.spend_bytes(len(text))
        return text.encode("latin1")

    def no_instance(*_: Any) -> Any:
        raise pickle.UnpicklingError("an array that NumPy did not write")

    functions = (
        ("multiarray", "_reconstruct", lambda *_: ArrayRecord(budget)),
        ("multiarray", "scalar", lambda dtype, data: from_buffer(data, dtype, (), "C")),
        ("numeric", "_frombuffer", from_buffer),
    )
    return {
        ("_codecs", "encode"): StandIn(encode),
        ("collections", "OrderedDict"): ordered_dict(budget),
        ("numpy", "dtype"): StandIn(_Dtype),
        ("numpy", "ndarray"): StandIn(no_instance),
        **{
            (f"numpy.{package}.{module}", name): StandIn(function)
            for package in ("core", "_core")
            for module, name, function in functions
        },
    }


def _array(budget: Budget, data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not is_shape(shape) or not isinstance(order, str) or order not in ("C", "F"):
        raise pickle.UnpicklingError("a malformed array")
    if not isinstance(data, (str, bytes, bytearray)):
        raise pickle.UnpicklingError("an array without bytes")
    budget.spend_bytes(len(data))
    # protocols before 3 spell bytes as Latin-1 text
    content = data.encode("latin1") if isinstance(data, str) else bytes(data)
    kind = dtype.numpy()
    if math.prod(shape) * kind.itemsize != len(content):
        raise pickle.UnpicklingError(f"an array of shape {shape} with {len(content)} bytes")
    return np.frombuffer(content, kind).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return, unused-ignore]
