"""What travels from data to models: the keys of a batch, their shapes, ranges and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from torch import nn

from pgpis.errors import PgpisError


@dataclass(frozen=True)
class ImageSpec:
    """How a model wants one picture of the batch.

    A model declares a mapping from batch key to ``ImageSpec``; the DataModule loads only what is declared, and the
    pipeline prepares a user's pictures by the same rules.
    """

    origin: str
    """The picture it is made from: ``source``, ``target``, ``pose`` (the drawn target pose), or a kind of condition of
    :mod:`pgpis.pictures.kinds`: ``texture`` of the source, ``iuv`` of the target."""
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
    filter: Literal["bicubic", "nearest"] = "bicubic"
    """How pixels are resampled; ``nearest`` keeps labels what they are."""


@dataclass(frozen=True)
class VectorSpec:
    """How many numbers of an embedding a model wants; zeros where the data set was told to do without."""

    origin: str
    """A kind of condition: ``face``, the raw face embedding of the source."""
    size: int
    """Number of floats."""


ImageSpecs = Mapping[str, ImageSpec]
InputSpecs = Mapping[str, ImageSpec | VectorSpec]
"""All that a task asks of the DataModule, by batch key."""


class FrozenFeature(NamedTuple):
    """What a frozen encoder makes of a picture of the batch, and may be kept instead of being computed in each step."""

    picture: str
    """Batch key of the picture."""
    weights: str
    """Hash of the encoder's weights."""
    encoder: nn.Module
    encode: Callable[[Any, torch.Tensor], torch.Tensor]
    """From the encoder and pictures ``(B, 3, H, W)`` to features ``(B, ...)``; a function of a module."""
    keeps_picture: bool = False
    """Whether the loss reads the picture beside them."""


FURTHER = "further_"
"""Before a batch key: of the sources after the first."""


class PairFailure(NamedTuple):
    """A pair that could not be loaded or generated: listed at the end of the job, never silently dropped.

    A named tuple, because Lightning refuses to move batches that hold frozen dataclasses.
    """

    pair_id: str
    reason: str


class Provenance(TypedDict, total=False):
    """What a picture is made of, for its mark: contents, never names of files; all of it is JSON."""

    files: dict[str, str]
    """Hash of each file that is read, by what it is: ``source``, ``texture``, ...; ``pose`` where that is drawn."""
    pose: dict[str, Any] | None
    """The key points as OpenPose's JSON, not rounded; None: the pose is a drawing or a map."""
    dropped: list[str]
    """What the model gets zeros for."""
    edit: list[list[Any]]
    """For each exchange the numbers of the parts of the body, and the hashes of the files that they come from."""
    tools: dict[str, Any]
    """``made``: what was made of photographs, and the settings of ``pgpis prepare`` that decide it."""


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
    """Target pose at the size of the result: drawn skeleton (FPDM), or the DensePose map (MCLD)."""
    truth_image: torch.Tensor
    """Target at the size that results are scored at, where it is not the denoiser's."""
    source_clip: torch.Tensor
    """Source for CLIP (MCLD)."""
    texture_image: torch.Tensor
    """Texture map of the source for the autoencoder (MCLD)."""
    surface: torch.Tensor
    """What the source shows of the body, to be seen through the target's map (MCLD)."""
    backdrop_image: torch.Tensor
    """The source without the person (MCLD)."""
    points: torch.Tensor
    """Points of the target's body for the lifter, ``(B, 78)``: x, y as shares of the picture, and visibility."""
    silhouette: torch.Tensor
    """Silhouette of the target, 1 on the person and -1 elsewhere (lifter)."""
    texture_clip: torch.Tensor
    """Texture map of the source for CLIP (MCLD)."""
    target_moments: torch.Tensor
    """Cached in place of ``target_image``: mean and deviation of the autoencoder's posterior, ``(B, 2C, h, w)``."""
    texture_moments: torch.Tensor
    """Cached in place of ``texture_image``, likewise (MCLD)."""
    source_tokens: torch.Tensor
    """Cached in place of ``source_image``: the source encoder's tokens (FPDM)."""
    source_embedding: torch.Tensor
    """Cached in place of ``source_clip`` (MCLD)."""
    texture_embedding: torch.Tensor
    """Cached in place of ``texture_clip`` (MCLD)."""
    face: torch.Tensor
    """Raw face embedding of the source, float32 ``(B, 512)``; zeros without a face."""
    prior_source: torch.Tensor
    """Source for the prior's encoder (CLIP)."""
    prior_pose: torch.Tensor
    """Drawn target pose for the prior's encoder (CLIP)."""
    prior_target: torch.Tensor
    """Target for the prior's encoder (CLIP); only when the prior is trained or tested."""
    source_count: torch.Tensor
    """How many sources each pair has, int64 ``(B,)``; absent where each has one, as are the next four."""
    further_source_image: torch.Tensor
    """``source_image`` of the further sources, ``(B, K - 1, 3, H, W)``; zeros behind the last one of a pair."""
    further_source_clip: torch.Tensor
    """``source_clip`` of the further sources, likewise."""
    further_prior_source: torch.Tensor
    """``prior_source`` of the further sources, likewise."""
    further_face: torch.Tensor
    """``face`` of the further sources, ``(B, K - 1, 512)``."""
    index: torch.Tensor
    """Position of each pair in its data set, int64 ``(B,)``."""
    pair_id: list[str]
    """``SOURCE_2_POSE`` of each pair."""
    noise_name: list[str]
    """What the noise of each pair's results depends on beside the seed."""
    video: list[str]
    """The video that each pair is a frame of (``""``: of none)."""
    source_path: list[str]
    """File of each source picture."""
    pose_path: list[str]
    """File that each pose was read from."""
    target_path: list[str]
    """File of each target picture (``""`` where there is none)."""
    fingerprint: list[str]
    """Hash of the content of each pair's files; only in ``predict``."""
    provenance: list[Provenance]
    """What the results of each pair are made of; only in ``predict``."""
    failures: list[PairFailure]
    """Pairs of this batch that could not be read; the other entries do not contain them."""


def joined(batches: Sequence[PairBatch]) -> PairBatch:
    """Put the pairs of batches with the same entries into one, on the device of the first and in its numbers.

    Those of several sources may be in some of them alone.
    """
    alike = _with_all_sources(batches)
    whole: Any = {}
    for key, first in alike[0].items():
        values: list[Any] = [entries[key] for entries in alike]
        if isinstance(first, torch.Tensor):
            whole[key] = torch.cat([value.to(first) for value in values])
        else:
            whole[key] = [item for value in values for item in value]
    result: PairBatch = whole
    return result


def _with_all_sources(batches: Sequence[PairBatch]) -> list[dict[str, Any]]:
    """Return the entries of batches, each with room for as many sources as any of them has."""
    alike: list[dict[str, Any]] = [dict(batch) for batch in batches]
    for key in dict.fromkeys(key for entries in alike for key in entries if key.startswith(FURTHER)):
        most = max(entries[key].shape[1] for entries in alike if key in entries)
        for entries in alike:
            first = entries[key.removeprefix(FURTHER)]
            room = first.new_zeros(len(first), most, *first.shape[1:])
            if key in entries:
                room[:, : entries[key].shape[1]] = entries[key]
            entries[key] = room
            entries.setdefault("source_count", torch.ones(len(first), dtype=torch.int64, device=first.device))
    return alike


def rows_of(batch: PairBatch, rows: slice) -> PairBatch:
    """Return some pairs of a batch, without the failures of all."""
    entries: dict[str, Any] = dict(batch)
    part: Any = {key: value[rows] for key, value in entries.items() if key != "failures"}
    result: PairBatch = part
    return result


def check_rows(batch: PairBatch, specs: InputSpecs) -> None:
    """Check what holds for pictures of any size and numbers of any precision, and that each entry has all pairs.

    Raises:
        PgpisError: Names the first entry that does not fit, or the numbers of pairs that differ.
    """
    entries: Mapping[str, Any] = batch
    for key, spec in specs.items():
        value, shape = entries[key], ("3", "H", "W") if isinstance(spec, ImageSpec) else (str(spec.size),)
        is_tensor = isinstance(value, torch.Tensor)
        found = f"{value.dtype} {tuple(value.shape)}" if is_tensor else type(value).__name__
        is_right = is_tensor and value.is_floating_point() and value.ndim == len(shape) + 1
        if not is_right or str(value.shape[1]) != shape[0]:
            raise PgpisError(f"batch['{key}'] is {found}, expected floating point numbers (B, {', '.join(shape)})")
    further = (key for key in entries if key.startswith(FURTHER) or key == "source_count")
    pairs = {key: len(entries[key]) for key in (*specs, *further)}
    if len({*pairs.values()}) > 1 or 0 in pairs.values():
        numbers = ", ".join(f"{key} {count}" for key, count in pairs.items())
        raise PgpisError(f"the entries of the batch are of different numbers of pairs, or of none: {numbers}")


def check_batch(batch: PairBatch, specs: InputSpecs) -> None:
    """Check keys, shapes, dtype and range of a batch against what the model declared.

    Raises:
        PgpisError: Names the first entry that does not fit, and what was expected.
    """
    for key, spec in specs.items():
        value = batch.get(key)
        shape: tuple[int, ...]
        if isinstance(spec, VectorSpec):
            shape, expected = (spec.size,), f"float32 (B, {spec.size})"
        else:
            shape = (3, spec.height, spec.width)
            expected = f"float32 RGB (B, 3, {spec.height}, {spec.width}) in [-1, 1]"
        if not isinstance(value, torch.Tensor):
            raise PgpisError(f"batch key '{key}' is missing: the model needs it as {expected}")
        if value.dtype != torch.float32 or value.shape[1:] != shape or value.ndim != len(shape) + 1:
            raise PgpisError(f"batch['{key}'] is {value.dtype} {tuple(value.shape)}, expected {expected}")
        if isinstance(spec, VectorSpec) and not value.isfinite().all():
            raise PgpisError(f"batch['{key}'] holds numbers that are not finite, expected {expected}")
        # a negated comparison, because NaN must not pass either
        if isinstance(spec, ImageSpec) and len(value) and not (value.min() >= -1.0 and value.max() <= 1.0):
            low, high = value.min().item(), value.max().item()
            raise PgpisError(f"batch['{key}'] spans [{low:.3g}, {high:.3g}], expected {expected}")
