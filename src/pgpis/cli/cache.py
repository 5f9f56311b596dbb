"""``pgpis cache``: compute the features of frozen encoders once, for training."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgpis.errors import PgpisError, check_range
from pgpis.files import locked
from pgpis.preprocess.settings import usual_device

if TYPE_CHECKING:  # loads torch
    from pgpis.data.cache import Encode

log = logging.getLogger(__name__)

SHOWN = 20


@dataclass(frozen=True)
class CacheSettings:
    """What is computed, and where it goes."""

    config: tuple[str, ...]
    """Recipe; may be given again."""
    out: Path
    """Folder to write to."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How features are stored."""
    device: str = field(default_factory=usual_device)
    """cpu, cuda, cuda:1 [a GPU if there is one]."""
    batch_size: int = 8
    """Pictures at a time."""
    features: tuple[str, ...] = ()
    """Only these [all that the model takes]."""

    def __post_init__(self) -> None:
        check_range("--batch-size", self.batch_size, 1, whole=True)


def cache(settings: CacheSettings, *words: str) -> int:
    """Compute what frozen encoders make of the training pictures, in every variant that the augmentation asks for.

    Run again, it goes on. Under torchrun each process makes its share, on one machine or many. All other options are
    keys of the recipe. Train with --data.cache FOLDER. The exit code is 1 if a picture could not be read.

    Args:
        settings: What is computed.
        words: Keys of the recipe.
    """
    import torch

    from pgpis.cli import lightning
    from pgpis.data.cache import CacheWriter, files_of
    from pgpis.data.features import feature_key, variants_of
    from pgpis.jobs import meter

    cli = lightning.build([*(f"--config={name}" for name in settings.config), "--trainer.logger=false", *words])
    data, model = cli.datamodule, cli.model
    features = model.frozen_features()
    unknown = [name for name in settings.features if name not in features]
    if unknown or not features:
        known = ", ".join(features) or "none"
        raise PgpisError(f"{type(model).__name__} has no feature '{' '.join(unknown)}' to cache; it has: {known}")
    dataset, specs = data.dataset("train"), model.input_specs
    dataset.setup()
    dataset.require({spec.origin for spec in specs.values()})
    model.to(settings.device)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    failures = []
    with torch.inference_mode(), locked(settings.out) if rank == 0 else nullcontext():
        writer = CacheWriter(settings.out, specs, settings.dtype, rank, world)
        for name, feature in features.items():
            if settings.features and name not in settings.features:
                continue
            files = files_of(dataset, specs[feature.picture].origin)
            variants = variants_of(feature.picture, specs, data.augmentation)
            with meter(name, max(1, len(files) * len(variants) // world)) as advance:
                failures += writer.write(
                    name,
                    feature_key(feature.picture, specs, feature.weights),
                    files,
                    variants,
                    _on_device(feature.encode, settings.device),
                    settings.batch_size,
                    advance,
                )
            sys.stdout.write(f"{settings.out / name}: {len(files)} pictures in {len(variants)} variants\n")
    for path, reason in failures[:SHOWN]:
        log.error("left out: %s: %s", path, reason)
    return 1 if failures else 0


def _on_device(encode: Encode, device: str) -> Encode:
    return lambda images: encode(images.to(device))
