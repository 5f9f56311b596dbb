"""Checkpoints of training: written whole or not at all, read as data that nothing executes, named where damaged."""

from __future__ import annotations

import inspect
import logging
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule

from pgpis.errors import PgpisError
from pgpis.files import writing

log = logging.getLogger(__name__)

PARTS: dict[str, type] = {"pytorch-lightning_version": str, "state_dict": dict}
TRAINING_PARTS: dict[str, type] = {"loops": dict, "optimizer_states": list, "lr_schedulers": list}
SAVED = "saved"
"""In a checkpoint: when it was saved, in seconds since 1970."""
ANEW = "leave --ckpt_path out to start anew"
NAMED = "--ckpt_path FILE, or last where --config is the recipe of a run in this folder"
OTHER_RECIPE = "--config must be the recipe, with the options, that it was trained with"


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's way to a checkpoint's file, by which no kill, full disk or foreign checkpoint does harm.

    Lightning's own writes to ``TMPDIR`` and moves; on another file system that is a copy, which a kill leaves half.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place and move it there when it is on the disk.

        Raises:
            PgpisError: It cannot be written.
        """
        with writing(path) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's complaint that its file was not finished hides why
                raise error.__context__ or error from None

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as :func:`read_checkpoint`, whatever ``weights_only`` is."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint that a better one replaces.

        Its name may come from a foreign checkpoint: nothing but a ``.ckpt`` file is removed, and none behind ``..``.
        """
        file = Path(path)
        if file.suffix == ".ckpt" and ".." not in file.parts and not file.is_dir():
            file.unlink(missing_ok=True)


def check_checkpoint(path: Path, task: type[LightningModule], *, training: bool) -> int:
    """Look at a checkpoint for ``task``, from which ``training`` may be to go on, and return its step.

    Every byte of the file is read, and no weight is loaded.

    Raises:
        PgpisError: It is damaged, is not a checkpoint, or lacks a part that is needed: names the newest whole one. Or
            it is that of another task.
    """
    parts = PARTS | TRAINING_PARTS if training else PARTS
    try:
        checkpoint = _read_whole(path, parts)
    except PgpisError as error:
        otherwise = ANEW if training else NAMED
        others = _others(path, task, parts)
        hint = error.hint or next((f"--ckpt_path {other}, which is whole" for other in others), otherwise)
        raise PgpisError(error.message, hint=hint) from error
    _refuse_other_task(path, checkpoint, task)
    step = checkpoint.get("global_step")
    return step if isinstance(step, int) else 0


def lineage(task: type[LightningModule]) -> list[str]:
    """Return the names of a task and of those that it derives from; what a checkpoint notes."""
    derived = [each for each in task.__mro__ if issubclass(each, LightningModule) and each is not LightningModule]
    return [each.__name__ for each in derived if not inspect.isabstract(each)]


def last_checkpoint(folders: Sequence[Path], *, training: bool) -> Path:
    """Return the file that ``--ckpt_path last`` means: the one that was saved last, also where files were copied.

    Training passes over those of weights alone.

    Raises:
        PgpisError: There is none in any of the folders.
    """
    named = [path for folder in folders for path in folder.glob("last*.ckpt")]
    paths = [path for path in named if path.is_file()]
    if not paths:
        reason = f"{named[0]} is not a file, nor leads to one" if named else f"no last.ckpt in {folders[0]}"
        raise PgpisError(f"--ckpt_path last: {reason}", hint=ANEW if training else NAMED)
    return max(paths, key=partial(_age, parts=TRAINING_PARTS if training else {})) if len(paths) > 1 else paths[0]


def _age(path: Path, parts: Mapping[str, type]) -> tuple[bool, float, int]:
    """Return whether a checkpoint has some parts, when it was saved, and its number among those of one moment.

    Earlier versions noted no time, and of what is damaged nobody knows: there the file's own counts.
    """
    checkpoint: dict[str, Any] = {**parts}
    with suppress(PgpisError):  # told where it is the one that is taken
        checkpoint = read_checkpoint(path, mmap=True)
    saved, number = checkpoint.get(SAVED), re.search(r"-v(\d+)$", path.stem)
    age = saved if isinstance(saved, float) else path.stat().st_mtime
    return parts.keys() <= checkpoint.keys(), age, int(number[1]) if number else 0


def read_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint on the CPU, as data only; with ``mmap`` the weights stay on the disk until they are used.

    Raises:
        PgpisError: It cannot be read.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # the bytes of the file decide what goes wrong
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f": it names {code[1]}, and nothing of a checkpoint is run" if code else ""
        raise PgpisError(f"{path} is damaged or is not a checkpoint{reason}") from error
    if not isinstance(checkpoint, dict):
        raise PgpisError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def misfit(state: Any, own: Any, key: str = "") -> str | None:
    """Return the key of the first entry of ``own`` whose counterpart is missing, negative or of another type."""
    if isinstance(own, Mapping):
        if not isinstance(state, Mapping):
            return key
        misfits = (misfit(state.get(name), value, f"{key}.{name}".lstrip(".")) for name, value in own.items())
        return next((name for name in misfits if name is not None), None)
    is_like = type(state) is type(own) and state >= 0 if isinstance(own, int) else True  # a bool is an int
    return None if is_like else key


def _read_whole(path: Path, parts: Mapping[str, type]) -> dict[str, Any]:
    if path.is_dir():
        is_pipeline = (path / "model_index.json").is_file()
        raise PgpisError(
            f"{path} is a {'pipeline' if is_pipeline else 'folder'}, expected a checkpoint file (.ckpt)",
            hint=f"--model.init_args.pipeline={path}" if is_pipeline else None,
        )
    if not path.is_file():
        raise PgpisError(f"checkpoint not found: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            # torch stores without compression: what is compressed is not its own, and may be a bomb
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            whole = stored and archive.testzip() is None
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        whole = False
    if not whole:
        raise PgpisError(f"{path} is damaged or is not a checkpoint")
    checkpoint = read_checkpoint(path, mmap=True)
    for name, kind in parts.items():
        if not isinstance(checkpoint.get(name), kind):
            raise PgpisError(f"{path} is not a checkpoint of 'pgpis fit': no {name} in it")
    return checkpoint


def _refuse_other_task(path: Path, checkpoint: Mapping[str, Any], task: type[LightningModule]) -> None:
    noted = checkpoint.get("task")  # earlier versions noted none: there the names of weights tell
    if isinstance(noted, list) and noted and {*map(str, noted)}.isdisjoint(lineage(task)):
        message = f"{path} is a checkpoint of {str(noted[0])[:80]}, not of {task.__name__}"
        raise PgpisError(message, hint=OTHER_RECIPE)


def _others(path: Path, task: type[LightningModule], parts: Mapping[str, type]) -> Iterator[Path]:
    """Yield the other checkpoints of a folder that could take the place of one, the newest first."""
    others = [other for other in path.parent.glob("*.ckpt") if other.is_file() and other.name != path.name]
    for other in sorted(others, key=lambda other: other.stat().st_mtime, reverse=True):
        try:
            _refuse_other_task(other, _read_whole(other, parts), task)
        except PgpisError:
            continue
        yield other
