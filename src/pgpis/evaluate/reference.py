"""What generated pictures are compared with: the pairs of a data set, its real pictures, and published numbers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from pgpis.data.deepfashion import DeepFashion
from pgpis.data.names import LayoutName
from pgpis.data.pairs import Pair, PairDataset
from pgpis.data.phoenix import Phoenix14T, find_release
from pgpis.errors import PgpisError
from pgpis.evaluate.features import RealSets
from pgpis.evaluate.naming import Matches, identities
from pgpis.metrics.hands import KNUCKLES
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.synth.files.manifest import MANIFEST

log = logging.getLogger(__name__)

PUBLISHED_LIST = "7a8893c370cd5a6ebb45215178b042f78a6cbebd6bbd14afee2abc6992e9e5c3"
"""sha256 of DeepFashion's 8,570 test pairs in any spelling; see :func:`list_digest`."""


@dataclass(frozen=True)
class Reference:
    """A data set's pairs and real pictures; for its fields see :class:`DeepFashion` and :class:`Phoenix14T`."""

    root: Path
    split: Literal["train", "val", "test"] = "test"
    layout: Literal["auto"] | LayoutName = "auto"
    max_pairs: int | None = None
    videos: tuple[str, ...] = ()

    def dataset(self) -> PairDataset:
        """Return the pairs, read.

        Raises:
            PgpisError: The folder holds no such data set, or its list cannot be read.
        """
        if not self.root.is_dir():
            hint = "--reference FOLDER, a data set with its list of pairs, as 'pgpis data check FOLDER' shows it"
            raise PgpisError(f"--reference: folder not found: {self.root}", hint=hint)
        if find_release(self.root) is not None:
            dataset: PairDataset = Phoenix14T(self.root, self.split, max_pairs=self.max_pairs, videos=self.videos)
        elif self.videos:
            raise PgpisError(f"--videos belongs to Phoenix, and {self.root} is not a release of it")
        else:
            dataset = DeepFashion(self.root, self.split, self.layout, max_pairs=self.max_pairs)
        dataset.setup()
        return dataset

    def real_sets(self, dataset: PairDataset) -> RealSets:
        """Return the training pictures (those of the training list that are not targets) and the distinct targets."""
        targets = {pair.target for pair in dataset.pairs if pair.target is not None}
        train: set[Path] = set()
        if isinstance(dataset, DeepFashion):
            try:
                training = DeepFashion(self.root, "train", self.layout)
                training.setup()
                train = {path for p in training.pairs for path in (p.source, p.target) if path is not None}
            except PgpisError as error:
                log.warning("no training pictures: %s", error.message)
        return RealSets(tuple(sorted(train - targets)), tuple(sorted(targets)))

    def why_not_comparable(self, dataset: PairDataset, matches: Matches, scored: int) -> str:
        """Return why scores do not stand beside published numbers, which are of DeepFashion's whole test list."""
        if (self.root / MANIFEST).is_file():
            return "these are synthetic people, published numbers are of DeepFashion"
        if not isinstance(dataset, DeepFashion):
            return "published numbers are of DeepFashion"
        if list_digest(dataset.pairs) != PUBLISHED_LIST:
            return f"published numbers are of DeepFashion's 8,570 test pairs, not of these {len(dataset.pairs):,}"
        if matches.missing:
            return f"published numbers are of 8,570 test pairs, {len(matches.missing):,} of which have no picture here"
        if scored < len(dataset):
            return f"published numbers are of 8,570 test pairs, {len(dataset) - scored:,} of which could not be read"
        return ""


def list_digest(pairs: Sequence[Pair]) -> str:
    """Return a digest of which pictures of DeepFashion are paired, whatever their order and spelling."""
    return hashlib.sha256(json.dumps(sorted(identities(pair.pair_id) for pair in pairs)).encode()).hexdigest()


@dataclass(frozen=True)
class KnuckleFinder:
    """Finds both middle knuckles of a pair's target, in pixels of the compared pictures."""

    dataset: PairDataset
    size: tuple[int, int]

    def __call__(self, pair: Pair) -> torch.Tensor:
        """Return x and y, ``(2, 2)``; NaN for a hand that is not seen."""
        points = self.dataset.read_pose(pair)
        assert isinstance(points, Keypoints)
        points = points.to(Frame(*self.size))
        chosen, seen = (torch.from_numpy(values[list(KNUCKLES)]) for values in (points.points, points.visible))
        return torch.where(seen, chosen, torch.nan)
