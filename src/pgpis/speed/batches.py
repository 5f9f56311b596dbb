"""Batches of random numbers that fit what a model declares, and data that a task can ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch

from pgpis.batch import FURTHER, ImageSpec, InputSpecs, PairBatch, VectorSpec
from pgpis.data.further import PER_SOURCE
from pgpis.pictures.drawing import CANVAS, PoseSkeleton
from pgpis.pictures.iuv import PART_CHANNEL, PARTS

SEED = 0


def random_batch(specs: InputSpecs, pairs: int, device: torch.device, sources: int = 1) -> PairBatch:
    """Return a batch of random pictures and embeddings.

    Args:
        specs: What the model declares.
        pairs: Rows of the batch.
        device: Where its tensors are.
        sources: Sources of each pair; their textures are one, as data sets merge them.
    """
    generator = torch.Generator().manual_seed(SEED)
    tensors: dict[str, Any] = {}
    for key, spec in specs.items():
        tensors[key] = _drawn(spec, pairs, generator=generator).to(device)
        if sources > 1 and spec.origin in PER_SOURCE:
            tensors[FURTHER + key] = _drawn(spec, pairs, sources - 1, generator=generator).to(device)
    if sources > 1:
        tensors["source_count"] = torch.full((pairs,), sources, device=device)
    names = [f"random{row}" for row in range(pairs)]
    texts = dict.fromkeys(("pair_id", "noise_name", "source_path", "pose_path", "target_path", "fingerprint"), names)
    batch = {**tensors, **texts, "video": [""] * pairs, "index": torch.arange(pairs, device=device), "failures": []}
    return cast("PairBatch", batch)


def _drawn(spec: ImageSpec | VectorSpec, *count: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``(*count, 3, H, W)`` or ``(*count, D)``; maps have parts that there are."""
    if isinstance(spec, VectorSpec):
        return torch.randn(*count, spec.size, generator=generator)
    shares = torch.rand(*count, 3, spec.height, spec.width, generator=generator)
    if spec.origin == "iuv":
        parts = shares[..., PART_CHANNEL, :, :]
        parts.copy_((parts * (PARTS + 1)).floor() / 255)
    return shares * 2 - 1


class RandomData:
    """What a task may ask of its data, answered with random pictures; see ``TrainingData``."""

    pose_canvas = CANVAS
    stick_width: int | None = None
    pose_skeleton: PoseSkeleton | None = None

    def require_one_source(self, why: str) -> None:
        """Refuse nothing: random batches have as many sources as their setting says."""

    def batches_per_epoch(self) -> int:
        """Return a number that warm-up and decay can count with."""
        return 1000

    def training_pictures(self, key: str, specs: InputSpecs, count: int) -> Iterator[torch.Tensor]:
        """Yield pictures of one entry, as few as a deviation can be computed of, whatever ``count``."""
        yield cast("torch.Tensor", dict(random_batch(specs, min(count, 8), torch.device("cpu")))[key])
