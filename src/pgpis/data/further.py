"""The further sources of a pair: their files, their content, and one texture of all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pair import LoadedPair, Pair, Source
from pgpis.data.prepared import refuse_stale
from pgpis.errors import PgpisError
from pgpis.files import is_file
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.kinds import kind_of, what_makes
from pgpis.pictures.merging import merge_surfaces, merge_textures, pixels_per_texel

MERGED: Mapping[str, Callable[[Sequence[NDArray[np.uint8]], Sequence[NDArray[np.float64]]], NDArray[np.uint8]]] = {
    "texture": merge_textures,
    "surface": merge_surfaces,
}
"""What several sources have one of together, and how it is made."""
PER_SOURCE = ("source", "face")
"""What each source has for itself; everything else is that of the first."""

SourceT = TypeVar("SourceT")
FindMap = Callable[[Path], "Path | None"]
"""From a source's picture to its DensePose map."""


def sources_read(kind: str, sources: Sequence[SourceT]) -> Sequence[SourceT]:
    """Return of which of a pair's sources a kind of file is read: of all, or of the first alone."""
    return sources if kind in (*PER_SOURCE, *MERGED) else sources[:1]


def _as_first(pair: Pair, source: Source) -> Pair:
    """Return a pair with one of its further sources as its only one."""
    person = replace(pair.person, picture=source.picture, conditions=source.conditions, further=())
    return replace(pair, person=person, edit=None)


def _origins_of(pair: Pair, single: Pair, origins: Collection[str]) -> list[str]:
    """Return what of ``origins`` is read of a further source; where it has no face, or that is exchanged, none."""
    face = single.file("face")
    keeps_face = face is not None and is_file(face) and (pair.edit is None or pair.edit.identity is None)
    return [name for name in (*PER_SOURCE, *MERGED) if name in origins and (name != "face" or keeps_face)]


def files_of_further(pair: Pair, origins: Collection[str], map_of: FindMap) -> dict[str, Path | None]:
    """Return the files that are read because of further sources: ``texture_2``, and ``iuv_1`` of the first."""
    singles = [_as_first(pair, source) for source in pair.further]
    files = {
        f"{name}_{number}": single.file(name)
        for number, single in enumerate(singles, 2)
        for name in _origins_of(pair, single, origins)
    }
    if not singles or not MERGED.keys() & {*origins}:
        return files
    return files | {f"iuv_{number}": map_of(own.source) for number, own in enumerate([pair, *singles], 1)}


def with_further(
    load: Callable[[Pair, Collection[str]], LoadedPair], first: LoadedPair, origins: Collection[str], map_of: FindMap
) -> LoadedPair:
    """Load the further sources of a pair, and merge what all of them have together.

    Args:
        load: Loads a pair that has one source.
        first: Content of the first source, and of the pose.
        origins: What is needed.
        map_of: Where the DensePose map of a source is.

    Raises:
        PgpisError: A file is missing or unreadable.
    """
    pair = first.pair
    if not pair.further:
        return first
    singles = [_as_first(pair, source) for source in pair.further]
    further = tuple(load(single, _origins_of(pair, single, origins)) for single in singles)
    conditions = {**first.conditions, **_merged([first, *further], origins, map_of)}
    return replace(first, conditions=conditions, dropped={*first.dropped} - conditions.keys(), further=further)


def _merged(sources: Sequence[LoadedPair], origins: Collection[str], map_of: FindMap) -> dict[str, Any]:
    """Merge the textures and surfaces of all sources of a pair, weighted by their DensePose maps."""
    merged = {}
    wanted = [name for name in MERGED if name in origins]
    densities = [_density(map_of(own.pair.source), own.pair.source) for own in sources if wanted]
    for name in wanted:
        # a texture may be missing that on_missing drops
        places = [place for place, own in enumerate(sources) if name in own.conditions]
        pictures = [np.asarray(sources[place].conditions[name]) for place in places]
        if pictures:
            merged[name] = Image.fromarray(MERGED[name](pictures, [densities[place] for place in places]))
    return merged


def _density(path: Path | None, picture: Path) -> NDArray[np.float64]:
    if path is None or not is_file(path):
        where = f": {path}" if path is not None else ""
        raise PgpisError(
            f"{picture}: no DensePose map{where}, which says what of its texture is taken beside other sources'",
            hint=what_makes(kind_of("iuv")),
        )
    refuse_stale(kind_of("iuv"), path)
    return pixels_per_texel(read_part_u_v(path))


def drawn_sources(candidates: Sequence[Path], most: int, generator: torch.Generator) -> list[Path]:
    """Draw from none to ``most - 1`` of some pictures, every number equally likely where there are enough."""
    number = int(torch.randint(most, (), generator=generator))
    order = torch.randperm(len(candidates), generator=generator).tolist()
    return [candidates[place] for place in order[:number]]
