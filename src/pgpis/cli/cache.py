"""``pgpis cache``: compute the features of frozen encoders once, for training."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pgpis.cli.verbs import OneLineParser
from pgpis.errors import PgpisError, check_range
from pgpis.files import locked

if TYPE_CHECKING:  # these load torch
    from pgpis.batch import FrozenFeature
    from pgpis.data.cache import CacheWriter, Encode
    from pgpis.data.pairs import PairDataset
    from pgpis.data.transforms import Augmentation

log = logging.getLogger(__name__)

SHOWN = 20


def parser() -> OneLineParser:
    """Return the parser of the verb's own options; what it does not know goes to the config system."""
    made = OneLineParser(
        prog="pgpis cache",
        description="Compute what frozen encoders make of the training pictures, in every variant that the "
        "augmentation asks for. Run again, it goes on. Under torchrun each process makes its share, on one machine or "
        "many.",
        epilog="All other options are keys of the recipe. Train with --data.cache FOLDER.",
        allow_abbrev=False,
    )
    made.add_argument("--config", action="append", required=True, help="recipe, may be repeated")
    made.add_argument("--out", type=Path, required=True, help="folder to write to")
    made.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default="float32", help="how features are stored [float32]"
    )
    made.add_argument("--device", help="cpu, cuda, ... [a GPU if there is one]")
    made.add_argument("--batch-size", type=int, default=8, help="pictures at a time [8]")
    made.add_argument("--features", nargs="*", default=[], help="only these [all that the model takes]")
    return made


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis cache``; 1 if a picture could not be read."""
    options, rest = parser().parse_known_args(list(words))
    import torch

    with torch.inference_mode():
        return _run(options, rest)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    import torch

    from pgpis.cli import lightning
    from pgpis.data.cache import CacheWriter

    check_range("--batch-size", options.batch_size, 1, whole=True)
    cli = lightning.build([*(f"--config={name}" for name in options.config), "--trainer.logger=false", *rest])
    data, model = cli.datamodule, cli.model
    features = model.frozen_features()
    unknown = [name for name in options.features if name not in features]
    if unknown or not features:
        known = ", ".join(features) or "none"
        raise PgpisError(f"{type(model).__name__} has no feature '{' '.join(unknown)}' to cache; it has: {known}")
    dataset, specs = data.dataset("train"), model.image_specs
    dataset.setup()
    dataset.require({spec.origin for spec in specs.values()})
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = {name: feature for name, feature in features.items() if not options.features or name in options.features}
    with locked(options.out) if rank == 0 else nullcontext():
        writer = CacheWriter(options.out, specs, options.dtype, rank, world)
        failures = _write(writer, chosen, dataset, data.augmentation, device, options.batch_size)
    for path, reason in failures[:SHOWN]:
        log.error("left out: %s: %s", path, reason)
    return 1 if failures else 0


def _write(
    writer: CacheWriter,
    features: Mapping[str, FrozenFeature],
    dataset: PairDataset,
    augmentation: Augmentation,
    device: str,
    batch_size: int,
) -> list[tuple[str, str]]:
    from pgpis.data.cache import feature_key, files_of, variants_of
    from pgpis.jobs import meter

    specs, failures = writer.specs, []
    for name, feature in features.items():
        files = files_of(dataset, specs[feature.picture].origin)
        variants = variants_of(feature.picture, specs, augmentation)
        with meter(name, max(1, len(files) * len(variants) // writer.world_size)) as advance:
            failures += writer.write(
                name,
                feature_key(feature.picture, specs, feature.weights),
                files,
                variants,
                _on_device(feature.encode, device),
                batch_size,
                advance,
            )
        sys.stdout.write(f"{writer.folder / name}: {len(files)} pictures in {len(variants)} variants\n")
    return failures


def _on_device(encode: Encode, device: str) -> Encode:
    return lambda images: encode(images.to(device))
