"""Reading DensePose's official weights: a pickle of NumPy arrays, of which nothing is run."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.preprocess.densepose.config import DensePoseConfig
from pgpis.preprocess.densepose.model import DensePoseRCNN
from pgpis.unpickle import UNPICKLING_ERRORS, InertMapping, refuse_large_memo

UNUSED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.")
"""Tensors of detectron2's files that are constants here."""
UNUSED_LEAF = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var")
DTYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
LARGEST = 2**31
"""Bytes of a pickle that are read at most."""
EXPECTED = "expected DensePose's weights as published, model_final_*.pkl"


class _Dtype:
    """Stands for ``numpy.dtype``: holds plain numbers only, in the machine's or the other byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or code not in DTYPES:
            raise pickle.UnpicklingError(f"numbers of type {str(code)[:20]!r}")
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a malformed type of numbers")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """Return the type itself."""
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for ``numpy.ndarray`` until its content is known."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("a malformed array")
        _, shape, dtype, fortran, data = state
        self.values = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    sizes_fit = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not isinstance(dtype, _Dtype) or not sizes_fit or order not in ("C", "F"):
        raise pickle.UnpicklingError("a malformed array")
    if isinstance(data, str):  # protocols before 3 spell bytes as Latin-1 text
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("an array without bytes")
    kind = dtype.numpy()
    if math.prod(shape) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(bytes(data), kind).reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.values = _array(data, dtype, shape, order)
    return made


def _scalar(dtype: Any, data: Any) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text that is no bytes")
    return text.encode("latin1")


class _Callable:
    """Stands for a function; a pickle may call it, and set nothing of it for those that are read later."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function with a state")


def _no_instance(*_: Any) -> Any:
    raise pickle.UnpicklingError("an array that is made otherwise than NumPy does")


_STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Callable(_encode),
    ("collections", "OrderedDict"): InertMapping,
    ("numpy", "dtype"): _Callable(_Dtype),
    ("numpy", "ndarray"): _Callable(_no_instance),
    **{
        (f"numpy.{package}.{module}", name): _Callable(function)
        for package in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    """Knows nothing but dictionaries and NumPy's arrays, and those only as stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which has no place in weights")
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it names a persistent object")


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of ``{"model": {name: array}, ...}``, pickled by any NumPy with protocol 2 to 5.

    Nothing that the file names is imported or called but stand-ins for NumPy's arrays.

    Raises:
        PgpisError: The file is missing, damaged, names anything else, or holds no ``model``.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise PgpisError(f"{path} has more than {LARGEST} bytes; {EXPECTED}")
        data = path.read_bytes()
        refuse_large_memo(data)
        content = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except FileNotFoundError:
        raise PgpisError(f"weights not found: {path}", hint="pgpis weights fetch densepose-r101-dl") from None
    except (OSError, *UNPICKLING_ERRORS) as error:
        raise PgpisError(f"cannot read {path}: {error}; {EXPECTED}") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise PgpisError(f"{path} has no 'model'; {EXPECTED}")
    arrays = {}
    for name, value in model.items():
        if not isinstance(name, str) or not isinstance(value, _Array) or value.values is None:
            raise PgpisError(f"{path}: '{str(name)[:80]}' is no array of numbers; {EXPECTED}")
        arrays[name] = value.values
    return arrays


def load_densepose(path: Path, config: DensePoseConfig | None = None) -> DensePoseRCNN:
    """Build the net that a file holds and load it strictly.

    Args:
        path: Official weights, ``.pkl``; the variant is read from its tensors.
        config: The net, where it is not of an official size.

    Raises:
        PgpisError: The file cannot be read, or a tensor is missing, unexpected or misshapen; names it.
    """
    arrays = {
        name: values
        for name, values in read_checkpoint(path).items()
        if not name.startswith(UNUSED) and name.rpartition(".")[2] != UNUSED_LEAF
    }
    try:
        found = DensePoseConfig.from_shapes({name: values.shape for name, values in arrays.items()})
        with torch.device("meta"):  # sizes are not trusted before they are compared
            net = DensePoseRCNN(config or found)
        load_arrays(net, arrays)
    except (PgpisError, ValueError) as error:
        message = error.message if isinstance(error, PgpisError) else str(error)
        raise PgpisError(f"{path}: {message}; {EXPECTED}") from error
    return net


def load_arrays(net: DensePoseRCNN, arrays: dict[str, NDArray[Any]]) -> None:
    """Load arrays by detectron2's names; statistics of a norm that are absent stay 0 and 1.

    Raises:
        PgpisError: A tensor is missing, unexpected or misshapen; names it.
    """
    expected = net.state_dict()
    optional = {name for name in expected if name.rpartition(".")[2] in STATISTICS}
    missing = sorted(expected.keys() - arrays.keys() - optional)
    unexpected = sorted(arrays.keys() - expected.keys())
    if missing or unexpected:
        what, names = ("is missing", missing) if missing else ("was not expected", unexpected)
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise PgpisError(f"the tensor {names[0]}{more} {what}")
    for name, values in arrays.items():
        if values.shape != tuple(expected[name].shape):
            raise PgpisError(f"the tensor {name} has shape {values.shape}, expected {tuple(expected[name].shape)}")
        if values.dtype.kind != "f":
            raise PgpisError(f"the tensor {name} holds {values.dtype}, expected floating-point numbers")
    tensors = {name: torch.from_numpy(np.array(values, np.float32)) for name, values in arrays.items()}
    for name in optional - arrays.keys():
        fill = torch.zeros if name.endswith("running_mean") else torch.ones
        tensors[name] = fill(expected[name].shape)
    net.load_state_dict(tensors, assign=True)
    net.requires_grad_(False)
