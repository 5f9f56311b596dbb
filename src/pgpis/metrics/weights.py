"""Reading the weights of nets that judge pictures."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

from pgpis.errors import PgpisError

DAMAGED = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)
"""What torch raises on files that are not weights."""


def read_state_dict(path: Path, what: str, command: str) -> dict[str, torch.Tensor]:
    """Read tensors by name; nothing in the file is executed.

    Args:
        path: The file.
        what: Whose weights it should hold.
        command: What gets the right file.

    Raises:
        PgpisError: The file is damaged or holds something else.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise not_weights(path, f"{what}: cannot read the weights", command, error) from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise PgpisError(f"{path} is not {what}: it holds no state dict", hint=command)
    return weights


def not_weights(path: Path, what: str, command: str, error: BaseException) -> PgpisError:
    """Return what is said of a file that a net cannot be built from."""
    reason = str(error).splitlines()[0] if str(error) else "damaged file"
    return PgpisError(f"{path} is not {what}: {reason}", hint=command)
