"""The models that the page offers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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


def names_of(pipelines: tuple[str, ...]) -> dict[str, str]:
    """Name pipelines for people: folders by their own names, told apart where two have the same."""
    names: dict[str, str] = {}
    for pipeline in pipelines:
        name = Path(pipeline).name or pipeline
        names[name if name not in names else pipeline] = pipeline
    return names
