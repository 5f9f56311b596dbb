"""What further pictures of a person are worth in the finished picture, on drawn people.

Each picture of a person gives the pose of another, with one, two and three sources. The error is the mean absolute
difference of colours, 0 to 255, over those pixels of the person that show what the *first* source does not show.
Several pipelines are runs of one model, as of several seeds: intervals are then over runs as well as pairs. ``--than``
takes as many runs of another model, as of one that was trained with one source; its errors are taken off.

    python benchmarks/sources.py [--people 6] [--config synth/mcld.yaml] [--pipeline synth-mcld] [--out outputs/sources]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from pgpis.batch import ImageSpec, InputSpecs
from pgpis.cli import main as pgpis
from pgpis.data import DeepFashion
from pgpis.data.transforms import PairTransform
from pgpis.evaluate.intervals import bootstrap_interval
from pgpis.files import file_name
from pgpis.methods.mcld.rendering import render
from pgpis.pictures.images import image_to_tensor, read_image
from pgpis.pictures.surface import SURFACE_SIZE

SIZE, VIEWS, SEED = (256, 176), 5, 2027
COUNTS = (1, 2, 3)
LEAST = 300
"""Pixels that the first source must leave unseen."""
SPECS: InputSpecs = {
    "pose_image": ImageSpec("iuv", *SIZE, filter="nearest"),
    "target_image": ImageSpec("target", *SIZE),
    "surface": ImageSpec("surface", *SURFACE_SIZE, filter="nearest"),
}


def errors(data: Path, pictures: Sequence[Path]) -> NDArray[np.float64]:
    """Return the error where the first source shows nothing, and that where it does, of folders of pictures.

    Returns:
        ``(pairs, folders, 2)``; pairs whose first source shows nearly all are left out.
    """
    dataset, transform = DeepFashion(data, "test"), PairTransform(SPECS, train=False)
    dataset.setup()
    rows = []
    for index in range(len(dataset)):
        loaded = dataset.load(index, transform.origins, None)
        tensors = transform(loaded)
        _, marks = render(tensors["surface"][None], tensors["pose_image"][None], None)
        seen, unseen = marks[0, 0] > 0, marks[0, 1] > 0
        if unseen.sum() < LEAST:
            continue
        files = [folder / file_name(loaded.pair.pair_id, ".png") for folder in pictures]
        wrong = [(image_to_tensor(read_image(file)) - tensors["target_image"]).abs() * 127.5 for file in files]
        rows.append([[float(value[:, where].mean()) for where in (unseen, seen)] for value in wrong])
    return np.array(rows)


def draw(options: argparse.Namespace, data: Path, name: str, pipelines: Sequence[str]) -> NDArray[np.float64]:
    """Draw all pairs with each number of sources by each pipeline, and return their errors.

    Returns:
        ``(runs, pairs, numbers of sources, 2)``, see :func:`errors`.

    Raises:
        SystemExit: A command failed.
    """
    runs = []
    for run, pipeline in enumerate(pipelines):
        folders = [options.out / f"{name}_{run}_sources_{count}" for count in COUNTS]
        for count, folder in zip(COUNTS, folders, strict=True):
            words = ["test", "--config", options.config, "--model.init_args.pipeline", pipeline]
            words += ["--data.test.init_args.root", str(data), "--data.test.init_args.most_sources", str(count)]
            words += ["--data.eval_batch_size", "8", "--trainer.default_root_dir", str(folder)]
            if pgpis(words):
                raise SystemExit(1)
        runs.append(errors(data, [folder / "test/images" for folder in folders]))
    return np.stack(runs)


def told(change: NDArray[np.float64]) -> str:
    """Return the mean of ``(runs, pairs)`` with its interval."""
    low, high = bootstrap_interval(change if len(change) > 1 else change[0])
    return f"{change.mean():.1f} ({low:.1f} to {high:.1f})"


def main() -> int:
    """Draw people and their pictures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--config", default="synth/mcld.yaml", help="recipe")
    parser.add_argument("--pipeline", nargs="+", default=["synth-mcld"], help="its pipelines, runs of one MCLD")
    parser.add_argument("--than", nargs="+", default=[], help="as many runs of another")
    parser.add_argument("--out", type=Path, default=Path("outputs/sources"))
    options = parser.parse_args()
    if options.than and len(options.than) != len(options.pipeline):
        parser.error("they are compared run by run: --than needs as many runs as --pipeline")
    data = options.out / "data"
    drawing = f"--views {VIEWS} --seed {SEED} --test-share 0.5 --textures seen --inpaint fast"
    if pgpis(["synth", "--out", str(data), "--people", str(2 * options.people), *drawing.split()]):
        return 1
    wrong = draw(options, data, "model", options.pipeline)
    other = draw(options, data, "than", options.than) if options.than else None
    columns = ["sources", "where the first shows nothing", "change", "where it does", "change"]
    columns += [] if other is None else ["first shows nothing, less --than", "first shows it, less --than"]
    table = Table(*columns, box=box.MARKDOWN)
    for number, count in enumerate(COUNTS):
        cells = [str(count)]
        for place in (0, 1):
            here, one = wrong[:, :, number, place], wrong[:, :, 0, place]
            change = f"{100 * (here.mean() / one.mean() - 1):.0f} %, {told(here - one)}"
            cells += [f"{here.mean():.1f}", change if number else "-"]
        if other is not None:
            cells += [told((wrong - other)[:, :, number, place]) for place in (0, 1)]
        table.add_row(*cells)
    Console(highlight=False, width=200).print(table, f"{wrong.shape[1]} pairs, {len(wrong)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
