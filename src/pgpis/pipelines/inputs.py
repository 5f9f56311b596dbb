"""From a user's pictures to the tensors that a model declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.batch import ImageSpecs, PairBatch
from pgpis.errors import PgpisError
from pgpis.images import fit_images, to_rgb
from pgpis.plausibility import warn_of_odd_pose

Picture: TypeAlias = Image.Image | NDArray[np.uint8]
"""A PIL picture, or 8-bit RGB ``(H, W, 3)``."""


def prepare_pairs(
    source: Picture | Sequence[Picture], pose: Picture | Sequence[Picture], specs: ImageSpecs
) -> PairBatch:
    """Make a batch from pictures of sources and drawn poses.

    Args:
        source: One or B sources; a single one is used for all poses.
        pose: One or B drawn poses; a single one is used for all sources.
        specs: What the model declared.

    Raises:
        PgpisError: No pictures, numbers that do not match, or something that is no picture.
    """
    sources, poses = as_pictures(source, "source"), as_pictures(pose, "pose")
    for drawing in poses:
        warn_of_odd_pose(drawing)
    count = max(len(sources), len(poses))
    if len(sources) not in (1, count) or len(poses) not in (1, count):
        raise PgpisError(f"got {len(sources)} sources and {len(poses)} poses, expected as many of both, or one of one")
    pairs = [
        fit_images({"source": sources[index % len(sources)], "pose": poses[index % len(poses)]}, specs)
        for index in range(count)
    ]
    tensors: Any = {key: torch.stack([pair[key] for pair in pairs]) for key in pairs[0]}
    batch: PairBatch = tensors
    return batch


def as_pictures(pictures: Picture | Sequence[Picture], name: str) -> list[Image.Image]:
    """Return one picture or several as a list of RGB pictures.

    Raises:
        PgpisError: There is none, or something is no picture; ``name`` says which argument it was.
    """
    given = [pictures] if isinstance(pictures, Image.Image | np.ndarray) else list(pictures)
    if not given:
        raise PgpisError(f"{name}: got an empty list of pictures")
    return [_as_image(picture, name) for picture in given]


def _as_image(picture: object, name: str) -> Image.Image:
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return Image.fromarray(picture)
    kind = type(picture).__name__
    if isinstance(picture, np.ndarray):
        kind = f"{picture.dtype} array {picture.shape}"
    raise PgpisError(f"{name}: got {kind}, expected a PIL picture or a uint8 RGB array (H, W, 3)")
