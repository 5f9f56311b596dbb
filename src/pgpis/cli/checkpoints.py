"""Which checkpoint the words of a command mean, and those that a run finds in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pgpis.cli.recipes import find_recipe, read_recipe
from pgpis.cli.renamed import entry
from pgpis.files import resolved
from pgpis.tasks.checkpoints import last_checkpoint

CHECKPOINTS = "checkpoints"

log = logging.getLogger(__name__)


def checkpoint_named(name: str, trainer: Any, root: Path, *, training: bool) -> Path:
    """Return the file that ``--ckpt_path`` means.

    Args:
        name: A file, or ``last``.
        trainer: Settings of the trainer, whose callbacks may have a folder of their own.
        root: Folder of the run.
        training: Whether a run is to go on from it.

    Raises:
        PgpisError: There is no last one.
    """
    if name != "last":
        return Path(name)
    callbacks = trainer.callbacks if isinstance(trainer.callbacks, list) else [trainer.callbacks]
    settings = [callback.get("init_args") or {} for callback in callbacks if callback is not None]
    folders = [Path(each["dirpath"]) for each in settings if each.get("dirpath")]
    return last_checkpoint(folders or [root / CHECKPOINTS], training=training)


def root_of(recipes: Iterable[Any]) -> Path:
    """Return the folder in which recipes, by their names, train; others are passed over."""
    roots = [
        root.value
        for recipe in recipes
        if isinstance(recipe, str)
        for content in read_recipe(str(find_recipe(recipe)))
        if isinstance(root := entry(entry(content, "trainer"), "default_root_dir"), yaml.ScalarNode)
    ]
    return Path(roots[-1] if roots else ".")


def tell_of_others(trainer: Trainer, checkpoint: Path | None) -> None:
    """Say which checkpoints of another run lie where this one will write; ``checkpoint`` is what it goes on from."""
    for callback in [] if trainer.fast_dev_run else trainer.checkpoint_callbacks:
        folder = Path(callback.dirpath or ".") if isinstance(callback, ModelCheckpoint) else None
        if folder is None or (checkpoint is not None and resolved(folder) == resolved(checkpoint.parent)):
            continue
        if others := sorted(path.name for path in folder.glob("*.ckpt")):
            message = (
                "%s holds checkpoints of another run, which stay, %s among them; --ckpt_path last will be this run's"
            )
            log.warning(message, folder, others[-1])
