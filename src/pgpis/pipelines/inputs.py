"""From a user's pictures to the tensors that a model declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.batch import ImageSpec, InputSpecs, PairBatch
from pgpis.errors import PgpisError
from pgpis.pictures.drawing import centre_on_canvas
from pgpis.pictures.images import fit_images, upright_rgb
from pgpis.pictures.iuv import check_iuv
from pgpis.pictures.kinds import conditions, what_makes
from pgpis.pictures.plausibility import warn_of_odd_pose

Picture: TypeAlias = Image.Image | NDArray[np.uint8]
"""A PIL picture, or 8-bit RGB ``(H, W, 3)``."""

DRAWN = ("pose", "iuv")
"""What lies on black and is centred on the canvas; all else is a photograph, laid on white and squashed."""


def prepare_pairs(
    pictures: Mapping[str, Picture | Sequence[Picture] | None], specs: InputSpecs, canvas: Sequence[int] | None
) -> PairBatch:
    """Make a batch from a user's pictures, as the data sets do from files.

    Args:
        pictures: One or B pictures by origin; a single one is used for all pairs, None is left out.
        specs: What the model declared. Targets and vectors are left out.
        canvas: (height, width) of the canvas on which poses are drawn; None: maps are not looked at, only squashed.

    Raises:
        PgpisError: No pictures, numbers that do not match, or something that is not a picture.
    """
    images = {key: spec for key, spec in specs.items() if isinstance(spec, ImageSpec) and spec.origin != "target"}
    origins = {spec.origin for spec in images.values()}
    for name in sorted(origins):
        if pictures.get(name) is None:
            hint = what_makes(*conditions({name})) or None
            raise PgpisError(f"{name}: got None, but this model was trained with it", hint=hint)
    columns = {
        name: [_fit_drawn(_as_image(picture, name), name, canvas) for picture in _as_list(entries, name)]
        for name, entries in pictures.items()
        if name in origins
    }
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        if len(column) not in (1, count):
            raise PgpisError(f"{name}: got {len(column)} pictures, expected 1 or {count}")
    pairs = [
        fit_images({name: column[number % len(column)] for name, column in columns.items()}, images)
        for number in range(count)
    ]
    batch: Any = {key: torch.stack([pair[key] for pair in pairs]) for key in images}
    return batch


def prepare_faces(face: object, size: int, count: int) -> torch.Tensor:
    """Make the raw face embeddings of a batch, float32 ``(count, size)``; None: no face is known, which is zeros.

    Raises:
        PgpisError: Another shape, or numbers that are not finite.
    """
    if face is None:
        return torch.zeros(count, size)
    try:
        faces = torch.from_numpy(np.atleast_2d(np.array(face, dtype=np.float32)))
    except (TypeError, ValueError) as error:  # no numbers, or rows of different lengths
        raise PgpisError(f"face: got {type(face).__name__}, expected {size} floats, or a list of them") from error
    if faces.shape[1:] != (size,) or len(faces) not in (1, count):
        raise PgpisError(f"face embeddings have shape {tuple(faces.shape)}, expected ({count}, {size})")
    if not faces.isfinite().all():
        raise PgpisError("face embeddings hold numbers that are not finite")
    return faces.expand(count, -1)


def _as_list(entries: object, name: str) -> Sequence[object]:
    listed = entries if isinstance(entries, Sequence) and not isinstance(entries, str | bytes) else [entries]
    if not listed:
        raise PgpisError(f"{name}: got an empty list of pictures")
    return listed


def _as_image(picture: object, name: str) -> Image.Image:
    kind = type(picture).__name__
    if isinstance(picture, Image.Image):
        if picture.width and picture.height:
            return upright_rgb(picture, name, "black" if name in DRAWN else "white")
        kind = "an empty picture"
    elif isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size:
            return Image.fromarray(picture)
        kind = f"{picture.dtype} array {picture.shape}"
    raise PgpisError(f"{name}: got {kind}, expected a PIL picture or a uint8 RGB array (H, W, 3)")


def _fit_drawn(picture: Image.Image, name: str, canvas: Sequence[int] | None) -> Image.Image:
    if name not in DRAWN or canvas is None:
        return picture
    if name == "iuv":
        check_iuv(picture, name)
    else:
        warn_of_odd_pose(picture)
    return centre_on_canvas(picture, (canvas[0], canvas[1]))
