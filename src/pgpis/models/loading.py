"""Loading pretrained parts: readable errors, and no weight missing or left over."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import is_accelerate_available
from safetensors import SafetensorError
from torch import nn

from pgpis.errors import PgpisError, first_line, nearest
from pgpis.models.foreign import check_config, check_folder, check_size, read_json
from pgpis.models.hub import fetch, fetch_parts
from pgpis.models.stored import check_kinds, check_loaded

log = logging.getLogger(__name__)

BOOKKEEPING = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
"""Keys of a saved configuration that say nothing about the architecture."""

LOAD_ERRORS = (
    ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    SafetensorError,
)  # fmt: skip
"""What diffusers, transformers and huggingface_hub raise when something cannot be loaded."""


def load_diffusers(
    model_class: type[Any],
    part: str,
    spec: str,
    *,
    subfolder: str | None = None,
    leaves_out: tuple[str, ...] = (),
    **overrides: Any,
) -> Any:
    """Load a diffusers model, as :func:`load_strictly` does.

    Args:
        model_class: A ``ModelMixin``.
        part: What the model is, for error messages.
        spec: Folder or hub id.
        subfolder: Where the part lies in a whole pipeline; looked into unless ``spec`` is the part's own folder.
        leaves_out: Beginnings of weights in the files that the model does not have.
        **overrides: Fields of the configuration that replace the stored ones.
    """
    with LoadErrors(part, spec):
        subfolder = None if subfolder is None else subfolder_of(spec, subfolder)
        stored_config(model_class, spec, subfolder)
    options = {"subfolder": subfolder, "low_cpu_mem_usage": is_accelerate_available(), **overrides}
    return load_strictly(model_class, part, spec, leaves_out, **options)


def load_strictly(
    model_class: type[Any], part: str, spec: str, leaves_out: tuple[str, ...] = (), **options: Any
) -> Any:
    """Load a model of diffusers or transformers with ``options`` of its ``from_pretrained``.

    Raises:
        PgpisError: Not found, unreadable, or weights that do not fit exactly or are not finite.
    """
    with LoadErrors(part, spec):
        subfolder = options.get("subfolder") or ""
        root = Path(spec) if Path(spec).is_dir() else fetch_parts(spec, [subfolder])
        folder = root / subfolder
        check_folder(folder)
        check_kinds(check_size(model_class, folder), folder, f"{part} '{spec}'", leaves_out)
        model, report = model_class.from_pretrained(
            str(root), use_safetensors=True, output_loading_info=True, **options
        )
    check_loaded(f"{part} '{spec}'", report, leaves_out)
    check_finite(f"{part} '{spec}'", model.state_dict())
    return model


def stored_config(model_class: type[Any], spec: str, subfolder: str | None = None) -> dict[str, Any]:
    """Return the configuration, as a diffusers class reads it, of a part in a folder or on the hub, checked.

    Raises:
        PgpisError: It asks for code, or is not a configuration.
        Exception: One of :data:`LOAD_ERRORS`: there is none.
    """
    path = Path(spec, subfolder or "", model_class.config_name)
    config = read_json(path) if path.is_file() else model_class.load_config(spec, subfolder=subfolder)
    return check_config(config, str(path) if path.is_file() else spec)


def subfolder_of(spec: str, name: str) -> str | None:
    """Return ``name`` unless ``spec``, a folder or hub id, is the part itself."""
    configs = ("config.json", "scheduler_config.json")
    folder = Path(spec) if Path(spec).is_dir() else fetch(spec, ("model_index.json", *configs))
    is_part = any((folder / file).is_file() for file in configs)
    return None if is_part else name


class LoadErrors:
    """Context that turns what loading a part from a folder or hub id raises into one error that says how to get it."""

    def __init__(self, part: str, spec: str) -> None:
        self.part = part
        self.spec = spec

    def __enter__(self) -> None:
        looks_local = self.spec.startswith(("/", ".", "~")) or self.spec.count("/") != 1  # as in no OWNER/NAME
        if looks_local and not Path(self.spec).is_dir():
            raise PgpisError(
                f"{self.part}: folder not found: {self.spec}",
                hint="give a folder written by save_pretrained, a hub id such as stabilityai/stable-diffusion-2-1, or "
                "for recipes of synth/ a model that ships with pgpis: synth-mcld",
            )

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, LOAD_ERRORS):
            raise PgpisError(
                f"{self.part}: cannot load '{self.spec}': {first_line(error)}",
                hint=f"run 'hf download {self.spec}' where there is a network, or give a local folder"
                if not Path(self.spec).is_dir()
                else "the folder must hold a config.json and .safetensors weights of the right kind",
            ) from error


def weight_not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first weight that holds a number which is not finite; None: there is none."""
    for name, value in weights.items():
        if not value.is_floating_point() or value.is_meta or value.sum(dtype=torch.float32).isfinite():
            continue  # the sum tells in one pass without a copy; one that overflows is looked at again
        if not value.isfinite().all():
            return name
    return None


def check_finite(what: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not finite, as training that diverged leaves them, and name the first."""
    if name := weight_not_finite(weights):
        raise PgpisError(
            f"{what}: '{name}' holds numbers that are not finite",
            hint="the training diverged or the file is damaged: take an earlier checkpoint or another copy",
        )


def check_finite_model(what: str, model: Any) -> None:
    """Refuse a module, or a pipeline whose ``components`` are some, with weights that are not finite."""
    parts = getattr(model, "components", {"": model})
    for part, module in parts.items():
        if isinstance(module, nn.Module):
            check_finite(f"{what}: {part}" if part else what, module.state_dict())


def take_over(part: str, module: nn.Module, other: nn.Module) -> None:
    """Take over the weights of another model of the same class, of any size, that have the same name and shape.

    Raises:
        PgpisError: Not one fits.
    """
    own, theirs = module.state_dict(), other.state_dict()
    fitting = {name: value for name, value in theirs.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise PgpisError(
            f"start_from: no weight of its {part} fits", hint="it must be a model of the same kind, of any size"
        )
    module.load_state_dict({**own, **fitting})
    log.info("%s: %d of %d tensors start as those of start_from", part, len(fitting), len(own))


def init_keys(model_class: type[Any]) -> dict[str, Any]:
    """Return the keys that a configuration may have, with defaults: a constructor's arguments."""
    arguments = inspect.signature(model_class.__init__).parameters
    return {name: argument.default for name, argument in arguments.items() if name != "self"}


def public_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a library noted in a saved configuration for itself, like ``_class_name``."""
    return {key: value for key, value in spec.items() if not key.startswith("_")}


def check_keys(part: str, spec: Mapping[str, Any], valid: Mapping[str, Any]) -> None:
    """Check a configuration; ``valid`` has the defaults of all its keys.

    Raises:
        PgpisError: Names the first key that is not valid and the nearest one that is, or a text in place of a number.
    """
    for key, value in spec.items():
        if key not in valid and not key.startswith("_") and key not in BOOKKEEPING:
            raise PgpisError(f"{part}: no such key '{key}'{nearest(key, valid)}")
        if isinstance(value, str) and isinstance(default := valid.get(key), (int, float)):
            expected = "true or false" if isinstance(default, bool) else "a number"
            raise PgpisError(f"{part}: '{key}' is '{value}', expected {expected}")
