"""Benchmark on held-out synthetic people, whose exact truth is known; needs no weights of others.

    python scripts/bench_synth.py --root DATA --out FOLDER [--pairs 500] [--models NAME=PIPELINE ...]

DATA was drawn by ``pgpis synth`` with at least ``--candidates`` test people, and textures for MCLD. Rows: what needs no
model (the source as it is, the nearest training picture, the source's surface painted onto the target pose, the truth),
the models that ship with pgpis or those that ``--models`` names, then each ``--generated`` folder of pictures that
``pgpis test`` or ``predict`` made. All pictures are written, so that they can be looked at; what is there is not made
again. Scoring takes seconds a pair: other people and outfits are drawn in the true one's place.

Two columns come from our own small encoder, the source encoder of the shipped FPDM, and are comparable with nothing
outside this table: ``token distance`` is one minus the mean cosine of the tokens of both pictures, in the manner of
LPIPS; ``Fréchet distance`` is that of its embeddings of all pictures, in the manner of FID.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pgpis.batch import PairBatch
from pgpis.cli import lightning
from pgpis.data import DeepFashion, OnMissing, Pair, PoseTransferDataModule
from pgpis.errors import PgpisError
from pgpis.evaluate.baselines import NearestTraining, warp
from pgpis.evaluate.exact import NAMES, ExactScores
from pgpis.evaluate.naming import list_pictures, match_pictures
from pgpis.evaluate.score import bootstrap_interval
from pgpis.files import write_text
from pgpis.jobs import meter
from pgpis.methods.fpdm import FPDMPipeline
from pgpis.metrics import PSNR, SSIM, FeatureStatistics, frechet_distance
from pgpis.models.encoders import encode_tokens
from pgpis.pictures.images import image_to_tensor, read_image, resize, save_image, tensor_to_images
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.keypoints import Keypoints
from pgpis.pipelines.bundle import load_bundle
from pgpis.pipelines.shipped import SHIPPED
from pgpis.tasks.diffusion import DiffusionTask

COLUMNS = ("ssim", "psnr", "token_distance", *NAMES)
ENCODER = "synth-fpdm"
MODELS = ("FPDM=synth-fpdm", "MCLD=synth-mcld")
COPY, NEAREST, PAINTED, TRUTH = BASELINES = (
    "copy of the source",
    "nearest training picture",
    "source painted onto the pose",
    "truth",
)
"""Rows that need no model."""
BATCH = 16
WORKERS = os.cpu_count() or 1
HIGHER = {"ssim", "psnr", "pose_recognised", "identity_recognised", "outfit_recognised"}

Maker = Callable[[Pair], Image.Image]


def dataset(root: Path, split: str, pairs: int | None = None) -> DeepFashion:
    """Read the pairs of a split; a part of them is spread evenly over the list."""
    drop = OnMissing(face="drop")  # seen from behind
    found = DeepFashion(root, split, layout="fpdm", self_pair_probability=0, on_missing=drop)
    found.setup()
    if pairs is not None and pairs < len(found):
        chosen = np.linspace(0, len(found) - 1, pairs).round().astype(int)
        found._pairs = tuple(found.pairs[index] for index in chosen)  # noqa: SLF001  a spread choice, not the first ones
    return found


def baselines(root: Path, test: DeepFashion) -> dict[str, Maker]:
    """Return what makes the pictures of the rows without a model."""
    nearest = NearestTraining(dataset(root, "train"))
    whole = dataset(root, "test")
    maps = {pair.target: pair.file("iuv") for pair in whole.pairs}

    def nearest_training(pair: Pair) -> Image.Image:
        pose = test.read_pose(pair)
        assert isinstance(pose, Keypoints)
        return read_image(nearest(pose, pair.source, maps[pair.source]))

    def painted(pair: Pair) -> Image.Image:
        source = np.asarray(read_image(pair.source))
        return Image.fromarray(warp(source, read_part_u_v(maps[pair.source]), read_part_u_v(pair.file("iuv"))))

    return {
        COPY: lambda pair: read_image(pair.source),
        NEAREST: nearest_training,
        PAINTED: painted,
        TRUTH: lambda pair: read_image(pair.target),
    }


class OwnEncoder:
    """The small encoder that ships with pgpis, as a judge."""

    def __init__(self) -> None:
        pipeline = load_bundle(FPDMPipeline, SHIPPED[ENCODER].path)
        self.encoder = pipeline.source_encoder.eval()
        self.size = int(pipeline.conditioner.config.source_size)

    @torch.inference_mode()
    def __call__(self, files: Sequence[Path]) -> torch.Tensor:
        """Return the tokens of pictures, class token first, ``(B, N, D)``."""
        return torch.cat([self.encode([read_image(path) for path in some]) for some in _parts(files, 32)])

    def encode(self, pictures: Iterable[Image.Image]) -> torch.Tensor:
        """Return the tokens of pictures that are at hand."""
        sized = [image_to_tensor(resize(picture, self.size, self.size)) for picture in pictures]
        return encode_tokens(self.encoder, torch.stack(sized))


def _parts(files: Sequence[Path], count: int) -> Iterable[Sequence[Path]]:
    return (files[start : start + count] for start in range(0, len(files), count))


def token_distance(ours: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean cosine of the patches' tokens ``(B, N, D)``, per picture."""
    return 1 - torch.nn.functional.cosine_similarity(ours[:, 1:], truth[:, 1:], dim=-1).mean(dim=1)


def score(
    rows: dict[str, list[Path]], pairs: Sequence[Pair], exact: ExactScores
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, float]]:
    """Score the pictures of all rows; return values by row, column and pair, and each row's Fréchet distance."""
    values = {name: {column: np.full(len(pairs), np.nan) for column in COLUMNS} for name in rows}
    jobs = [(exact, pair, [files[index] for files in rows.values()]) for index, pair in enumerate(pairs)]
    context = multiprocessing.get_context("spawn")  # a forked process may hang on the threads of its parent
    with meter("scoring", len(pairs)) as advance, ProcessPoolExecutor(WORKERS, context) as pool:
        for index, scores in enumerate(pool.map(score_pair, jobs, chunksize=4)):
            for name, found in zip(rows, scores, strict=True):
                for column, value in found.items():
                    values[name][column][index] = value
            advance(1)
    encode = OwnEncoder()
    reference = encode([pair.target for pair in pairs if pair.target is not None])
    frechet = {}
    for name, files in rows.items():
        tokens = encode(files)
        values[name]["token_distance"] = token_distance(tokens, reference).double().numpy()
        frechet[name] = frechet_distance(*statistics(tokens[:, 0]), *statistics(reference[:, 0]))
    return values, frechet


def score_pair(job: tuple[ExactScores, Pair, list[Path]]) -> list[dict[str, float]]:
    """Score what all rows have for one pair."""
    torch.set_num_threads(1)
    exact, pair, files = job
    assert pair.target is not None
    truth, pictures = read_image(pair.target), [read_image(path) for path in files]
    scores = exact(pair.target, pictures)
    metrics = {"ssim": SSIM("gaussian"), "psnr": PSNR()}
    for picture, found in zip(pictures, scores, strict=True):
        sized = (resize(picture, truth.height, truth.width), truth)
        ours, reference = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in sized)
        found |= {name: float(metric.pair_values(ours, reference)[0]) for name, metric in metrics.items()}
    return scores


def load_task(pipeline: str) -> DiffusionTask:
    """Build a shipped model, or what ``scripts/train_demo.py`` exported, with the steps and guidance of its recipe."""
    shipped = SHIPPED.get(pipeline)
    if shipped is None:
        folder = Path(pipeline)
        if not (folder / "model_index.json").is_file():
            raise PgpisError(f"{folder} is no pipeline", hint=f"one of {', '.join(SHIPPED)}, or a folder")
        method = "mcld" if "MCLD" in (folder / "model_index.json").read_text(encoding="utf-8") else "fpdm"
        shipped = SHIPPED[f"synth-{method}"]
    words = [f"--config={shipped.recipe}", f"--model.init_args.pipeline={pipeline}", "--trainer.logger=false"]
    task = lightning.build(words).model
    assert isinstance(task, DiffusionTask)
    return task.eval()


def batches(test: DeepFashion, task: DiffusionTask) -> Iterable[PairBatch]:
    """Return the pairs in batches."""
    data = PoseTransferDataModule(test=test, batch_size=BATCH, num_workers=0, image_specs=task.image_specs)
    return data.test_dataloader()


def generate(test: DeepFashion, folder: Path, pipeline: str) -> list[Path]:
    """Make a model's pictures; where all are there, none is made again."""
    files = [folder / f"{pair.pair_id}.png" for pair in test.pairs]
    if all(path.is_file() for path in files):
        return files
    task = load_task(pipeline)
    with meter(folder.name, len(files)) as advance, torch.inference_mode():
        for batch in batches(test, task):
            made = tensor_to_images(task.sample(batch))
            for pair_id, image in zip(batch["pair_id"], made, strict=True):
                save_image(image, folder / f"{pair_id}.png")
            advance(len(made))
    return files


def statistics(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and covariance of features ``(N, D)``."""
    gathered = FeatureStatistics(features.shape[1])
    gathered.update(features)
    mean, covariance = gathered.compute()
    return mean, covariance


def table(rows: dict[str, dict[str, np.ndarray]], frechet: dict[str, float]) -> str:
    """Return the table in Markdown: means and 95 % intervals over pairs."""
    shown = (*COLUMNS, "Fréchet distance")
    arrows = [f"{column.replace('_', ' ')} {'↑' if column in HIGHER else '↓'}" for column in shown]
    lines = [f"| | {' | '.join(arrows)} |", f"| --- |{' --- |' * len(arrows)}"]
    for name, values in rows.items():
        cells = []
        for column in COLUMNS:
            finite = values[column][np.isfinite(values[column])]
            low, high = bootstrap_interval(values[column])
            digits = 2 if column == "psnr" or column.endswith("_error") else 3
            dash = " to " if low < 0 else "-"
            shown_interval = f"({low:.{digits}f}{dash}{high:.{digits}f})"
            cells.append(f"{finite.mean():.{digits}f} {shown_interval}" if len(finite) else "-")
        lines.append(f"| {name} | {' | '.join(cells)} | {frechet[name]:.3f} |")
    return "\n".join(lines) + "\n"


def difference(ours: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what one row has more than another, pair by pair."""
    return {column: ours[column] - other[column] for column in ours}


def main() -> int:
    """Make the rows, write ``benchmark.md``, ``benchmark.json`` and the values of each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="data set of pgpis synth")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--pairs", type=int, default=500, help="test pairs, spread over the list")
    parser.add_argument("--candidates", type=int, default=5, help="drawings to choose from in recognition")
    parser.add_argument(
        "--models", nargs="*", default=MODELS, metavar="NAME=PIPELINE", help=f"models to score [{' '.join(MODELS)}]"
    )
    parser.add_argument("--generated", action="append", default=[], metavar="NAME=FOLDER", help="a model's pictures")
    parser.add_argument("--differences", nargs="*", default=[], metavar="A-B", help="rows to compare pair by pair")
    arguments = parser.parse_args()
    logging.getLogger("pgpis").setLevel(logging.INFO)
    logging.basicConfig(format="%(message)s")
    test = dataset(arguments.root, "test", arguments.pairs)
    exact = ExactScores(arguments.root, arguments.candidates)
    named = {*BASELINES, *(word.partition("=")[0] for word in [*arguments.models, *arguments.generated])}
    for word in arguments.differences:
        if unknown := set(word.split("-", 1)) - named:
            parser.error(f"--differences {word}: no row '{unknown.pop()}'; one of {', '.join(sorted(named))}")
    made: dict[str, list[Path]] = {}
    for name, make in baselines(arguments.root, test).items():
        folder = arguments.out / name.replace(" ", "_")
        made[name] = [folder / f"{pair.pair_id}.png" for pair in test.pairs]
        for pair, path in zip(test.pairs, made[name], strict=True):
            if not path.is_file():
                save_image(make(pair), path)
    for word in arguments.models:
        name, _, pipeline = word.partition("=")
        made[name] = generate(test, arguments.out / name, pipeline)
    for word in arguments.generated:
        name, _, folder = word.partition("=")
        matches = match_pictures(list_pictures(Path(folder)), test.pairs)
        if matches.missing:
            raise PgpisError(f"{folder} lacks {len(matches.missing)} of {len(test)} pairs, e.g. {matches.missing[0]}")
        found = {pair.pair_id: path for pair, path in matches.files}
        made[name] = [found[pair.pair_id] for pair in test.pairs]
    rows, frechet = score(made, test.pairs, exact)
    text = table(rows, frechet)
    if arguments.differences:
        pairwise = [word.split("-", 1) for word in arguments.differences]
        changes = {f"{ours} - {other}": difference(rows[ours], rows[other]) for ours, other in pairwise}
        text += "\n" + table(changes, {f"{ours} - {other}": frechet[ours] - frechet[other] for ours, other in pairwise})
    write_text(arguments.out / "benchmark.md", text)
    means = {row: {column: float(np.nanmean(values[column])) for column in COLUMNS} for row, values in rows.items()}
    for row, distance in frechet.items():
        means[row]["frechet_distance"] = distance
    write_text(arguments.out / "benchmark.json", json.dumps(means, indent=2) + "\n")
    for name, values in rows.items():
        lines = io.StringIO()
        writer = csv.writer(lines)
        writer.writerow(["pair", *COLUMNS])
        for index, pair in enumerate(test.pairs):
            writer.writerow([pair.pair_id, *(f"{values[column][index]:.6g}" for column in COLUMNS)])
        write_text(arguments.out / f"{name.replace(' ', '_')}.csv", lines.getvalue())
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
