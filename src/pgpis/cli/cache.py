"""``pgpis cache``: compute the features of frozen encoders once, for training."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgpis.cli.recipes import Recipes, find_recipes
from pgpis.devices import check_device_name, device_here
from pgpis.errors import PgpisError, check_range
from pgpis.files import locked

if TYPE_CHECKING:  # these load torch
    from torch.distributed.distributed_c10d import Store

    from pgpis.data import PoseTransferDataModule
    from pgpis.data.cache_writer import MakeShards, Shard, ShardMaker
    from pgpis.tasks.base import PersonImageTask

log = logging.getLogger(__name__)

SHOWN = 20
SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class CacheSettings:
    """What is computed, and where it goes."""

    config: Recipes
    """Recipe; may be given again."""
    out: Path
    """Folder to write to."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How features are stored."""
    device: str | None = None
    """cpu, cuda, cuda:1 [a GPU if there is one]."""
    batch_size: int = 8
    """Pictures at a time."""
    features: tuple[str, ...] = ()
    """Only these [all that the model takes]."""
    runner: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster [local]."""
    workers: int | None = None
    """Processes that encode on the cluster [one for each GPU or, without GPUs, core]."""

    def __post_init__(self) -> None:
        check_device_name(self.device)
        check_range("--batch-size", self.batch_size, 1, whole=True)
        check_range("--workers", self.workers, 1, whole=True, optional=True)
        if self.workers and self.runner == "local":
            raise PgpisError("--workers goes with --runner ray", hint="on this machine, torchrun starts processes")


def cache(settings: CacheSettings, *words: str) -> int:
    """Compute what frozen encoders make of the training pictures, in every variant that the augmentation asks for.

    Run again, it goes on. Under torchrun each process makes its share, on one machine or many; --runner ray hands
    shards out to a cluster. All other options are keys of the recipe. Train with --data.cache FOLDER. The exit code is
    1 if a picture could not be read; under torchrun that of the main process, once all are done.

    Args:
        settings: What is computed.
        words: Keys of the recipe.
    """
    find_recipes(settings.config)
    from pgpis.cli import lightning  # loads torch
    from pgpis.jobs import meter

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if settings.runner == "ray" and world > 1:
        raise PgpisError("--runner ray hands out the shards itself", hint="leave torchrun out")
    device = device_here(settings.device) if settings.runner == "local" else "cpu"
    cli = lightning.run(None, [*(f"--config={name}" for name in settings.config), "--trainer.logger=false", *words])
    meeting = _meeting() if world > 1 else None
    failures: list[tuple[str, str]] = []
    with locked(settings.out) if rank == 0 else nullcontext():
        parts = _begun(settings, device, cli.model, cli.datamodule, rank, world)
        with _making(settings, sum(len(part.missing) for part in parts)) as make:
            for part in parts:
                with meter(part.name, sum(len(shard.files) for shard in part.missing)) as advance:
                    failures += make(part.maker, part.missing, advance)
                sys.stdout.write(part.summary)
        failures = sorted(set(failures))[:SHOWN]  # a picture fails in each of its variants
        if meeting is not None:
            failures = _all_of(failures, meeting, rank, world)
    for path, reason in failures:
        log.error("left out: %s: %s", path, reason)
    return 1 if failures else 0


def _meeting() -> Store | None:
    """Return where processes that torchrun has started tell each other; None: they were started otherwise."""
    from torch.distributed import is_torchelastic_launched
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))[0] if is_torchelastic_launched() else None


def _all_of(failures: list[tuple[str, str]], meeting: Store, rank: int, world: int) -> list[tuple[str, str]]:
    """Return the failures of all processes to the main one, after the others are done, and none to these.

    Where a process ends with another code than 0, torchrun ends those that still work.
    """
    names = [f"failures of {number}" for number in range(world)]
    meeting.set(names[rank], json.dumps(failures))
    if rank:
        return []
    while not meeting.check(names):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return sorted({(path, reason) for name in names for path, reason in json.loads(meeting.get(name))})[:SHOWN]


class _Part(NamedTuple):
    """One feature of the cache."""

    name: str
    maker: ShardMaker
    missing: list[Shard]
    summary: str
    """What is said of it when it is whole."""


def _begun(
    settings: CacheSettings,
    device: str,
    model: PersonImageTask,
    data: PoseTransferDataModule,
    rank: int,
    world: int,
) -> list[_Part]:
    """Begin the features that are asked for; return what this process has to make."""
    from pgpis.data.cache import files_of
    from pgpis.data.cache_writer import CacheWriter, ShardMaker, missing_of
    from pgpis.data.features import feature_key, variants_of

    features, specs = model.frozen_features(), model.input_specs
    unknown = [name for name in settings.features if name not in features]
    if unknown or not features:
        known = ", ".join(features) or "none"
        raise PgpisError(f"{type(model).__name__} has no feature '{' '.join(unknown)}' to cache; it has: {known}")
    dataset = data.dataset("train")
    dataset.setup()
    dataset.require({spec.origin for spec in specs.values()})
    writer, parts = CacheWriter(settings.out, settings.dtype, rank, world), []
    for name, feature in features.items():
        if settings.features and name not in settings.features:
            continue
        files = files_of(dataset, specs[feature.picture].origin)
        variants = variants_of(feature.picture, specs, data.augmentation)
        shards = writer.begin(name, feature_key(feature.picture, specs, feature.weights), files, variants)
        maker = ShardMaker(feature, specs, settings.dtype, device, settings.batch_size)
        summary = f"{settings.out / name}: {len(files)} pictures in {len(variants)} variants\n"
        parts.append(_Part(name, maker, missing_of(shards), summary))
    return parts


@contextmanager
def _making(settings: CacheSettings, shards: int) -> Iterator[MakeShards]:
    """Yield what makes shards: this process, or actors of a cluster."""
    from pgpis.cluster import crew
    from pgpis.data.cache_writer import make_here, make_on

    if settings.runner == "local" or not shards:
        yield make_here
        return
    with crew(settings.workers, shards, settings.device or "auto") as actors:
        yield functools.partial(make_on, actors)
