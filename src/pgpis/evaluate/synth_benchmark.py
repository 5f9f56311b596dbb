"""The benchmark on held-out synthetic people, whose exact truth is known; it needs no weights of others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pgpis.data import DeepFashion, OnMissing, Pair
from pgpis.errors import check_range
from pgpis.evaluate.baselines import NearestTraining
from pgpis.evaluate.benchmark import (
    COPY,
    NEAREST,
    PAINTED,
    PIXEL_COLUMNS,
    TRUTH,
    Baselines,
    BenchmarkSettings,
    Encode,
    Sample,
    make_pictures,
    required,
    score_rows,
    usual_baselines,
)
from pgpis.evaluate.benchmark_report import write_report
from pgpis.evaluate.exact import NAMES, ExactScores
from pgpis.evaluate.made_of import files_hash
from pgpis.evaluate.naming import persons_of
from pgpis.pictures.images import read_image
from pgpis.pictures.keypoints import Keypoints


@dataclass(frozen=True, kw_only=True)
class SynthSettings(BenchmarkSettings):
    """What is scored; ``root`` is a data set of ``pgpis synth``, with textures for MCLD."""

    baselines = (COPY, NEAREST, PAINTED, TRUTH)
    columns = (*PIXEL_COLUMNS, *NAMES)
    with_frechet = True

    pairs: int = 500
    """Test pairs, spread over the list."""
    candidates: int = 5
    """Drawings to choose from in recognition; there must be as many test people."""

    def __post_init__(self) -> None:
        check_range("--pairs", self.pairs, 1, whole=True)
        check_range("--candidates", self.candidates, 2, whole=True)
        super().__post_init__()

    def made_of(self, row: str) -> str:
        """See ``BenchmarkSettings.made_of``; the nearest training picture depends on which there are."""
        return super().made_of(row) + (f" {self._training_hash}" if row == NEAREST else "")

    @cached_property
    def training(self) -> DeepFashion:
        """The training pairs."""
        return spread_pairs(self.root, "train")

    @cached_property
    def _training_hash(self) -> str:
        contents = [f"{pair.pair_id} {files_hash(self.training, pair)}" for pair in self.training.pairs]
        return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def run_synth_benchmark(settings: SynthSettings, sample: Sample, encode: Encode) -> str:
    """Make the rows' pictures, score them, and write the files of :func:`write_report`.

    Returns:
        The text of ``benchmark.md``.

    Raises:
        PgpisError: The data set is not one of ``pgpis synth``, has too few people, or a row lacks pictures.
    """
    test = spread_pairs(settings.root, "test", settings.pairs)
    people = persons_of([pair.pair_id for pair in test.pairs]) if settings.intervals == "people" else None
    exact = ExactScores(settings.root, settings.candidates)
    files = make_pictures(settings, test, _baselines(settings.training, test), sample)
    rows = score_rows(settings, files, test.pairs, exact, encode)
    return write_report(settings, rows, files, test.pairs, people)


def spread_pairs(root: Path, split: Literal["train", "test"], pairs: int | None = None) -> DeepFashion:
    """Return the pairs of a split; a part of them is spread evenly over the list.

    Raises:
        PgpisError: The data set cannot be read, or ``pairs`` is none.
    """
    check_range("--pairs", pairs, 1, whole=True, optional=True)
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


def _baselines(training: DeepFashion, test: DeepFashion) -> Baselines:
    """Return what makes the pictures of the rows without a model."""
    nearest = NearestTraining(training)

    def nearest_training(pair: Pair) -> Image.Image:
        pose = test.read_pose(pair)
        assert isinstance(pose, Keypoints)
        return read_image(nearest(pose, pair.source, required(test.made_of(pair.source, "target")["iuv"])))

    return {**usual_baselines(test), NEAREST: nearest_training}
