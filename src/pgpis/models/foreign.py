"""What a folder or hub id of somebody else may name: parts of known libraries and plausible numbers, never code.

The configuration is checked before diffusers or transformers see it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AsymmetricAutoencoderKL, AutoencoderKL, AutoencoderTiny, ModelMixin, SchedulerMixin
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import FeatureExtractionMixin, ImageProcessingMixin, PreTrainedModel

from pgpis.aliases import with_current_names
from pgpis.errors import PgpisError, first_line, nearest
from pgpis.refusals import file_status

LARGEST_JSON = 2**23
"""Bytes of a configuration."""
DEEPEST = 32
"""Levels of a configuration."""
LARGEST_NUMBER = 2**24
MOST_ENTRIES = 2**16
MOST_LAYERS = 256
"""Layers, blocks and depths; more take minutes to build, even without memory."""
SPARE_NUMBERS = 2**20
"""What a model may have beyond twice the numbers in its files, as parts may be new."""

CONFIGURATIONS = ("config.json", "scheduler_config.json", "preprocessor_config.json", "processor_config.json")
CODE_KEYS = (
    "auto_map",
    "configuration_files",
    "custom_pipelines",
    "quantization_config",
    "transformers_weights",
    "trust_remote_code",
)
"""Keys by which a configuration asks for code, another configuration, other weights, or a library that unpacks them."""
IMPLEMENTATION = re.compile(r"(attn|experts)_implementation(_internal)?$")
"""Keys whose value may be a hub id with code in it."""
SHARD = re.compile(r"[\w.-]+\.safetensors")
KINDS = (ModelMixin, SchedulerMixin, PreTrainedModel, ImageProcessingMixin, FeatureExtractionMixin)
AUTOENCODERS = (AutoencoderTiny, AsymmetricAutoencoderKL)
"""What decodes the latents of an ``AutoencoderKL``."""
HINT = "use models of people you trust only; SECURITY.md says what pgpis loads"


def read_json(path: Path) -> Any:
    """Read a JSON file of unknown origin.

    Raises:
        PgpisError: It is missing, too large, nested too deeply, or not JSON.
    """
    try:
        if file_status(path).st_size > LARGEST_JSON:
            raise PgpisError(f"{path} has more than {LARGEST_JSON} bytes; expected a configuration")
        return parse_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PgpisError(f"cannot read {path}: {error}") from error


def parse_json(text: Any, source: str) -> Any:
    """Read JSON of unknown origin; what is not, or is nested too deeply, is a ``PgpisError`` that names ``source``."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise PgpisError(f"{source} is not JSON that can be read: {error}") from error


def check_config(config: Any, source: str) -> dict[str, Any]:
    """Check a configuration and return it.

    Raises:
        PgpisError: It is not a mapping, asks for code, or holds numbers that no model has.
    """
    if not isinstance(config, dict):
        raise PgpisError(f"{source} holds a {type(config).__name__}, expected a mapping")
    for key, value, depth in _walk(config):
        if depth > DEEPEST or (isinstance(value, (dict, list)) and len(value) > MOST_ENTRIES):
            raise PgpisError(f"{source}: '{key[:80]}' is too large or nested too deeply for a configuration", hint=HINT)
        is_code = key in CODE_KEYS or (IMPLEMENTATION.search(key) and not str(value).replace("_", "").isalnum())
        if is_code and value is not None:
            raise PgpisError(f"{source}: '{key}' asks for code, files or libraries of its own choice", hint=HINT)
        counts_layers = ("layer" in key or "block" in key or "depth" in key) and "channels" not in key
        largest = MOST_LAYERS if counts_layers else LARGEST_NUMBER
        number = len(value) if counts_layers and isinstance(value, list) else value
        if isinstance(number, int) and abs(number) > largest:
            raise PgpisError(f"{source}: '{key[:80]}' is implausible, expected at most {largest}", hint=HINT)
    return config


def _walk(config: dict[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Yield each value with its key, entries of lists with that of the list, and the level."""
    waiting: list[tuple[str, Any, int]] = [("", config, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        yield key, value, depth
        if isinstance(value, dict):
            waiting += [(str(name), entry, depth + 1) for name, entry in value.items()]
        elif isinstance(value, list):
            waiting += [(key, entry, depth + 1) for entry in value]


def check_folder(folder: Path) -> None:
    """Check what libraries read beside the weights of one part: every configuration, and the names of its shards.

    Raises:
        PgpisError: It asks for code or adapters, or names files elsewhere.
    """
    if (folder / "adapter_config.json").exists():
        raise PgpisError(f"{folder}/adapter_config.json: adapters are not loaded", hint="merge them into the weights")
    for path in (folder / name for name in CONFIGURATIONS):
        if path.is_file():
            check_config(read_json(path), str(path))
    for path in folder.glob("*.safetensors.index*.json"):
        content = read_json(path)
        shards = content.get("weight_map") if isinstance(content, dict) else None
        names = shards.values() if isinstance(shards, dict) else (None,)
        if not all(isinstance(name, str) and SHARD.fullmatch(name) for name in names):
            raise PgpisError(f"{path}: expected the names of .safetensors files beside it", hint=HINT)


def check_size(model_class: type[Any], folder: Path) -> nn.Module:
    """Check that a part's files hold about as many numbers as its configuration describes, before memory is taken.

    Returns:
        The model that its configuration describes, on the device "meta".

    Raises:
        PgpisError: They hold less than half, cannot be read, or the configuration describes no such model.
    """
    stored = 0
    try:
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise PgpisError(f"{path} cannot be read: {error}") from error
    if not stored:
        raise PgpisError(f"{folder} holds no .safetensors weights", hint="weights in other formats are not loaded")
    with torch.device("meta"), building(f"{folder}: its config.json", model_class.__name__):
        model: nn.Module
        if issubclass(model_class, ModelMixin):
            model = model_class.from_config(read_json(folder / "config.json"))
        else:
            model = model_class(model_class.config_class.from_pretrained(folder))
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > 2 * stored + SPARE_NUMBERS:
        raise PgpisError(f"{folder}: its config.json describes {described} numbers, its files hold {stored}", hint=HINT)
    return model


@contextmanager
def building(configuration: str, kind: str = "model") -> Iterator[None]:
    """Turn whatever a library raises at a configuration from which it cannot build a ``kind`` into one error.

    Raises:
        PgpisError: Says where the configuration is from, and what the library says of it.
    """
    try:
        yield
    except PgpisError:
        raise
    except Exception as error:
        reason = first_line(error.__cause__ or error)  # transformers says first that there is an error
        reason = f"there is no {reason}" if isinstance(error, KeyError) else reason
        raise PgpisError(f"{configuration} describes no {kind}: {reason}") from error


def check_index(index: Any, pipeline_class: type[Any], source: str) -> dict[str, Any]:
    """Check ``model_index.json`` and return it under today's names: its pipeline, each component's library and class.

    A component may come from diffusers, transformers, or a module that is imported already, say that of a model of the
    user's; nothing is imported because the file names it. Where the pipeline's constructor states a type, the component
    must be of that type.

    Raises:
        PgpisError: It is malformed, of another pipeline, or names anything else; names ``source``.
    """
    index = with_current_names(check_config(index, source))
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in [base.__name__ for base in pipeline_class.__mro__]:
        raise PgpisError(
            f"'{source}' is a {str(name)[:80]}, expected a {pipeline_class.__name__}",
            hint="--config must be the recipe of the same model",
        )
    stated = _component_types(pipeline_class)
    settings = inspect.signature(pipeline_class.__init__).parameters.keys() - stated.keys()
    for part, value in index.items():
        if part.startswith("_") or part in settings or (part not in stated and not isinstance(value, (list, dict))):
            continue
        if part not in stated:
            raise PgpisError(f"'{source}': {pipeline_class.__name__} has no component '{part}'{nearest(part, stated)}")
        if value in ([None, None], None):
            continue
        if not isinstance(value, list) or len(value) != 2 or not all(isinstance(entry, str) for entry in value):
            raise PgpisError(f"'{source}': component '{part}': expected a library and a class")
        component = _component_class(*value)
        if component is None or not _fits(component, stated[part]):
            raise PgpisError(
                f"'{source}': component '{part}' is {'.'.join(value)[:80]}, "
                f"which {pipeline_class.__name__} does not load",
                hint="import the module first if it is your own; otherwise use only models of people whom you trust",
            )
    return index


def stored_parts(
    index: Mapping[str, Any], pipeline_class: type[Any], passed: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Return library and class of the components that a checked index has, but for those that are passed instead."""
    named = {part: index.get(part) for part in _component_types(pipeline_class) if part not in passed}
    return {part: (value[0], value[1]) for part, value in named.items() if value not in (None, [None, None])}


def check_pipeline(pipeline_class: type[Any], folder: Path, passed: Collection[str] = ()) -> dict[str, nn.Module]:
    """Check a pipeline's folder: its index, and each component's configurations and sizes.

    Args:
        pipeline_class: What it must be.
        folder: Where it is.
        passed: Components that come from elsewhere, whose folders are not looked at.

    Returns:
        The components that have weights, on the device "meta".

    Raises:
        PgpisError: It holds or names what a model has no need of.
    """
    index = check_index(read_json(folder / "model_index.json"), pipeline_class, str(folder))
    models = {}
    for part, (library, name) in stored_parts(index, pipeline_class, passed).items():
        if (folder / part / f"{library}.py").exists():
            raise PgpisError(f"{folder / part / f'{library}.py'}: a pipeline folder may not hold code", hint=HINT)
        check_folder(folder / part)
        component = _component_class(library, name)
        if component is not None and issubclass(component, (ModelMixin, PreTrainedModel)):
            models[part] = check_size(component, folder / part)
    return models


def _component_types(pipeline_class: type[Any]) -> dict[str, Any]:
    """Return the constructor's components with their types, None where none is stated.

    As diffusers has it: arguments with a default are settings, but for those that the class calls optional components.
    """
    try:
        hints = typing.get_type_hints(pipeline_class.__init__)
    except NameError:  # a type that is imported for type checkers only
        hints = {}
    arguments = inspect.signature(pipeline_class.__init__).parameters.values()
    optional = pipeline_class._optional_components  # noqa: SLF001  diffusers has no other way to ask
    return {
        argument.name: hints.get(argument.name)
        for argument in arguments
        if argument.name != "self" and (argument.default is inspect.Parameter.empty or argument.name in optional)
    }


def _component_class(library: str, name: str) -> type[Any] | None:
    """Return the class, None unless it is a kind of component in a known or imported module."""
    if not name.isidentifier():
        return None
    if library in ("diffusers", "transformers"):
        try:
            component = getattr(importlib.import_module(library), name, None)
        except (ImportError, RuntimeError):  # of a part of the library whose requirements are missing
            return None
    else:
        module = sys.modules.get(library)
        component = vars(module).get(name) if isinstance(module, types.ModuleType) else None
    return component if inspect.isclass(component) and issubclass(component, KINDS) else None


def _fits(component: type[Any], stated: Any) -> bool:
    expected = [entry for entry in typing.get_args(stated) or (stated,) if inspect.isclass(entry)]
    if not expected:
        return True
    return issubclass(component, (*expected, *AUTOENCODERS) if AutoencoderKL in expected else tuple(expected))
