"""The models that ship with pgpis."""

from __future__ import annotations

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
    face_space: str | None = None
    """Whose face embeddings it reads: what ``on_missing.face_space`` must be; None: it reads none."""

    @property
    def path(self) -> Path:
        """Where the bundle is."""
        return FOLDER / self.file


SHIPPED = {
    "synth-fpdm": Shipped("synth/fpdm.yaml", "synth_fpdm.safetensors"),
    "synth-mcld": Shipped("synth/mcld.yaml", "synth_mcld.safetensors", "synth"),
}
"""By the name that ``--pipeline`` takes."""
