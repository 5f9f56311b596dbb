"""What generated pictures are compared with: the pairs of a data set, its real pictures, and published numbers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from pgpis.data.deepfashion import DeepFashion
from pgpis.data.layouts.real import RealKind, real_pictures
from pgpis.data.names import LayoutName
from pgpis.data.pairs import Pair, PairDataset
from pgpis.data.phoenix import Phoenix14T, find_release
from pgpis.errors import PgpisError
from pgpis.evaluate.features import RealSets
from pgpis.evaluate.naming import Matches, identities
from pgpis.evaluate.protocols import PROTOCOLS
from pgpis.evaluate.published import ProtocolName
from pgpis.evaluate.score import Scores
from pgpis.metrics.hands import KNUCKLES
from pgpis.pictures.keypoints import Frame, Keypoints
from pgpis.synth.files.manifest import MANIFEST

log = logging.getLogger(__name__)

PUBLISHED_LIST = "7a8893c370cd5a6ebb45215178b042f78a6cbebd6bbd14afee2abc6992e9e5c3"
"""sha256 of DeepFashion's 8,570 test pairs in any spelling; see :func:`list_digest`."""

PUBLISHED_REALS: dict[RealKind, tuple[int, str]] = {
    "train": (48_674, "6e92511dc031c26d"),
    "others": (49_568, "d357d74cb62fd3ae"),
}
"""How many pictures of DeepFashion are for training, and their digest; ``others`` are all but 3,144 targets."""


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

    def real_sets(self, dataset: PairDataset, protocols: Sequence[ProtocolName]) -> list[RealSets]:
        """Return for each protocol the real pictures of training, which are no targets, and the distinct targets."""
        kinds = [PROTOCOLS[protocol].training for protocol in protocols]
        train = {kind: self._training(kind) for kind in dict.fromkeys(kinds) if isinstance(dataset, DeepFashion)}
        targets = {pair.target for pair in dataset.pairs if pair.target is not None}
        return [RealSets(tuple(sorted(train.get(kind, set()) - targets)), tuple(sorted(targets))) for kind in kinds]

    def _training(self, kind: RealKind | None) -> AbstractSet[Path]:
        if kind is None:
            return set()
        try:
            pictures, only_of_pairs = real_pictures(self.root, self.split, kind, self.layout)
        except PgpisError as error:
            log.warning("no training pictures: %s", error.message)
            return set()
        if only_of_pairs:
            text = "fid_train is against the %s pictures that pairs name, and there may be more: %s in %s would tell"
            lists = "train.lst" if kind == "train" else "train.lst and test.lst"
            log.warning(text, f"{len(pictures):,}", lists, self.root)
        return pictures

    def why_not_comparable(self, dataset: PairDataset, matches: Matches, scores: Scores, reals: RealSets) -> str:
        """Return why scores do not stand beside published numbers, which are of DeepFashion's whole lists."""
        kind = PROTOCOLS[scores.protocol].training
        if (self.root / MANIFEST).is_file():
            return "these are synthetic people, published numbers are of DeepFashion"
        if not isinstance(dataset, DeepFashion):
            return "published numbers are of DeepFashion"
        if list_digest(dataset.pairs) != PUBLISHED_LIST:
            return f"published numbers are of DeepFashion's 8,570 test pairs, not of these {len(dataset.pairs):,}"
        if kind and reals.digests["train"] != PUBLISHED_REALS[kind][1]:
            count = PUBLISHED_REALS[kind][0]
            return (
                f"published FIDs are against DeepFashion's {count:,} pictures, not against these {len(reals.train):,}"
            )
        if unread := {name for name, _ in scores.failures} & {*map(str, (*reals.train, *reals.targets))}:
            return f"published FIDs are against all real pictures, {len(unread):,} of which could not be read"
        lost, how = len(matches.missing), "have no picture here"
        if not lost:
            lost, how = len(dataset) - len(scores.pair_ids), "could not be read"
        return f"published numbers are of 8,570 test pairs, {lost:,} of which {how}" if lost else ""


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
