"""Published models at their real size with random weights: what is timed needs no download."""

from __future__ import annotations

import functools
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from pgpis.errors import PgpisError, nearest

SIZES = Path(__file__).with_name("published.yaml")
BASE_PARTS = ("unet", "vae", "scheduler")
ENCODERS = ("encoder", "image_encoder", "source_encoder")


@functools.cache
def published() -> dict[str, Any]:
    """Return the configurations of published models, of a ``base`` by part and of encoders, by hub id."""
    sizes: dict[str, Any] = yaml.safe_load(SIZES.read_text(encoding="utf-8"))
    return sizes


def use_random_weights(options: MutableMapping[str, Any], task: type) -> list[str]:
    """Replace hub ids and missing folders among a task's options by configurations of the same size.

    A folder that is there is left as it is: its weights are at hand.

    Args:
        options: ``model.init_args`` of a recipe; changed in place. A ``pipeline`` replaces all parts, and stays.
        task: The class that takes them.

    Returns:
        What was replaced.

    Raises:
        PgpisError: A name of which the sizes are not known.
    """
    replaced: list[str] = []
    if options.get("pipeline") is not None:
        return replaced
    if is_elsewhere(base := options.get("base")) and not (options.get("unet") and options.get("vae")):
        parts = _size_of("base", str(base), published()["bases"])
        replaced.append(str(base))
        hints = get_type_hints(vars(task)["__init__"])
        for name in BASE_PARTS:
            # what takes no hub id does not come from the base: MCLD has a noise schedule of its own
            if str in get_args(hints.get(name)) and options.get(name) is None:
                options[name] = parts[name]
    prior: Any = options.get("fusion_embedder")
    for owner in (options, prior) if _is_group(prior) else (options,):
        for name in ENCODERS:
            if is_elsewhere(spec := owner.get(name)):
                owner[name] = _size_of(name, str(spec), published()["encoders"])
                replaced.append(str(spec))
    if is_elsewhere(prior):
        replaced.append(str(prior))
        options["fusion_embedder"] = published()["priors"]
    conditioner: Any = options.get("conditioner")
    if _is_group(conditioner) and is_elsewhere(conditioner.get("pose_encoder")):
        replaced.append(str(conditioner["pose_encoder"]))
        conditioner["pose_encoder"] = None  # of one size with what it would start from
    return replaced


def names_weights(options: Any) -> bool:
    """Whether a task's options name weights that are at hand: a pipeline, or a file or folder that is there."""
    if isinstance(options, str):
        return Path(options).exists()
    if not _is_group(options):
        return False
    whole = any(options.get(name) is not None for name in ("pipeline", "start_from"))
    return whole or any(map(names_weights, options.values()))


def is_elsewhere(spec: object) -> bool:
    """Whether weights would have to be loaded, and are not in a folder here."""
    return isinstance(spec, str) and not Path(spec).exists()


def _is_group(value: object) -> bool:
    """Whether it holds options by name, be it a mapping or jsonargparse's namespace."""
    return hasattr(value, "get")


def _size_of(option: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise PgpisError(
            f"{option}: the size of '{name}' is not known{nearest(name, known)}; known are {', '.join(known)}",
            hint="give a configuration or a folder in its place, or --pipeline, say synth-mcld",
        )
    return known[name]
