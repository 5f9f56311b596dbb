"""The nets of the folder ``assets``, run by LiteRT."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgpis.lazy import optional_module

_LOADING = threading.Lock()
"""Held while the error stream of the whole process points elsewhere: two threads would each put back the other's."""
INSTALL = "pip install 'ai-edge-litert>=2.1'"

Array = NDArray[np.float32]


@contextmanager
def _silenced() -> Iterator[None]:
    """Drop what LiteRT writes to the error stream past Python: a line for each net, which no option silences."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Net:
    """One net; pictures in, its outputs by name.

    Args:
        name: File in ``assets`` without its suffix.

    Raises:
        PgpisError: LiteRT is not installed.
    """

    def __init__(self, name: str) -> None:
        litert = optional_module("ai_edge_litert.interpreter", "BlazePose needs the package ai-edge-litert", INSTALL)
        content = (files("pgpis.preprocess.blazepose") / "assets" / f"{name}.tflite").read_bytes()
        with _silenced():
            self._interpreter: Any = litert.Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        self._input = int(entry["index"])
        self.side = int(entry["shape"][1])
        """Rows and columns of its picture."""
        self._lock = threading.Lock()
        self._outputs = {out["name"]: int(out["index"]) for out in self._interpreter.get_output_details()}

    def __call__(self, picture: Array) -> dict[str, Array]:
        """Run it on one picture ``(side, side, 3)``, in the range that the net was trained with."""
        with self._lock:  # threads share its tensors
            self._interpreter.set_tensor(self._input, picture[None].astype(np.float32))
            self._interpreter.invoke()
            return {name: np.array(self._interpreter.get_tensor(index)[0]) for name, index in self._outputs.items()}


def load_net(name: str) -> Net:
    """Load a net once in a process, whichever threads ask for it."""
    with _LOADING:
        return _loaded(name)


_loaded = functools.cache(Net)


def sigmoid(values: Array) -> Array:
    """Return ``1 / (1 + exp(-x))`` without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)
