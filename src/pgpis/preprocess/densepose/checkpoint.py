"""Reading DensePose's official weights: a pickle of NumPy arrays, of which nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.preprocess.densepose.config import DensePoseConfig
from pgpis.preprocess.densepose.model import DensePoseRCNN
from pgpis.unpickle import UNPICKLING_ERRORS, ArrayRecord, Budget, Reader, numpy_names

UNUSED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.")
"""Tensors of detectron2's files that are constants here."""
UNUSED_LEAF = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var")
LARGEST = 2**31
"""Bytes of a pickle that are read at most."""
EXPECTED = "expected DensePose's weights as published, model_final_*.pkl"


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of ``{"model": {name: array}, ...}``, pickled by any NumPy with protocol 2 to 5.

    Nothing that the file names is imported or called but stand-ins for NumPy's arrays.

    Raises:
        PgpisError: The file is missing, damaged, names anything else, or holds no ``model``.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise PgpisError(f"{path} has more than {LARGEST} bytes; {EXPECTED}")
        data = path.read_bytes()
        budget = Budget(len(data))
        content = Reader(numpy_names(budget), budget, content="weights").load(data)
    except FileNotFoundError:
        raise PgpisError(f"weights not found: {path}", hint="pgpis weights fetch densepose-r101-dl") from None
    except (OSError, *UNPICKLING_ERRORS) as error:
        raise PgpisError(f"cannot read {path}: {error}; {EXPECTED}") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise PgpisError(f"{path} has no 'model'; {EXPECTED}")
    for name, value in model.items():
        if not isinstance(name, str) or not isinstance(value, ArrayRecord) or value.values is None:
            raise PgpisError(f"{path}: '{str(name)[:80]}' is not an array of numbers; {EXPECTED}")
    return {name: value.values for name, value in model.items()}


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
        for name, values in read_arrays(path).items()
        if not name.startswith(UNUSED) and name.rpartition(".")[2] != UNUSED_LEAF
    }
    try:
        variant = DensePoseConfig.from_shapes({name: values.shape for name, values in arrays.items()})
        with torch.device("meta"):  # sizes are not trusted before they are compared
            net = DensePoseRCNN(config or variant)
        load_arrays(net, arrays)
    except (PgpisError, ValueError) as error:  # the former have no hint
        raise PgpisError(f"{path}: {error}; {EXPECTED}") from error
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
        tensors[name] = torch.full(expected[name].shape, float(name.endswith("running_var")))
    net.load_state_dict(tensors, assign=True)
    net.requires_grad_(False)
