"""``pgpis synth``: data sets of generated people, the editing benchmark, contact sheets."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgpis.errors import PgpisError, check_range
from pgpis.synth.files.options import DatasetOptions, Look

if TYPE_CHECKING:
    from pgpis.jobs import Failure

SIZES = ((256, 176), (512, 352))


def synth(*, out: Path, options: DatasetOptions, workers: int | None = None) -> int:
    """Draw a data set of synthetic people, every label exact.

    A second run with the same options goes on where the first one stopped; more --people extend a data set. The exit
    code is 1 if anything could not be drawn.

    Args:
        out: Folder of the data set.
        options: What it is made of.
        workers: Processes; the files do not depend on it [all cores].
    """
    workers = _processes(workers)
    _check_size(options.size)
    from pgpis.synth.files.dataset import make_dataset

    report = make_dataset(out, options, workers)
    sys.stdout.write(
        f"{out}: {report.pictures:,} pictures; {report.drawn:,} people drawn, {report.kept:,} there already\n"
    )
    return _list_failures(report.failures)


def edit(
    *,
    from_: Path,
    out: Path,
    kind: Sequence[Literal["outfit", "fabric", "identity", "paint", "pose"]],
    pictures: int = 100,
    split: Literal["train", "test", "all"] = "test",
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Draw pictures of a data set again with one thing changed: an editing benchmark with ground truth.

    Args:
        from_: Folder that ``pgpis synth`` wrote.
        out: Folder of the triples.
        kind: Other garments (outfit), the same garments from other cloth (fabric), another person (identity), the same
            shape in other colours (paint), another pose; several may be given.
        pictures: Triples of each kind.
        split: Whose pictures.
        seed: Seed of the choice of pictures.
        workers: Processes; the files do not depend on it [all cores].
    """
    workers = _processes(workers)
    _check_least(1, pictures=pictures)
    _check_least(0, seed=seed)
    from pgpis.synth.files.triples import make_triples

    report = make_triples(from_, out, kind, pictures, seed, split, workers)
    sys.stdout.write(f"{out}: {report.drawn:,} triples drawn, {report.kept:,} there already\n")
    return _list_failures(report.failures)


def sheet(
    *,
    out: Path,
    from_: Path | None = None,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    look: Look | None = None,
    people: int = 8,
    views: int = 5,
    across: int = 1,
    zoom: int = 1,
    overlay: Sequence[Literal["none", "keypoints", "iuv", "layers", "face"]] = ("none",),
) -> int:
    """Draw a contact sheet: a row a person, their views side by side.

    Args:
        out: Picture to write, .jpg or .png.
        from_: Folder that ``pgpis synth`` wrote; else people of --seed.
        seed: Seed of the people, where there is no data set [0].
        size: Height x width, 256x176 or 512x352, where there is no data set [256x176].
        look: As in ``pgpis synth``, where there is no data set [drawn].
        people: Number of people.
        views: Pictures a person, at most.
        across: People beside each other.
        zoom: Enlargement.
        overlay: Labels to lay over; once with each.
    """
    _check_least(1, people=people, views=views, across=across, zoom=zoom)
    _check_least(0, seed=seed)
    if from_ is not None and (seed, size, look) != (None, None, None):
        raise PgpisError("--from shows a data set, which has its own --seed, --size and --look", hint="leave them out")
    drawn_size = size or SIZES[0]
    _check_size(drawn_size)
    from pgpis.synth.files.sheet import people_of, sample_people, write_sheet

    if from_:
        scenes = people_of(from_, people, views)
    else:
        scenes = sample_people(seed or 0, people, views, drawn_size, look or "drawn")
    failures = write_sheet(out, scenes, overlay, across, zoom)
    sys.stdout.write(f"{out}: {sum(map(len, scenes))} pictures of {len(scenes)} people\n")
    return _list_failures(failures)


def _processes(workers: int | None) -> int:
    _check_least(1, workers=workers)
    return workers or os.cpu_count() or 1


def _check_size(size: tuple[int, int]) -> None:
    if size not in SIZES:
        raise PgpisError(f"--size {size[0]}x{size[1]}: expected 256x176 or 512x352")


def _check_least(least: int, **values: int | None) -> None:
    for name, value in values.items():
        check_range(f"--{name}", value, least, whole=True, optional=True)


def _list_failures(failures: Sequence[Failure]) -> int:
    from pgpis.jobs import render_failures  # loads rich

    sys.stdout.write(render_failures(failures))
    return 1 if failures else 0
