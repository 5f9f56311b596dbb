"""MSKA's key points of Phoenix: a pickle, read without running it and turned into safetensors once."""

from __future__ import annotations

import functools
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pgpis.errors import PgpisError
from pgpis.files import replacing
from pgpis.unpickle import UNPICKLING_ERRORS, refuse_large_memo

log = logging.getLogger(__name__)

POINTS = 133


class KeypointFile:
    """Key points of all videos of a split; only those that are asked for are read.

    Args:
        path: MSKA's pickle ``Phoenix-2014T.train``; ``….safetensors`` beside it is read in its place and made first
            where it is missing.

    Raises:
        PgpisError: Neither is there, or the pickle holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.safetensors")
        if not self.path.is_file():
            if not path.is_file():
                raise PgpisError(
                    f"key points not found: {path}",
                    hint="MSKA's Phoenix-2014T.train, .dev and .test, beside the release",
                )
            log.info("%s: converting to safetensors, once", path)
            write_keypoints(self.path, read_mska(path))
        try:
            with safe_open(self.path, "np") as file:
                shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise PgpisError(f"cannot read {self.path}: {error}", hint="remove it: it is made again") from error
        for name, shape in shapes.items():
            if len(shape) != 3 or shape[1:] != [POINTS, 3]:
                raise PgpisError(f"{self.path}: the key points of '{name}' are {shape}, expected [T, {POINTS}, 3]")
        self.lengths = {name: shape[0] for name, shape in shapes.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """Return x, y and confidence of a video, ``(T, 133, 3)``, in pixels of 210 x 260."""
        points: NDArray[np.float32] = _open(self.path).get_tensor(name)
        return points


@functools.lru_cache(maxsize=8)
def _open(path: Path) -> Any:
    """Open a file once per process."""
    return safe_open(path, "np")


def write_keypoints(path: Path, videos: dict[str, torch.Tensor]) -> None:
    """Write key points by the name of the video."""
    with replacing(path) as temporary:
        save_file(videos, temporary)


def read_mska(path: Path) -> dict[str, torch.Tensor]:
    """Read MSKA's pickle: tensors ``(T, 133, 3)`` by the name of the video, without a folder before it.

    Raises:
        PgpisError: It is damaged, asks for code to be run, or holds something else.
    """
    try:
        data = path.read_bytes()
        content = _load(data)
    except (*UNPICKLING_ERRORS, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PgpisError(f"cannot read the key points {path}: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise PgpisError(f"{path}: expected a dict of videos, found {type(content).__name__}")
    return {name: points for key, video in content.items() for name, points in [_video(path, key, video)]}


def _video(path: Path, key: object, video: object) -> tuple[str, torch.Tensor]:
    points = video.get("keypoint") if isinstance(video, dict) else None
    if isinstance(points, np.ndarray) and points.dtype.kind in "fiu":
        points = torch.from_numpy(points)
    if not isinstance(key, str) or not isinstance(points, torch.Tensor):
        raise PgpisError(f"{path}: '{key}' has no tensor 'keypoint'")
    if points.ndim != 3 or points.shape[1:] != (POINTS, 3) or not points.dtype.is_floating_point:
        raise PgpisError(f"{path}: the key points of '{key}' are {tuple(points.shape)}, expected (T, {POINTS}, 3)")
    if not points.isfinite().all():
        raise PgpisError(f"{path}: the key points of '{key}' are not finite")
    return key.rpartition("/")[2], points.float().contiguous()


def _storage(data: bytes) -> Any:
    """Read the numbers of a tensor as torch pickles them, which is a file of its own; no code is run."""
    return torch.load(io.BytesIO(data), weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: object) -> torch.Tensor:
    """Make a tensor of a storage; torch refuses what lies outside of it."""
    untyped = storage._untyped_storage  # noqa: SLF001 - there is no public way from a storage to a tensor
    return torch.empty(0, dtype=storage.dtype).set_(untyped, offset, tuple(size), tuple(stride)).clone()


def _bytes(text: str, encoding: str) -> bytes:
    """Turn text into bytes, as old protocols of pickle do."""
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError(f"unknown encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("_codecs", "encode"): _bytes,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): dict,
}


class _Unpickler(pickle.Unpickler):
    """Knows how tensors are made, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which key points do not need")
        return _ALLOWED[module, name]


def _load(data: bytes) -> Any:
    refuse_large_memo(data)
    return _Unpickler(io.BytesIO(data)).load()
