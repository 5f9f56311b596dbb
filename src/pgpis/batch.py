"""What travels from data to models: the keys of a batch, their shapes, ranges and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import torch

from pgpis.errors import PgpisError


@dataclass(frozen=True)
class ImageSpec:
    """How a model wants one picture of the batch.

    A model declares a mapping from batch key to ``ImageSpec``; the DataModule loads only what is declared, and the
    pipeline prepares a user's pictures by the same rules.
    """

    origin: Literal["source", "target", "pose"]
    """The picture it is made from; ``pose`` is the drawn target pose."""
    height: int
    """Rows in pixels."""
    width: int
    """Columns in pixels."""
    fit: Literal["squash", "crop"] = "squash"
    """``squash`` ignores the aspect ratio; ``crop`` scales the short edge, crops the centre, like CLIP's processor."""
    base: str | None = None
    """Key of another entry to start from instead of the picture itself (its result after squashing, still 8 bit)."""
    train_detour: tuple[int, int] | None = None
    """(height, width) through which every second training picture is squashed first: robustness to low resolution."""


ImageSpecs = Mapping[str, ImageSpec]


class PairFailure(NamedTuple):
    """A pair that could not be loaded or generated: listed at the end of the job, never silently dropped.

    A named tuple, because Lightning refuses to move batches that hold frozen dataclasses.
    """

    pair_id: str
    reason: str


class PairBatch(TypedDict, total=False):
    """A batch of (source, target pose[, target]) pairs.

    Pictures are float32 RGB in [-1, 1], ``(B, 3, H, W)``, with the size of the model's ``ImageSpec``. Only the keys
    that the model declares are present.
    """

    source_image: torch.Tensor
    """Source for the source encoder (FPDM: DINOv2)."""
    target_image: torch.Tensor
    """Target for the autoencoder; absent in ``predict``."""
    pose_image: torch.Tensor
    """Drawn target pose at the size of the result."""
    prior_source: torch.Tensor
    """Source for the prior's encoder (CLIP)."""
    prior_pose: torch.Tensor
    """Drawn target pose for the prior's encoder (CLIP)."""
    prior_target: torch.Tensor
    """Target for the prior's encoder (CLIP); only when the prior is trained or tested."""
    index: torch.Tensor
    """Position of each pair in its data set, int64 ``(B,)``."""
    pair_id: list[str]
    """``SOURCE_2_POSE`` of each pair."""
    source_path: list[str]
    """File of each source picture."""
    pose_path: list[str]
    """File that each pose was read from."""
    target_path: list[str]
    """File of each target picture (``""`` where there is none)."""
    failures: list[PairFailure]
    """Pairs of this batch that could not be read; the other entries do not contain them."""


def check_batch(batch: PairBatch, specs: ImageSpecs) -> None:
    """Check keys, shapes, dtype and range of a batch against what the model declared.

    Raises:
        PgpisError: Names the first entry that does not fit, and what was expected.
    """
    for key, spec in specs.items():
        value = batch.get(key)
        expected = f"float32 RGB (B, 3, {spec.height}, {spec.width}) in [-1, 1]"
        if not isinstance(value, torch.Tensor):
            raise PgpisError(f"batch key '{key}' is missing: the model needs it as {expected}")
        if value.dtype != torch.float32 or value.ndim != 4 or tuple(value.shape[1:]) != (3, spec.height, spec.width):
            raise PgpisError(f"batch['{key}'] is {value.dtype} {tuple(value.shape)}, expected {expected}")
        if len(value) and (value.min() < -1.0 or value.max() > 1.0):
            low, high = value.min().item(), value.max().item()
            raise PgpisError(f"batch['{key}'] spans [{low:.3g}, {high:.3g}], expected {expected}")
