"""The models that ship with pgpis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pgpis.errors import PgpisError, nearest

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


def refuse_unknown(name: str, option: str = "--pipeline") -> None:
    """Refuse a name that no pipeline has, before the hub is asked, whose names have a slash.

    Args:
        name: Folder, hub id, bundle, or the name of a model that ships with pgpis.
        option: What the user gave the name for.

    Raises:
        PgpisError: It is a recipe's name, or nobody's: names the model that ships whose name is closest.
    """
    if Path(name).suffix in (".yaml", ".yml") and not Path(name).is_dir():
        raise PgpisError(f"{option}: '{name}' is a recipe, expected a pipeline", hint=f"--config {name}")
    if name not in SHIPPED and "/" not in name and not Path(name).exists():
        raise PgpisError(
            f"{option}: '{name}' is neither a folder or file nor a model that ships with pgpis{nearest(name, SHIPPED)}",
            hint=f"{option} FOLDER, OWNER/NAME of the hub, FILE.safetensors, {' or '.join(SHIPPED)}",
        )
