"""Textures of many pictures: workers, progress, resuming, and a list of what failed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pgpis.conditions import read_iuv
from pgpis.errors import PgpisError
from pgpis.images import IMAGE_SUFFIXES, read_image, save_image
from pgpis.jobs import Failure, run_units
from pgpis.uv_texture import TEXTURE_SIZE, TextureMapper

PICTURES_PER_UNIT = 8


@dataclass(frozen=True)
class TextureJob:
    """Which textures are made."""

    images: Path
    """Folder of pictures, or of folders of them."""
    iuv: Path
    """Folder of DensePose's maps, ``.png`` of the pictures' names."""
    out: Path
    """Folder to write ``.png`` textures to."""
    mask: Path | None = None
    """MCLD's ``texture_bg_200.png``; None: the chart mask that pgpis draws itself."""


@dataclass(frozen=True)
class _Unit:
    names: tuple[str, ...]

    @property
    def pictures(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class TextureResult:
    """What a job did."""

    made: int
    already: int
    failures: tuple[Failure, ...]


def make_textures(job: TextureJob, workers: int = 1) -> TextureResult:
    """Make the texture of every picture that has none yet.

    A texture that is there and readable is left alone, so an interrupted job goes on where it was.

    Raises:
        PgpisError: A folder is missing or holds no pictures, or the chart mask is none.
    """
    for folder in (job.images, job.iuv):
        if not folder.is_dir():
            raise PgpisError(f"folder not found: {folder}", hint="--images FOLDER --iuv FOLDER")
    if job.mask is not None:
        TextureMapper(job.mask)  # refused before the first worker starts
    found = (path for path in job.images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    names = sorted(path.relative_to(job.images).as_posix() for path in found)
    if not names:
        raise PgpisError(f"no pictures in {job.images}; expected {', '.join(IMAGE_SUFFIXES)}")
    todo = [name for name in names if not _is_texture(_target(job, name))]
    failures = run_units(list(_units(todo)), functools.partial(_work, job), workers, "textures")
    return TextureResult(len(todo) - len(failures), len(names) - len(todo), tuple(failures))


def _units(names: Sequence[str]) -> Iterator[_Unit]:
    for start in range(0, len(names), PICTURES_PER_UNIT):
        yield _Unit(tuple(names[start : start + PICTURES_PER_UNIT]))


def _target(job: TextureJob, name: str) -> Path:
    return (job.out / name).with_suffix(".png")


def _is_texture(path: Path) -> bool:
    try:
        with Image.open(path) as file:
            file.verify()
            return file.size == (TEXTURE_SIZE, TEXTURE_SIZE)
    except (OSError, ValueError, SyntaxError):
        return False


@functools.lru_cache(maxsize=1)
def _mapper(mask: Path | None) -> TextureMapper:
    return TextureMapper(mask)


def _work(job: TextureJob, unit: _Unit) -> list[Failure]:
    """Make the textures of a few pictures; one that fails does not stop the others."""
    reasons = {name: _make(job, name) for name in unit.names}
    return [Failure(name, reason) for name, reason in reasons.items() if reason is not None]


def _make(job: TextureJob, name: str) -> str | None:
    """Make one texture; return the reason where it failed."""
    try:
        save_image(Image.fromarray(_texture(job, name)), _target(job, name))
    except (PgpisError, OSError) as error:
        return error.message if isinstance(error, PgpisError) else str(error)
    return None


def _texture(job: TextureJob, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = read_image(job.images / name)
    iuv = read_iuv((job.iuv / name).with_suffix(".png"))
    if image.size != iuv.size:
        raise PgpisError(
            f"the picture is {image.size[0]}x{image.size[1]}, its DensePose map {iuv.size[0]}x{iuv.size[1]}"
        )
    # the file holds V, U, part
    return _mapper(job.mask)(np.asarray(image), np.ascontiguousarray(np.asarray(iuv)[..., ::-1]))
