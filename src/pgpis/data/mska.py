"""MSKA's key points of Phoenix: a pickle, read without running it and turned into safetensors once."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pgpis.errors import PgpisError, first_line
from pgpis.files import passing_folder, replacing, sha256_of
from pgpis.refusals import UnwritableError
from pgpis.unpickle import (
    UNPICKLING_ERRORS,
    ArrayRecord,
    Budget,
    Reader,
    TensorRecord,
    numpy_names,
    strided,
    torch_names,
)

log = logging.getLogger(__name__)

POINTS = 133
REMOVE = "remove it: it is made again from MSKA's own file"


class KeypointFile:
    """Key points of all videos of a split; only those that are asked for are read.

    Args:
        path: MSKA's pickle ``Phoenix-2014T.train``; ``….safetensors`` beside it is read in its place and made first
            where it is missing, or was made of another pickle than the one that is there; for this process alone where
            nothing can be written.

    Raises:
        PgpisError: Neither is there, or the pickle holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = converted_path(path)
        if not is_converted(path):
            if not path.is_file():
                hint = "MSKA's Phoenix-2014T.train, .dev and .test, beside the release"
                raise PgpisError(f"key points not found: {path}", hint=hint)
            log.info("%s: converting to safetensors, once", path)
            made_of = _identity(path)
            videos = read_mska(path)
            self.path = kept_or_passing(self.path, lambda file: save_file(videos, file, made_of))
            _open.cache_clear()
        self.lengths: dict[str, int] = {}
        try:
            with safe_open(self.path, "np") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    shape = tuple(part.get_shape())
                    if len(shape) != 3 or shape[1:] != (POINTS, 3):
                        raise PgpisError(f"{self.path}: '{name}' is {shape}, expected (T, {POINTS}, 3)", hint=REMOVE)
                    if part.get_dtype() != "F32":
                        raise PgpisError(f"{self.path}: '{name}' does not hold float32 numbers", hint=REMOVE)
                    self.lengths[name] = shape[0]
        except (OSError, SafetensorError) as error:
            raise PgpisError(f"cannot read {self.path}: {error}", hint=REMOVE) from error

    def read(self, name: str) -> NDArray[np.float32]:
        """Return x, y and confidence of a video, ``(T, 133, 3)``, in pixels of 210 x 260."""
        points: NDArray[np.float32] = _open(self.path).get_tensor(name)
        if not np.isfinite(points).all():
            raise PgpisError(f"{self.path}: the key points of '{name}' are not finite", hint=REMOVE)
        return points


def kept_or_passing(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file; where that cannot be, warn, and write one for this process alone.

    Args:
        path: Where it shall be.
        write: Writes the file that it is given.

    Returns:
        Where it is.

    Raises:
        PgpisError: It can be written nowhere.
    """
    try:
        with replacing(path) as temporary:
            write(temporary)
    except UnwritableError as error:
        log.warning("%s; it is made for this run alone", error.message)
        path = passing_folder("pgpis-") / path.name
        with replacing(path) as temporary:
            write(temporary)
    return path


def converted_path(path: Path) -> Path:
    """Return where the safetensors of a pickle are."""
    return path.with_name(f"{path.name}.safetensors")


def is_converted(path: Path) -> bool:
    """Whether there are safetensors of a pickle, made of the one that is there; without a pickle, of any."""
    made = converted_path(path)
    if not made.is_file():
        return False
    if not path.is_file():
        return True
    try:
        with safe_open(made, "np") as file:
            made_of = file.metadata() or {}
    except (OSError, SafetensorError):
        return True  # damaged: told where it is read
    if "pickle_sha256" not in made_of:  # made by an earlier version, or by others
        return path.stat().st_mtime_ns <= made.stat().st_mtime_ns
    stat = path.stat()
    if made_of.get("pickle_size") != str(stat.st_size):
        return False
    return made_of.get("pickle_mtime") == str(stat.st_mtime_ns) or made_of["pickle_sha256"] == sha256_of(path)


def _identity(path: Path) -> dict[str, str]:
    """Return what safetensors keep of the pickle that they are made of."""
    stat = path.stat()
    return {
        "pickle_size": str(stat.st_size),
        "pickle_mtime": str(stat.st_mtime_ns),
        "pickle_sha256": sha256_of(path),
    }


@functools.lru_cache(maxsize=8)
def _open(path: Path) -> Any:
    """Open a file once per process."""
    return safe_open(path, "np")


def read_mska(path: Path) -> dict[str, torch.Tensor]:
    """Read MSKA's pickle: tensors ``(T, 133, 3)`` by the name of the video, without a folder before it.

    Raises:
        PgpisError: It is damaged, asks for code to be run, holds something else, or two videos of one name.
    """
    try:
        data = path.read_bytes()
        budget = Budget(len(data))
        names = {**numpy_names(budget), **torch_names(budget)}
        content = Reader(names, budget, content="key points").load(data)
        if not isinstance(content, dict) or not content:
            raise PgpisError(f"{path}: expected a dict of videos, found {type(content).__name__}")
        videos = [_video(path, key, video, budget) for key, video in content.items()]
    except (*UNPICKLING_ERRORS, OSError, RuntimeError) as error:
        raise PgpisError(f"cannot read the key points {path}: {first_line(error)}") from error
    named = dict(videos)
    if len(named) < len(videos):
        name = next(name for name, count in Counter(name for name, _ in videos).items() if count > 1)
        raise PgpisError(f"{path}: several videos are called '{name}', in folders that do not count: expected one")
    return named


def _video(path: Path, key: object, video: object, budget: Budget) -> tuple[str, torch.Tensor]:
    points = video.get("keypoint") if isinstance(video, dict) else None
    if isinstance(points, ArrayRecord) and points.values is not None:
        points = torch.from_numpy(points.values.astype(points.values.dtype.newbyteorder("=")))
    elif isinstance(points, TensorRecord) and points.storage.values is not None:
        points = strided(points, points.storage.values, budget)
    if not isinstance(key, str) or not isinstance(points, torch.Tensor):
        raise PgpisError(f"{path}: '{key}' has no tensor 'keypoint'")
    if points.ndim != 3 or points.shape[1:] != (POINTS, 3) or not points.dtype.is_floating_point:
        raise PgpisError(f"{path}: the key points of '{key}' are {tuple(points.shape)}, expected (T, {POINTS}, 3)")
    points = points.float().contiguous()
    if not points.isfinite().all():
        raise PgpisError(f"{path}: the key points of '{key}' are not finite in float32")
    return key.rpartition("/")[2], points
