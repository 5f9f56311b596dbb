"""What happens where a file is missing that a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.pictures.kinds import kind_of, what_makes

WhenMissing = Literal["error", "drop", "skip"]
SYNTH_NORM = 22.0
"""Length of every face code of ``pgpis synth``, by which they are told from a recogniser's embeddings."""
OR_NO_FACE = ", or set on_missing.face to 'drop' (no face) or 'skip'"
NO_OTHER_FACES = "--missing-face drop goes without; those of 'pgpis prepare' are of another kind and would mislead it"


@dataclass(frozen=True)
class OnMissing:
    """What happens with pairs that lack a file which the model reads.

    ``error``: the job does not start (lists of pairs), or the pair fails (your own folders). ``drop``: the model gets
    zeros instead (a black picture, a zero embedding). ``skip``: the pair is left out. The last two are counted in the
    log.
    """

    face: WhenMissing = "error"
    """Face embedding of the source; officially ``drop``."""
    texture: WhenMissing = "error"
    """Texture map of the source."""
    iuv: WhenMissing = "error"
    """The DensePose map of the target pose."""
    others: Mapping[str, WhenMissing] = field(default_factory=dict)
    """Other kinds of files than these three, by name."""
    face_space: Literal["recogniser", "synth"] = "recogniser"
    """Whose face embeddings the model was trained with; those of another space mean nothing to it."""

    def __post_init__(self) -> None:
        for name in self.others:
            kind = kind_of(name).name
            where = f"on_missing.{kind}" if kind in ("face", "texture", "iuv") else f"on_missing.others.{kind}"
            if where != f"on_missing.others.{name}":
                raise PgpisError(f"on_missing.others.{name}: this is said by {where}", hint=f"set {where} instead")

    def of(self, kind: str) -> WhenMissing:
        """Return what happens where a file of a kind is missing."""
        policy: WhenMissing = getattr(self, kind, "error")
        return self.others.get(kind, policy)

    def hint(self, *kinds: str) -> str:
        """Return what the user can do where files of some kinds are missing."""
        if "face" in kinds and self.face_space == "synth":
            others = [kind_of(kind) for kind in kinds if kind != "face"]
            return "; ".join(filter(None, (what_makes(*others), NO_OTHER_FACES)))
        return what_makes(*map(kind_of, kinds)) + ("face" in kinds) * OR_NO_FACE

    def refuse_foreign(self, face: NDArray[np.float32], path: Path) -> None:
        """Refuse a face embedding of another space, where that can be seen.

        Raises:
            PgpisError: The model knows faces of ``pgpis synth`` alone, and this is a recogniser's.
        """
        if self.face_space == "synth" and abs(float(np.linalg.norm(face)) - SYNTH_NORM) > 0.01:
            message = f"{path}: not a face of pgpis synth; this model was trained with those alone"
            raise PgpisError(message, hint=NO_OTHER_FACES)
