"""The models that the page offers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Offer:
    """A model, and how its pipeline draws; None: it does not say before it is loaded."""

    pipeline: str
    """Folder, hub id, bundle or name of a model that ships."""
    steps: int | None = None
    guidance: float | None = None
    height: int | None = None
    width: int | None = None
    edits: bool | None = None
    """Whether it can exchange clothes and identity."""


def offer_of(pipeline: str, sampling: Mapping[str, Any] | None = None, edits: bool | None = None) -> Offer:
    """Describe a pipeline without loading it.

    Args:
        pipeline: As for ``Offer``.
        sampling: Its ``num_inference_steps``, ``guidance_scale``, ``height`` and ``width``; None: read them from its
            folder, if it is one.
        edits: As for ``Offer``.
    """
    values = _index(Path(pipeline)) if sampling is None else sampling
    steps, guidance, height, width = (
        values.get(key) for key in ("num_inference_steps", "guidance_scale", "height", "width")
    )
    return Offer(pipeline, steps, guidance, height, width, edits)


def _index(folder: Path) -> Mapping[str, Any]:
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a hub id or bundle; what is wrong with a folder is told when it is loaded
        return {}
    return index if isinstance(index, dict) else {}


def named(offers: Sequence[Offer]) -> dict[str, Offer]:
    """Name models for people: folders by their own names, told apart by the folders that they are in.

    ``a/pipeline`` and ``b/pipeline`` are ``pipeline (a)`` and ``pipeline (b)``. One that is given twice is one.
    """
    by_path = {Path(offer.pipeline): offer for offer in offers}
    names: dict[str, Offer] = {}
    for path, offer in by_path.items():
        is_shared = sum(path.name == other.name for other in by_path) > 1
        own = f"{path.name} ({path.parent.name})" if is_shared and path.parent.name else path.name
        choices = chain([own], (f"{own} {number}" for number in count(2)))
        names[next(name for name in choices if name not in names)] = offer
    return names
