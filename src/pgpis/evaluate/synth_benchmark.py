"""The benchmark on held-out synthetic people, whose exact truth is known; it needs no weights of others.

Rows are what needs no model (:data:`BASELINES`), models, and folders of pictures that were made elsewhere. Two columns
come from a small encoder of our own, and are comparable with nothing outside one table: ``token distance`` is one minus
the mean cosine of the tokens of both pictures, in the manner of LPIPS; ``Fréchet distance`` is that of its embeddings
of all pictures, in the manner of FID.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data import DeepFashion, OnMissing, Pair
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.baselines import NearestTraining, warp
from pgpis.evaluate.exact import NAMES, ExactScores
from pgpis.evaluate.naming import list_pictures, match_pictures
from pgpis.evaluate.score import bootstrap_interval
from pgpis.files import write_text
from pgpis.jobs import born_deaf, broken_pool, meter, one_thread_each, worker_pool
from pgpis.metrics import PSNR, SSIM, FeatureStatistics, frechet_distance
from pgpis.metrics.markup import markdown_table
from pgpis.metrics.summary import write_table
from pgpis.pictures.images import read_image, resize, save_image
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.keypoints import Keypoints

COLUMNS = ("ssim", "psnr", "token_distance", *NAMES)
HIGHER = {"ssim", "psnr", "pose_recognised", "identity_recognised", "outfit_recognised"}
COPY, NEAREST, PAINTED, TRUTH = BASELINES = (
    "copy of the source",
    "nearest training picture",
    "source painted onto the pose",
    "truth",
)
"""Rows that need no model."""
ENCODED_AT_ONCE = 32

Encode = Callable[[Sequence[Image.Image]], torch.Tensor]
"""Returns the tokens of pictures, class token first, ``(B, N, D)``."""
Sample = Callable[[str, DeepFashion], Iterable[tuple[str, Image.Image]]]
"""Makes the pictures of a pipeline for all pairs, each with its pair's name."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is scored, and where the results go."""

    root: Path
    """Data set of ``pgpis synth``, with at least ``candidates`` test people, and textures for MCLD."""
    out: Path
    """Folder to write to; pictures that are there are not made again."""
    pairs: int = 500
    """Test pairs, spread over the list."""
    candidates: int = 5
    """Drawings to choose from in recognition."""
    models: Mapping[str, str] | None = None
    """Pipelines by the names of their rows."""
    generated: Mapping[str, Path] | None = None
    """Folders of pictures that ``pgpis test`` or ``predict`` made, by the names of their rows."""
    differences: tuple[tuple[str, str], ...] = ()
    """Rows to compare pair by pair."""

    def __post_init__(self) -> None:
        check_range("--pairs", self.pairs, 1, whole=True)
        check_range("--candidates", self.candidates, 2, whole=True)
        rows = {*BASELINES, *(self.models or ()), *(self.generated or ())}
        for pair in self.differences:
            if unknown := set(pair) - rows:
                raise PgpisError(
                    f"--differences {'-'.join(pair)}: no row '{unknown.pop()}'; one of {', '.join(sorted(rows))}"
                )


@dataclass(frozen=True)
class RowScores:
    """The scores of one row of the table."""

    values: Mapping[str, NDArray[np.float64]]
    """By column, one value a pair."""
    frechet: float

    def __sub__(self, other: RowScores) -> RowScores:
        differences = {column: values - other.values[column] for column, values in self.values.items()}
        return RowScores(differences, self.frechet - other.frechet)


def run_benchmark(settings: BenchmarkSettings, sample: Sample, encode: Encode) -> str:
    """Make the rows' pictures, score them, and write ``benchmark.md``, ``benchmark.json`` and a table of pairs a row.

    Returns:
        The text of ``benchmark.md``.

    Raises:
        PgpisError: The data set is not one of ``pgpis synth``, has too few people, or a row lacks pictures.
    """
    test = spread_pairs(settings.root, "test", settings.pairs)
    exact = ExactScores(settings.root, settings.candidates)
    rows = _score(_pictures(settings, test, sample), test.pairs, exact, encode)
    text = table(rows)
    if settings.differences:
        text += "\n" + table({f"{ours} - {other}": rows[ours] - rows[other] for ours, other in settings.differences})
    write_text(settings.out / "benchmark.md", text)
    means = {}
    for name, row in rows.items():
        means[name] = {column: float(np.nanmean(values)) for column, values in row.values.items()}
        means[name]["frechet_distance"] = row.frechet
        cells = [[pair.pair_id for pair in test.pairs], *([f"{v:.6g}" for v in row.values[c]] for c in COLUMNS)]
        write_table(settings.out / f"{name.replace(' ', '_')}.csv", ["pair", *COLUMNS], zip(*cells, strict=True))
    write_text(settings.out / "benchmark.json", json.dumps(means, indent=2) + "\n")
    return text


def spread_pairs(root: Path, split: Literal["train", "test"], pairs: int | None = None) -> DeepFashion:
    """Return the pairs of a split; a part of them is spread evenly over the list."""
    dataset = DeepFashion(
        root,
        split,
        layout="fpdm",
        self_pair_probability=0,
        on_missing=OnMissing(face="drop"),  # seen from behind
    )
    dataset.setup()
    if pairs is not None and pairs < len(dataset):
        chosen = np.linspace(0, len(dataset) - 1, pairs).round().astype(int)
        dataset._pairs = tuple(dataset.pairs[index] for index in chosen)  # noqa: SLF001  a spread choice, not the first
    return dataset


def _pictures(settings: BenchmarkSettings, test: DeepFashion, sample: Sample) -> dict[str, list[Path]]:
    """Make the pictures of all rows that are not there, and return their files in the order of the pairs."""
    rows: dict[str, list[Path]] = {}
    for name, make in _baselines(settings.root, test).items():
        rows[name] = [settings.out / name.replace(" ", "_") / f"{pair.pair_id}.png" for pair in test.pairs]
        for pair, path in zip(test.pairs, rows[name], strict=True):
            if not path.is_file():
                save_image(make(pair), path)
    for name, pipeline in (settings.models or {}).items():
        rows[name] = [settings.out / name / f"{pair.pair_id}.png" for pair in test.pairs]
        if not all(path.is_file() for path in rows[name]):
            with meter(name, len(test)) as advance:
                for pair_id, image in sample(pipeline, test):
                    save_image(image, settings.out / name / f"{pair_id}.png")
                    advance(1)
    for name, place in (settings.generated or {}).items():
        matches = match_pictures(list_pictures(place), test.pairs)
        if matches.missing:
            raise PgpisError(f"{place} lacks {len(matches.missing)} of {len(test)} pairs, e.g. {matches.missing[0]}")
        rows[name] = [path for _, path in matches.files]
    return rows


def _baselines(root: Path, test: DeepFashion) -> dict[str, Callable[[Pair], Image.Image]]:
    """Return what makes the pictures of the rows without a model."""
    nearest = NearestTraining(spread_pairs(root, "train"))
    maps = {pair.target: pair.file("iuv") for pair in spread_pairs(root, "test").pairs}

    def nearest_training(pair: Pair) -> Image.Image:
        pose = test.read_pose(pair)
        assert isinstance(pose, Keypoints)
        return read_image(nearest(pose, pair.source, _required(maps[pair.source])))

    def painted(pair: Pair) -> Image.Image:
        both = [read_part_u_v(_required(path)) for path in (maps[pair.source], pair.file("iuv"))]
        return Image.fromarray(warp(np.asarray(read_image(pair.source)), *both))

    return {
        COPY: lambda pair: read_image(pair.source),
        NEAREST: nearest_training,
        PAINTED: painted,
        TRUTH: lambda pair: read_image(_required(pair.target)),
    }


def _required(path: Path | None) -> Path:
    """Synthetic people have all files."""
    assert path is not None
    return path


def _score(
    rows: Mapping[str, Sequence[Path]], pairs: Sequence[Pair], exact: ExactScores, encode: Encode
) -> dict[str, RowScores]:
    jobs = [(exact, pair, [files[index] for files in rows.values()]) for index, pair in enumerate(pairs)]
    scored: list[list[dict[str, float]]] = []
    with meter("scoring", len(pairs)) as advance, one_thread_each(), worker_pool(os.cpu_count() or 1) as pool:
        with born_deaf():
            running = pool.map(_score_pair, jobs, chunksize=4)
        try:
            for scores in running:
                scored.append(scores)
                advance(1)
        except BrokenProcessPool as error:
            raise broken_pool("scoring", error) from error
    truth = _tokens([_required(pair.target) for pair in pairs], encode)
    result = {}
    for number, (name, files) in enumerate(rows.items()):
        tokens = _tokens(files, encode)
        values = {column: np.array([scores[number][column] for scores in scored]) for column in scored[0][number]}
        values["token_distance"] = token_distance(tokens, truth).double().numpy()
        ours, reference = (FeatureStatistics(tokens.shape[-1]) for _ in range(2))
        ours.update(tokens[:, 0])
        reference.update(truth[:, 0])
        frechet = frechet_distance(*ours.compute(), *reference.compute())
        result[name] = RowScores({column: values[column] for column in COLUMNS}, frechet)
    return result


def _score_pair(job: tuple[ExactScores, Pair, list[Path]]) -> list[dict[str, float]]:
    """Score what all rows have for one pair."""
    exact, pair, files = job
    target = _required(pair.target)
    truth, pictures = read_image(target), [read_image(path) for path in files]
    scores = exact(target, pictures)
    metrics = {"ssim": SSIM("gaussian"), "psnr": PSNR()}
    for picture, row in zip(pictures, scores, strict=True):
        both = (resize(picture, truth.height, truth.width), truth)
        ours, reference = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in both)
        row |= {name: float(metric.pair_values(ours, reference)[0]) for name, metric in metrics.items()}
    return scores


def _tokens(files: Sequence[Path], encode: Encode) -> torch.Tensor:
    chunks = (files[start : start + ENCODED_AT_ONCE] for start in range(0, len(files), ENCODED_AT_ONCE))
    return torch.cat([encode([read_image(path) for path in chunk]) for chunk in chunks])


def token_distance(ours: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean cosine of the patches' tokens ``(B, N, D)``, per picture."""
    return 1 - torch.nn.functional.cosine_similarity(ours[:, 1:], truth[:, 1:], dim=-1).mean(dim=1)


def table(rows: Mapping[str, RowScores]) -> str:
    """Return the table in Markdown: means and 95 % intervals over pairs."""
    columns = (*COLUMNS, "Fréchet distance")
    head = [f"{column.replace('_', ' ')} {'↑' if column in HIGHER else '↓'}" for column in columns]
    cells = [
        [name, *(_cell(column, row.values[column]) for column in COLUMNS), f"{row.frechet:.3f}"]
        for name, row in rows.items()
    ]
    return "\n".join(markdown_table(["", *head], cells)) + "\n"


def _cell(column: str, values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    low, high = bootstrap_interval(values)
    digits = 2 if column == "psnr" or column.endswith("_error") else 3
    return f"{finite.mean():.{digits}f} ({low:.{digits}f}{' to ' if low < 0 else '-'}{high:.{digits}f})"
