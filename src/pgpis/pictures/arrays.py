"""NumPy files: read where they may be damaged or hostile, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError, first_line
from pgpis.files import writing
from pgpis.refusals import file_status

LARGEST = 2**26
"""Bytes of an array; what is read here describes one picture."""


def read_array(path: str | os.PathLike[str], expected: str) -> NDArray[Any]:
    """Read an array of numbers from ``.npy``; nothing in the file is executed.

    Args:
        path: The file.
        expected: What should be in it, for the message.

    Raises:
        PgpisError: It is missing, damaged, or holds something else than numbers.
    """
    try:
        file_status(path)
        # mapped first: a header that claims more than the file holds is an error before memory is taken
        values = np.load(Path(path), mmap_mode="r", allow_pickle=False)
    except PgpisError:
        raise
    except FileNotFoundError:
        raise PgpisError(f"file not found: {path}; expected {expected}") from None
    except Exception as error:  # NumPy's reader lets through whatever the parsers raise that it is built on
        raise PgpisError(f"cannot read {path}: {first_line(error)}; expected {expected}") from error
    if not isinstance(values, np.ndarray):
        raise PgpisError(f"{path} holds {type(values).__name__}; expected {expected}")
    if values.dtype.kind not in "fiu":
        raise PgpisError(f"{path} holds {values.dtype} {values.shape}; expected {expected}")
    if values.nbytes > LARGEST:
        raise PgpisError(f"{path} holds an array of {values.nbytes} bytes; expected {expected}")
    return np.array(values)


def read_face(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a raw face embedding, ``.npy`` of shape ``(N,)`` or ``(1, N)``, as float32 ``(N,)``.

    Raises:
        PgpisError: The file is missing or holds something else.
    """
    expected = "a raw face embedding as .npy, officially 512 floats"
    values = read_array(path, expected)
    if values.size != max(values.shape, default=0):
        raise PgpisError(f"{path} holds {values.dtype} {values.shape}; expected {expected}")
    with np.errstate(over="ignore"):  # told below
        face = values.reshape(-1).astype(np.float32)
    if not np.isfinite(face).all():
        raise PgpisError(f"{path} holds numbers that are not finite in float32; expected {expected}")
    return face


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array as ``.npy`` so that no reader ever sees half of it."""
    with writing(path) as file:
        np.save(file, values, allow_pickle=False)
