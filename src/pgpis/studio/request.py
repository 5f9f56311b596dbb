"""What somebody asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgpis.data.tables import MOST_SOURCES
from pgpis.errors import PgpisError, check_range

MOST_STEPS = 200
MOST_PICTURES = 8
MOST_PHOTOS = MOST_SOURCES
"""Of one person."""
MOST_GUIDANCE = 30.0
MOST_SEED = 2**32 - 1
"""That of ``pgpis.tasks.base``, which loads torch: a web server does without."""
LEAST_SIDE, MOST_SIDE = 64, 1024
SIDE_STEP = 16
"""Sides of what a denoiser draws are multiples of it."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn; requests of equal ones fit into one batch. None: as the model's pipeline says."""

    steps: int | None = None
    """Denoising steps, up to 200."""
    guidance_scale: float | None = None
    """Classifier-free guidance, up to 30."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels, multiples of 16 from 64 to 1,024."""
    seed: int = 0
    """Seed of the noise."""
    pictures: int = 1
    """Pictures for the pair, up to 8."""

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1, MOST_STEPS, whole=True, optional=True)
        check_range("guidance_scale", self.guidance_scale, 0, MOST_GUIDANCE, optional=True)
        check_range("seed", self.seed, 0, MOST_SEED, whole=True)
        check_range("pictures", self.pictures, 1, MOST_PICTURES, whole=True)
        for name, side in zip(("height", "width"), self.size or (), strict=self.size is not None):
            check_range(name, side, LEAST_SIDE, MOST_SIDE, whole=True)
            if side % SIDE_STEP:
                raise PgpisError(f"{name} is {side}, expected a multiple of {SIDE_STEP}")


def check_photos(number: int) -> None:
    """Refuse more pictures of a person than a pair has sources.

    Raises:
        PgpisError: There are too many.
    """
    if number > MOST_PHOTOS:
        raise PgpisError(f"there are {number} pictures of the person, expected at most {MOST_PHOTOS}")


@dataclass(frozen=True, kw_only=True)
class PictureRequest:
    """One person, one pose. Files may be a stranger's: they are read as data, within the limits of every reader."""

    source: Path
    """Picture of the person."""
    further: tuple[Path, ...] = ()
    """Other pictures of the same person, up to three: what one of them does not show, another may."""
    pose: Path
    """Key points or a drawn skeleton, or with ``driving`` a photograph of somebody in the pose."""
    driving: bool = False
    """Whether the pose is taken from a photograph."""
    retarget: bool = False
    """Give the driving person's pose the limb lengths of the source; for models that read key points."""
    identity: Path | None = None
    """Whose face and head the result takes; for models that read textures and faces."""
    clothes: tuple[tuple[str, Path], ...] = ()
    """(group of body parts, picture that they are taken from), likewise."""
    drawing: Drawing = Drawing()
    """How it is drawn."""

    def __post_init__(self) -> None:
        check_photos(1 + len(self.further))

    @property
    def is_edited(self) -> bool:
        """Whether something is taken from another picture."""
        return self.identity is not None or bool(self.clothes)
