"""Files of the nets that judge pictures; nothing is ever downloaded, and nothing in a file is executed."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pgpis.errors import PgpisError

DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
"""What torch and safetensors raise on files that are not weights."""


@dataclass(frozen=True)
class NetFile:
    """Where the weights of a net are expected."""

    what: str
    """Whose weights it should hold."""
    path: Path
    command: str
    """What gets the right file."""

    @property
    def missing(self) -> str | None:
        """Why nothing is measured, or None where the file is there."""
        return None if self.path.is_file() else f"not computed: missing {self.path}, get it with: {self.command}"

    def read(self) -> dict[str, torch.Tensor]:
        """Read tensors by name.

        Raises:
            PgpisError: The file is damaged or holds something else.
        """
        try:
            is_safe = self.path.suffix == ".safetensors"
            weights = load_file(self.path) if is_safe else torch.load(self.path, map_location="cpu", weights_only=True)
        except DAMAGED as error:
            raise self.misfit(error, "cannot read the weights: ") from error
        if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
            raise self.misfit("it holds no state dict")
        return weights

    def misfit(self, reason: object, doing: str = "") -> PgpisError:
        """Return what is said of a file that the net cannot be built from."""
        first, *_ = str(reason).splitlines() or ["damaged file"]
        return PgpisError(f"{self.path} is not {self.what}: {doing}{first}", hint=self.command)
