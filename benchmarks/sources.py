"""What further pictures of a person are worth in the finished picture, on drawn people.

Each picture of a person gives the pose of another, with one, two and three sources. The error is the mean absolute
difference of colours, 0 to 255, over those pixels of the person that show what the *first* source does not show.

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


def main() -> int:
    """Draw people and their pictures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--config", default="synth/mcld.yaml", help="recipe")
    parser.add_argument("--pipeline", default="synth-mcld", help="its pipeline, an MCLD")
    parser.add_argument("--out", type=Path, default=Path("outputs/sources"))
    options = parser.parse_args()
    data = options.out / "data"
    drawing = f"--views {VIEWS} --seed {SEED} --test-share 0.5 --textures seen --inpaint fast"
    if pgpis(["synth", "--out", str(data), "--people", str(2 * options.people), *drawing.split()]):
        return 1
    for count in COUNTS:
        words = ["test", "--config", options.config, "--model.init_args.pipeline", options.pipeline]
        words += ["--data.test.init_args.root", str(data), "--data.test.init_args.most_sources", str(count)]
        words += ["--data.eval_batch_size", "8", "--trainer.default_root_dir", str(options.out / f"sources_{count}")]
        if pgpis(words):
            return 1
    wrong = errors(data, [options.out / f"sources_{count}/test/images" for count in COUNTS])
    table = Table("sources", "where the first shows nothing", "change", "where it does", box=box.MARKDOWN)
    for number, count in enumerate(COUNTS):
        change = wrong[:, number, 0] - wrong[:, 0, 0]
        low, high = bootstrap_interval(change)
        told = "-" if number == 0 else f"{100 * change.mean() / wrong[:, 0, 0].mean():.0f} % ({low:.1f} to {high:.1f})"
        table.add_row(str(count), f"{wrong[:, number, 0].mean():.1f}", told, f"{wrong[:, number, 1].mean():.1f}")
    Console(highlight=False, width=120).print(table, f"{len(wrong)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
