"""How far DensePose's net and the lifter, which ships in its place, agree on the same photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pgpis.errors import PgpisError
from pgpis.pictures.images import read_image
from pgpis.preprocess.settings import PictureFiles, PrepareSettings
from pgpis.preprocess.stages import DensePoseStage, require_weights


@dataclass(frozen=True)
class Agreement:
    """How far two maps of one picture agree."""

    silhouette: float
    """Intersection over union of the pixels that show the person."""
    parts: float
    """Share of the person's pixels with the same part, of those that both maps have; NaN where there is none."""
    u: float
    """Mean difference of U, in 0..1, over pixels with the same part; NaN where there is none."""
    v: float
    """The same of V."""


def agreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Agreement:
    """Compare two maps ``(H, W, 3)`` of part, U, V."""
    ours, theirs = first[..., 0] > 0, second[..., 0] > 0
    both, either = ours & theirs, ours | theirs
    same = both & (first[..., 0] == second[..., 0])
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16))[same][:, 1:] / 255
    u, v = difference.mean(axis=0).tolist() if same.any() else (np.nan, np.nan)
    return Agreement(_share(both, either), _share(same, both), u, v)


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    return float(some.sum() / of.sum()) if of.any() else float("nan")


def reference_net(settings: PrepareSettings) -> PrepareSettings:
    """Return the settings with the net that the lifter is compared with: the one asked for, else the usual one."""
    return replace(settings, densepose="r101-dl") if settings.densepose in (None, "lifter") else settings


def compare_maps(
    files: Sequence[PictureFiles], settings: PrepareSettings
) -> Iterator[tuple[str, Agreement | str | None]]:
    """Make both maps of each picture, keeping neither, and compare them.

    Yields:
        The picture's name, and how far the maps agree; None where one of the tools finds no such person; why the
        picture cannot be read.

    Raises:
        PgpisError: The net's weights are missing; names the command that gets them.
    """
    reference = reference_net(settings)
    require_weights(["densepose"], reference)
    stages = [DensePoseStage(replace(settings, densepose="lifter")), DensePoseStage(reference)]
    for file in files:
        try:
            picture = read_image(file.picture)
        except PgpisError as error:
            yield file.name, error.message
            continue
        try:
            maps = [stage.maps([picture])[0] for stage in stages]
        except PgpisError:
            maps = [None]  # there are fewer people than --person counts
        yield file.name, None if any(each is None for each in maps) else agreement(*(each[0] for each in maps))
