"""Files of the nets that judge pictures; nothing is ever downloaded, and nothing in a file is executed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pgpis.errors import PgpisError
from pgpis.metrics.image import PairMetric

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


class NetMetric(PairMetric):
    """A metric of pairs by a net; where the file of its weights is absent nothing is measured.

    The net is not a submodule: it never enters a task's checkpoint.

    Args:
        file: Its weights.
        build: Makes the net from them.

    Raises:
        PgpisError: The file is damaged or holds other weights.
    """

    def __init__(self, file: NetFile, build: Callable[[NetFile], Any]) -> None:
        super().__init__()
        self.file = file
        # in a tuple, because torch registers modules that are attributes
        self._network: tuple[Any, ...] = () if file.missing else (build(file),)

    @property
    def not_computed(self) -> str | None:
        """Which file is missing and the command that gets it, or None."""
        return None if self._network else self.file.missing
