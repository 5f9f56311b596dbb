"""``pgpis data``: what is in a data set's folder and what is missing; one layout from another; shards."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgpis.cli.recipes import Recipes, find_recipes
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError, check_range
from pgpis.files import require, resolved, writing_at
from pgpis.methods import load_packages

if TYPE_CHECKING:  # loads torch
    from pgpis.data.packs.stores import Store
    from pgpis.data.pairs import PairDataset

log = logging.getLogger(__name__)


def check(root: str, *, report: Path | None = None) -> int:
    """Say which layout a folder has, count its files, list what is missing.

    The exit code is 1 if anything is missing or unreadable.

    Args:
        root: Folder of the data set, or folder or URL of a pack.
        report: Where all problems are listed [ROOT-problems.txt, if there are any].
    """
    if "://" not in root:
        require(Path(root), "folder")
    from pgpis.data.check import check_root  # loads torch

    load_packages()
    result = check_root(root)
    sys.stdout.write(result.render())
    listing = report or Path(f"{resolved(root).name}-problems.txt")
    try:
        with writing_at(listing):
            if result.problems or report is not None:
                result.write(listing)
            elif listing.exists():
                listing.unlink()  # of an earlier check
    except PgpisError as error:
        if report is not None:
            raise
        log.warning("%s; --report FILE lists all problems elsewhere", error.message)
    else:
        sys.stdout.write(f"all {len(result.problems)} problems: {listing}\n" if result.problems else "")
    return 1 if result.problems else 0


def link(source: Path, *, to: LayoutName, out: Path | None = None) -> int:
    """Lay a data set out as another method reads it, with links.

    The exit code is 1 if anything is missing or unreadable.

    Args:
        source: Folder of the data set, in any layout.
        to: Layout to make.
        out: Folder to write to [SOURCE itself].
    """
    require(source, "folder")
    from pgpis.data.link import link_layout  # loads torch

    load_packages()
    out = out or source
    report = link_layout(source, out, to)
    sys.stdout.write(
        f"{out}: {report.lists} lists of layout '{to}', {report.links} links made, {report.already} there already\n"
    )
    if report.missing:
        sys.stdout.write(f"{len(report.missing)} files are missing or unreadable, e.g. {report.missing[0]}\n")
    if report.kept:
        told = "files of key points differ from the source's and stay, since they were not written here"
        sys.stdout.write(f"{len(report.kept)} {told}, e.g. {report.kept[0]}; remove them to have the source's\n")
    return 1 if report.missing else 0


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """What is packed, and where it goes."""

    out: str
    """Folder, or URL: s3://bucket/people, or of another store that fsspec knows."""
    config: Recipes = ()
    """Recipe whose pairs are packed, in place of ROOT; may be given again."""
    splits: tuple[str, ...] = ()
    """Only these of train, val, test and predict [all that there are]."""
    kinds: tuple[str, ...] = ()
    """Only these beside the pictures: pose, iuv, texture, face, ... [all that there are]."""
    cache: Path | None = None
    """Folder of 'pgpis cache', whose features of the training pictures are packed too."""
    shard_size: float = 64.0
    """Megabytes of a shard."""
    workers: int | None = None
    """Processes; the shards do not depend on it [all cores]."""

    def __post_init__(self) -> None:
        check_range("--shard-size", self.shard_size, 0.001, 2000)
        check_range("--workers", self.workers, 1, whole=True, optional=True)


def pack(root: Path | None = None, *words: str, settings: PackSettings) -> int:
    """Write the pairs of a data set as shards, which train from a disk, S3 or another store.

    Files go in as they are, each once. Run again, it goes on. Train with --data.train=Packed
    --data.train.init_args.root=OUT. With --config all other options are keys of the recipe, as --KEY=VALUE. The exit
    code is 1 if pairs were left out, because a file of theirs is missing or cannot be read.

    Args:
        root: Folder of DeepFashion, in any layout, or of Phoenix.
        words: Keys of the recipe.
        settings: What is packed.
    """
    if (root is None) == (not settings.config) or (words and not settings.config):
        stray = f", and not {words[0]}" if words and not settings.config else ""
        raise PgpisError(f"expected ROOT or --config RECIPE{stray}", hint="pgpis data pack --help")
    if root is not None:
        require(root, "folder")
        load_packages()
    find_recipes(settings.config)
    from pgpis.data.packs.plan import datasets_in  # loads torch
    from pgpis.data.packs.stores import Store
    from pgpis.data.packs.write import pack_pairs
    from pgpis.jobs import Failure, render_failures

    out = Store(settings.out)
    datasets = datasets_in(root) if root is not None else _datasets_of(settings.config, words)
    failures: list[Failure] = []
    if settings.cache is not None and "train" not in (settings.splits or datasets):
        raise PgpisError("--cache holds features of training pictures, and those are not packed", hint="--splits train")
    if root is not None and not settings.splits:
        _refuse_former(root, out, datasets)
    for split in settings.splits or datasets:
        if split not in datasets:
            raise PgpisError(f"--splits: no pairs of '{split}'; there are {', '.join(datasets)}")
        datasets[split].setup()
        for store in (out, out.below(split)):
            if any(store.is_at(str(place)) for place in datasets[split].places):
                raise PgpisError(f"--out: {store} is the folder of the pairs themselves", hint="choose another folder")
    for split in settings.splits or datasets:
        store = out.below(split)
        workers = settings.workers or os.cpu_count() or 1
        cache = settings.cache if split == "train" else None
        report = pack_pairs(datasets[split], store, settings.kinds, settings.shard_size * 1e6, workers, cache)
        numbers, failures = report.pack, failures + report.failures
        size = f"{numbers['shards']:,} shards, {numbers['bytes'] / 1e6:,.1f} MB"
        kinds = ", ".join(numbers["kinds"])
        features = f", {numbers['features']:,} features" if "features" in numbers else ""
        files = f"{numbers['files']:,} files{features} in {size}"
        sys.stdout.write(f"{store}: {numbers['pairs']:,} pairs, {files}; {kinds}\n")
    sys.stdout.write(render_failures(failures))
    return 1 if failures else 0


def _refuse_former(root: Path, out: Store, datasets: dict[str, PairDataset]) -> None:
    """Refuse to pack beside the pairs of a list that the data set has no more: readers would still take them."""
    from pgpis.data.packs.check import packs_in
    from pgpis.data.packs.lists import source_in
    from pgpis.data.packs.write import source_of

    own = source_of(next(iter(datasets.values())))
    for split, said in packs_in(str(out)).items():
        if split not in (*datasets, "predict") and source_in(said, own) == own:
            place, message = out.below(split), f"has pairs of {root}, which has no list of them any more"
            raise PgpisError(f"{place} {message}", hint=f"remove {place}, or keep it: --splits {' '.join(datasets)}")


def _datasets_of(config: tuple[str, ...], words: tuple[str, ...]) -> dict[str, PairDataset]:
    """Return the data sets of a recipe."""
    import torch

    from pgpis.cli.models import build
    from pgpis.data.packs.check import SPLITS

    data = build(config, None, words, sizes_only=torch.device("meta")).datamodule
    return {split: dataset for split in SPLITS if (dataset := getattr(data, split)) is not None}
