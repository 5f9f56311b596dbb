"""Samples and batches: load, transform, collate, and what happens to pairs that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import Dataset

from pgpis.batch import InputSpecs, PairBatch, PairFailure, VectorSpec
from pgpis.data.pairs import Pair, PairDataset
from pgpis.data.sampler import SampleKey
from pgpis.data.transforms import PairTransform, sample_generator
from pgpis.errors import PgpisError

log = logging.getLogger(__name__)

MOST_REPLACEMENTS = 100


@dataclass(frozen=True)
class Sample:
    """One pair, ready for a batch."""

    index: int
    pair: Pair
    images: dict[str, torch.Tensor]


class PairSamples(Dataset["Sample | PairFailure"]):
    """Loads and transforms the pair of an ``(epoch, index)``.

    In training a pair that cannot be read is replaced by the next one that can, and each reason is logged once; else
    it becomes a ``PairFailure``.

    Args:
        dataset: The pairs; ``setup`` was called.
        transform: Makes the tensors. Its ``train`` decides which of the two behaviours applies.
        seed: Seed of the training augmentation.
    """

    def __init__(self, dataset: PairDataset, transform: PairTransform, seed: int) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey | int) -> Sample | PairFailure:
        epoch, index = (
            (0, key) if isinstance(key, int) else key
        )  # Lightning's sampler of overfit_batches knows no epoch
        if not self.transform.train:
            try:
                return self._sample(index, None)
            except PgpisError as error:
                return PairFailure(self.dataset.pairs[index].pair_id, str(error))
        tries = min(len(self), MOST_REPLACEMENTS)
        for step in range(tries):
            candidate = (index + step) % len(self)
            try:
                return self._sample(candidate, sample_generator(self.seed, epoch, candidate))
            except PgpisError as error:
                self._report(str(error))
        raise PgpisError(f"none of {tries} training pairs in a row can be read", hint="pgpis data check ROOT")

    def _sample(self, index: int, generator: torch.Generator | None) -> Sample:
        loaded = self.dataset.load(index, self.transform.origins, generator)
        return Sample(index, loaded.pair, self.transform(loaded, generator))

    def _report(self, reason: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            log.warning("training goes on with another pair: %s", reason)


class PairCollator:
    """Puts samples into a ``PairBatch``; failures are listed beside the good rows, of which there may be none.

    Args:
        specs: What the model declared.
    """

    def __init__(self, specs: InputSpecs) -> None:
        self.specs = dict(specs)

    def __call__(self, items: Sequence[Sample | PairFailure]) -> PairBatch:
        """Collate the items of one batch."""
        samples = [item for item in items if isinstance(item, Sample)]
        tensors = {
            key: torch.stack([sample.images[key] for sample in samples])
            if samples
            else torch.empty(0, spec.size)
            if isinstance(spec, VectorSpec)
            else torch.empty(0, 3, spec.height, spec.width)
            for key, spec in self.specs.items()
            if all(key in sample.images for sample in samples)
        }
        cached = samples[0].images.keys() - self.specs.keys() if samples else ()
        tensors |= {key: torch.stack([sample.images[key] for sample in samples]) for key in sorted(cached)}
        batch: dict[str, Any] = {
            **tensors,
            "index": torch.tensor([sample.index for sample in samples], dtype=torch.int64),
            "pair_id": [sample.pair.pair_id for sample in samples],
            "source_path": [str(sample.pair.source) for sample in samples],
            "pose_path": [str(sample.pair.pose_file or "") for sample in samples],
            "target_path": [str(sample.pair.target or "") for sample in samples],
            "failures": [item for item in items if isinstance(item, PairFailure)],
        }
        return cast("PairBatch", batch)
