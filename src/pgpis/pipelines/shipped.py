"""The models that ship with pgpis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "bundles"


@dataclass(frozen=True)
class Shipped:
    """A model inside the package."""

    recipe: str
    """The recipe that it was trained with, and that holds its sizes."""
    file: str
    """Its bundle, in ``FOLDER``."""
    sampling: Mapping[str, float]
    """The recipe's size, steps and guidance."""
    face_space: str | None = None
    """Whose face embeddings it reads: what ``on_missing.face_space`` must be; None: it reads none."""

    @property
    def path(self) -> Path:
        """Where the bundle is."""
        return FOLDER / self.file


_SMALL = {"height": 256, "width": 176, "num_inference_steps": 5}
SHIPPED = {
    "synth-fpdm": Shipped("synth/fpdm.yaml", "synth_fpdm.safetensors", {**_SMALL, "guidance_scale": 1.5}),
    "synth-mcld": Shipped("synth/mcld.yaml", "synth_mcld.safetensors", {**_SMALL, "guidance_scale": 1.0}, "synth"),
}
"""By the name that ``--pipeline`` takes."""
