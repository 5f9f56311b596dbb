"""What benchmarks have in common: rows of pictures of the same pairs, made here or brought, and their scores.

Rows are what needs no model (a benchmark's baselines), models, and folders of pictures that were made elsewhere. Two
columns come from a small encoder of our own, and are comparable with nothing outside one table: ``token distance`` is
one minus the mean cosine of the tokens of both pictures, in the manner of LPIPS; ``Fréchet distance`` is that of its
embeddings of all pictures, in the manner of FID.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data import Pair
from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError
from pgpis.evaluate.baselines import warp
from pgpis.evaluate.made_of import files_hash, remove_others
from pgpis.evaluate.naming import matched_pictures
from pgpis.evaluate.published import Over
from pgpis.files import file_name, resolved
from pgpis.jobs import born_deaf, broken_pool, meter, one_thread_each, parts, worker_pool
from pgpis.metrics import PSNR, SSIM, FeatureStatistics, frechet_distance
from pgpis.pictures.images import read_image, resize, save_image
from pgpis.pictures.iuv import read_part_u_v

log = logging.getLogger(__name__)

COPY, NEAREST, PAINTED, TRUTH = (
    "copy of the source",
    "nearest training picture",
    "source painted onto the pose",
    "truth",
)
"""Rows that need no model."""
PIXEL_COLUMNS = ("ssim", "psnr", "token_distance")
"""Columns that every benchmark has."""
ENCODED_AT_ONCE = 32
Encode = Callable[[Sequence[Image.Image]], torch.Tensor]
"""Returns the tokens of pictures, class token first, ``(B, N, D)``."""
Sample = Callable[[str, PairDataset], Iterable[tuple[str, Image.Image]]]
"""Makes the pictures of a pipeline for all pairs, each with its pair's name."""
Judge = Callable[[Path, Sequence[Image.Image]], list[dict[str, float]]]
"""Gives several methods' pictures of one pair, by the file of its target, their further scores; works in processes."""
Baselines = Mapping[str, Callable[[Pair], Image.Image]]
"""Make the pictures of the rows that need no model."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """Which rows there are, and where the results go."""

    baselines: ClassVar[tuple[str, ...]] = (COPY, PAINTED, TRUTH)
    """Rows that need no model."""
    columns: ClassVar[tuple[str, ...]] = PIXEL_COLUMNS
    """What a row has one value a pair of."""
    with_frechet: ClassVar[bool] = False
    """Whether there are pairs enough for the distance of two sets."""

    root: Path
    """The pictures."""
    out: Path
    """Folder to write to; pictures that are there are not made again, unless of another ``root`` or model."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Pipelines by the names of their rows."""
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Models' rows that are runs of one method, as of several seeds, by the name of the one row that they become."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """By the names of models' rows, what tells a pipeline from another of the same name."""
    generated: Mapping[str, Path] = field(default_factory=dict)
    """Folders of pictures that ``pgpis test`` or ``predict`` made, by the names of their rows."""
    differences: tuple[str, ...] = ()
    """Rows to compare pair by pair, each two as ``A-B``."""
    intervals: Over = "pairs"
    """What intervals are over."""

    def __post_init__(self) -> None:
        named: dict[str, str] = {}
        for name in (*self.baselines, *self.models, *self.generated, *self.runs):
            place = row_file(name)
            if (
                "/" in place
                or place[:1] == "."
                or not place.isprintable()
                or f"{place}.csv" != file_name(place, ".csv")
            ):
                raise PgpisError(f"a row is called '{name}', which cannot be the name of a folder")
            if (other := named.get(place.casefold())) is not None:
                both = f"'{name}'" if other == name else f"'{other}' and '{name}'"
                raise PgpisError(f"two rows are called {both}", hint="choose other names in --models and --generated")
            named[place.casefold()] = name
        for word, pair in zip(self.differences, self.compared, strict=True):
            if len({len(self.runs[name]) for name in pair if name in self.runs}) > 1:
                raise PgpisError(f"--differences {word}: the rows have different numbers of runs")

    @property
    def compared(self) -> list[tuple[str, str]]:
        """The two rows of each of the differences; their names may hold hyphens as well."""
        rows, compared = {*self.baselines, *self.models, *self.generated, *self.runs}, []
        for word in self.differences:
            halves = [(word[:place], word[place + 1 :]) for place, sign in enumerate(word) if sign == "-"]
            known = [pair for pair in halves if rows.issuperset(pair)]
            if len(known) != 1:
                several = " and ".join(f"'{ours}' less '{other}'" for ours, other in known)
                wrong = f"that is {several}" if known else f"expected A-B, two of the rows {', '.join(sorted(rows))}"
                hint = "choose other names in --models and --generated" if known else None
                raise PgpisError(f"--differences {word}: {wrong}", hint=hint)
            compared += known
        return compared

    def made_of(self, row: str) -> str:
        """Say what all pictures of a row depend on, beside the files of the pair."""
        return f"{resolved(self.root)} {self.identities.get(row, '')}".strip()


def row_file(name: str) -> str:
    """Return what the files of a row are called."""
    return name.replace(" ", "_")


@dataclass(frozen=True)
class RowScores:
    """The scores of one row of the table."""

    values: Mapping[str, NDArray[np.float64]]
    """By column, one value a pair; of several runs ``(R, N)``."""
    frechet: float | None

    def __sub__(self, other: RowScores) -> RowScores:
        differences = {}
        for column, values in self.values.items():  # infinite where either is
            infinite = np.isinf(other.values[column])
            differences[column] = np.where(infinite, np.inf, values) - np.where(infinite, 0, other.values[column])
        both = None if self.frechet is None or other.frechet is None else self.frechet - other.frechet
        return RowScores(differences, both)


def with_runs(settings: BenchmarkSettings, rows: Mapping[str, RowScores]) -> dict[str, RowScores]:
    """Return the rows of the table: the runs of a method, in the order of their seeds, are one."""
    first_of = {names[0]: row for row, names in settings.runs.items()}
    result = {}
    for name, scores in rows.items():
        if name in first_of:
            runs = [rows[run] for run in settings.runs[first_of[name]]]
            values = {column: np.stack([run.values[column] for run in runs]) for column in scores.values}
            distances = [run.frechet for run in runs if run.frechet is not None]
            result[first_of[name]] = RowScores(values, float(np.mean(distances)) if distances else None)
        elif not any(name in names for names in settings.runs.values()):
            result[name] = scores
    return result


def usual_baselines(dataset: PairDataset, size: tuple[int, int] | None = None) -> Baselines:
    """Return the rows that any pairs with DensePose maps have: the source, the source painted, the truth.

    Args:
        dataset: Knows where the maps of its pictures are.
        size: (height, width) of the pictures that are compared; None: their own.
    """

    def fitted(picture: Image.Image) -> Image.Image:
        return picture if size is None else resize(picture, *size)

    def painted(pair: Pair) -> Image.Image:
        maps = (dataset.made_of(pair.source, "target")["iuv"], pair.file("iuv"))
        both = [read_part_u_v(required(path)) for path in maps]
        return fitted(Image.fromarray(warp(np.asarray(read_image(pair.source)), *both)))

    return {
        COPY: lambda pair: fitted(read_image(pair.source)),
        PAINTED: painted,
        TRUTH: lambda pair: fitted(read_image(required(pair.target))),
    }


def make_pictures(
    settings: BenchmarkSettings, dataset: PairDataset, baselines: Baselines, sample: Sample
) -> dict[str, list[Path]]:
    """Make the pictures of all rows that are not there, and return their files in the order of the pairs.

    Raises:
        PgpisError: A folder of pictures, or what a model made, lacks pairs.
    """
    rows = {
        name: [settings.out / row_file(name) / file_name(pair.pair_id, ".png") for pair in dataset.pairs]
        for name in (*settings.baselines, *settings.models)
    }
    contents = [files_hash(dataset, pair) for pair in dataset.pairs]
    made_of = {
        path: f"{words} {content}"
        for words, files in ((settings.made_of(name), files) for name, files in rows.items())
        for path, content in zip(files, contents, strict=True)
    }
    remove_others(settings.out, made_of)
    for name in settings.baselines:
        for pair, path in zip(dataset.pairs, rows[name], strict=True):
            if not path.is_file():
                save_image(baselines[name](pair), path)
    for name, pipeline in settings.models.items():
        if not all(path.is_file() for path in rows[name]):
            path_of = {pair.pair_id: path for pair, path in zip(dataset.pairs, rows[name], strict=True)}
            with meter(name, len(dataset)) as advance:
                for pair_id, image in sample(pipeline, dataset):
                    save_image(image, path_of[pair_id])
                    advance(1)
            if missing := [pair_id for pair_id, path in path_of.items() if not path.is_file()]:
                raise PgpisError(f"{name} made no picture of {len(missing)} of {len(dataset)} pairs, e.g. {missing[0]}")
    for name, place in settings.generated.items():
        matches = matched_pictures(place, dataset.pairs)
        if matches.missing:
            raise PgpisError(f"{place} lacks {len(matches.missing)} of {len(dataset)} pairs, e.g. {matches.missing[0]}")
        rows[name] = [path for _, path in matches.files]
    return rows


def required(path: Path | None) -> Path:
    """Return a file that the pairs of a benchmark always have."""
    assert path is not None
    return path


def score_rows(
    settings: BenchmarkSettings,
    rows: Mapping[str, Sequence[Path]],
    pairs: Sequence[Pair],
    judge: Judge,
    encode: Encode,
) -> dict[str, RowScores]:
    """Score all rows, in processes of this machine; the pictures of the row :data:`TRUTH` are what the others aim at.

    Raises:
        PgpisError: A worker was ended from outside.
    """
    jobs = [
        (judge, required(pair.target), rows[TRUTH][index], [files[index] for files in rows.values()])
        for index, pair in enumerate(pairs)
    ]
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
    truth = _tokens(rows[TRUTH], encode)
    result = {}
    for number, (name, files) in enumerate(rows.items()):
        tokens = _tokens(files, encode)
        values = {column: np.array([scores[number][column] for scores in scored]) for column in scored[0][number]}
        if resized := int(values["resized"].sum()):
            text = "%s: %d of %d pictures are not of the truth's size and were resized to it"
            log.warning(text, name, resized, len(files))
        values["token_distance"] = token_distance(tokens, truth).double().numpy()
        frechet = _frechet(tokens, truth) if settings.with_frechet and len(truth) > 1 else None
        result[name] = RowScores({column: values[column] for column in settings.columns}, frechet)
    return result


def _score_pair(job: tuple[Judge, Path, Path, list[Path]]) -> list[dict[str, float]]:
    """Score what all rows have for one pair."""
    judge, target, truth_file, files = job
    truth, pictures = read_image(truth_file), [read_image(path) for path in files]
    scores = judge(target, pictures)
    metrics = {"ssim": SSIM("gaussian"), "psnr": PSNR()}
    for picture, row in zip(pictures, scores, strict=True):
        both = (resize(picture, truth.height, truth.width), truth)
        ours, reference = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in both)
        row["resized"] = float(picture.size != truth.size)
        row |= {name: float(metric.pair_values(ours, reference)[0]) for name, metric in metrics.items()}
    return scores


def _tokens(files: Sequence[Path], encode: Encode) -> torch.Tensor:
    return torch.cat([encode([read_image(path) for path in part]) for part in parts(files, ENCODED_AT_ONCE)])


def token_distance(ours: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean cosine of the patches' tokens ``(B, N, D)``, per picture."""
    return 1 - torch.nn.functional.cosine_similarity(ours[:, 1:], truth[:, 1:], dim=-1).mean(dim=1)


def _frechet(tokens: torch.Tensor, truth: torch.Tensor) -> float:
    ours, reference = (FeatureStatistics(tokens.shape[-1]) for _ in range(2))
    ours.update(tokens[:, 0])
    reference.update(truth[:, 0])
    return frechet_distance(*ours.compute(), *reference.compute())
