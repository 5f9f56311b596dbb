"""Batches of random numbers that fit what a model declares, and data that a task can ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.pictures.drawing import CANVAS, PoseSkeleton

SEED = 0


def random_batch(specs: InputSpecs, pairs: int, device: torch.device) -> PairBatch:
    """Return a batch of random pictures and embeddings.

    Args:
        specs: What the model declares.
        pairs: Rows of the batch.
        device: Where its tensors are.
    """
    generator = torch.Generator().manual_seed(SEED)
    tensors: dict[str, Any] = {}
    for key, spec in specs.items():
        if isinstance(spec, ImageSpec):
            values = torch.rand(pairs, 3, spec.height, spec.width, generator=generator) * 2 - 1
        else:
            values = torch.randn(pairs, spec.size, generator=generator)
        tensors[key] = values.to(device)
    names = [f"random{row}" for row in range(pairs)]
    texts = dict.fromkeys(("pair_id", "noise_name", "source_path", "pose_path", "target_path", "fingerprint"), names)
    batch = {**tensors, **texts, "video": [""] * pairs, "index": torch.arange(pairs, device=device), "failures": []}
    return cast("PairBatch", batch)


class RandomData:
    """What a task may ask of its data, answered with random pictures; see ``TrainingData``."""

    pose_canvas = CANVAS
    stick_width: int | None = None
    pose_skeleton: PoseSkeleton | None = None

    def batches_per_epoch(self) -> int:
        """Return a number that warm-up and decay can count with."""
        return 1000

    def training_pictures(self, key: str, specs: InputSpecs, count: int) -> Iterator[torch.Tensor]:
        """Yield pictures of one entry, as few as a deviation can be computed of, whatever ``count``."""
        yield cast("torch.Tensor", dict(random_batch(specs, min(count, 8), torch.device("cpu")))[key])
