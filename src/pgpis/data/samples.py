"""Samples and batches: load, transform, collate, and what happens to pairs that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.utils.data import Dataset

from pgpis.batch import FURTHER, InputSpecs, PairBatch, PairFailure, Provenance, VectorSpec
from pgpis.data.pairs import Pair, PairDataset
from pgpis.data.sampler import NOTHING, SampleKey
from pgpis.data.transforms import PairTransform, sample_generator
from pgpis.errors import PgpisError
from pgpis.refusals import UnwritableError

log = logging.getLogger(__name__)

MOST_REPLACEMENTS = 100
LONGEST_REASON = 1000


@dataclass(frozen=True)
class Sample:
    """One pair, ready for a batch."""

    index: int
    pair: Pair
    images: dict[str, torch.Tensor]
    fingerprint: str = ""
    provenance: Provenance = field(default_factory=Provenance)


@dataclass(eq=False)
class PairSamples(Dataset["Sample | PairFailure | None"]):
    """Loads and transforms the pair of an ``(epoch, index)``.

    In training a pair that cannot be read is replaced by the next one that can, and each reason is logged once; else
    it becomes a ``PairFailure``.
    """

    dataset: PairDataset
    """The pairs; ``setup`` was called."""
    transform: PairTransform
    """Makes the tensors. Its ``train`` decides which of the two behaviours applies."""
    seed: int
    """Seed of the training augmentation."""
    fingerprints: bool = False
    """Also hash the content of the files, and say what results are made of."""

    def __post_init__(self) -> None:
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample | PairFailure | None:
        epoch, index = key
        if index == NOTHING:
            return None
        if not self.transform.train:
            try:
                return self._sample(index, None)
            except UnwritableError:
                raise  # every other pair would meet it too
            except Exception as error:  # noqa: BLE001  libraries raise anything on odd files, and the others go on
                return PairFailure(self.dataset.pairs[index].pair_id, self.reason(index, error))
        tries = min(len(self), MOST_REPLACEMENTS)
        for step in range(tries):
            candidate = (index + step) % len(self)
            try:
                return self._sample(candidate, sample_generator(self.seed, epoch, candidate))
            except UnwritableError:
                raise
            except Exception as error:  # noqa: BLE001  as above
                reason = self.reason(candidate, error)
                if reason not in self._reported:
                    self._reported.add(reason)
                    log.warning("training goes on with another pair: %s", reason)
        message = f"none of {tries} training pairs in a row can be read; reason for the last one: {reason}"
        raise PgpisError(message, hint="pgpis data check ROOT")

    def _sample(self, index: int, generator: torch.Generator | None) -> Sample:
        # before reading: a file that is exchanged in between is read again in the next run
        origins = self.transform.origins
        fingerprint = self.dataset.fingerprint(index, origins) if self.fingerprints else ""
        loaded = self.dataset.load(index, origins, generator)
        provenance = self.dataset.provenance(loaded, origins) if self.fingerprints else Provenance()
        return Sample(index, loaded.pair, self.transform(loaded, generator), fingerprint, provenance)

    def reason(self, index: int, error: Exception) -> str:
        """Say why a pair failed; errors of pgpis name the file themselves."""
        if isinstance(error, PgpisError):
            return str(error)[:LONGEST_REASON]
        pair = self.dataset.pairs[index]
        return f"cannot read {pair.source} and {pair.pose_file}: {type(error).__name__}: {error}"[:LONGEST_REASON]


@dataclass(frozen=True)
class PairCollator:
    """Puts samples into a ``PairBatch``; failures are listed beside the good rows, of which there may be none."""

    specs: InputSpecs
    """What the model declared."""

    def __call__(self, items: Sequence[Sample | PairFailure | None]) -> PairBatch:
        """Collate the items of one batch."""
        samples = [item for item in items if isinstance(item, Sample)]
        shapes = {
            key: (spec.size,) if isinstance(spec, VectorSpec) else (3, spec.height, spec.width)
            for key, spec in self.specs.items()
        }
        own = (key for sample in samples[:1] for key in sample.images if not key.startswith(FURTHER))
        cached = {*own} - shapes.keys()
        tensors = {
            key: torch.stack([sample.images[key] for sample in samples]) if samples else torch.empty(0, *shapes[key])
            for key in (*shapes, *sorted(cached))
            if all(key in sample.images for sample in samples)
        }
        tensors |= _further_sources(samples, tensors)
        pairs = [sample.pair for sample in samples]
        batch: dict[str, Any] = {
            **tensors,
            "index": torch.tensor([sample.index for sample in samples], dtype=torch.int64),
            "pair_id": [pair.pair_id for pair in pairs],
            "noise_name": [pair.noise_name or pair.pair_id for pair in pairs],
            "video": [pair.video or "" for pair in pairs],
            "source_path": [str(pair.source) for pair in pairs],
            "pose_path": [str(pair.pose_file or "") for pair in pairs],
            "target_path": [str(pair.target or "") for pair in pairs],
            "fingerprint": [sample.fingerprint for sample in samples],
            "provenance": [sample.provenance for sample in samples],
            "failures": [item for item in items if isinstance(item, PairFailure)],
        }
        return cast("PairBatch", batch)


def _further_sources(samples: Sequence[Sample], first: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the entries of sources after the first, filled up with zeros; nothing where there are none."""
    further = [len(sample.pair.further) for sample in samples]
    if not any(further):
        return {}
    keys = {key for sample in samples for key in sample.images if key.startswith(FURTHER)}
    padded = {
        key: torch.zeros(len(samples), max(further), *first[key.removeprefix(FURTHER)].shape[1:])
        for key in sorted(keys)
    }
    for key, values in padded.items():
        for row, sample in enumerate(samples):
            if key in sample.images:
                values[row, : further[row]] = sample.images[key]
    return {"source_count": torch.tensor(further, dtype=torch.int64) + 1, **padded}
