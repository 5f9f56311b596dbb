"""A whole pipeline in one safetensors file, weights in half precision: the form in which pgpis ships its own models."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pgpis.errors import PgpisError, first_line
from pgpis.files import files_below, replacing
from pgpis.models.factory import ModelSpec
from pgpis.models.foreign import check_config, check_index, parse_json, read_json
from pgpis.models.loading import LOAD_ERRORS, check_finite
from pgpis.models.weights import tensors_hash
from pgpis.pipelines.base import SamplingPipeline
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown

__all__ = ["SHIPPED", "build_part", "load_bundle", "pack", "read_card", "read_index", "read_pipeline_index"]

PipelineT = TypeVar("PipelineT", bound=SamplingPipeline)
PartT = TypeVar("PartT")

INDEX = "model_index.json"
MARK = "pgpis_bundle"
VERSION = "1"
BESIDE = "beside"
"""In a bundle's metadata: another bundle beside it, and the hash of each file of weights that is to be read from there.
Those that ship have one autoencoder."""
SEPARATOR = "::"
NAME = re.compile(r"(\w[\w-]*/)?\w[\w.-]*", re.ASCII)
"""Of a file in a bundle: no step out of its folder on any system."""
RESERVED = re.compile(r"(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)", re.IGNORECASE)
"""Names that are devices on Windows."""
UNREADABLE = (OSError, SafetensorError, ValueError, TypeError, LookupError, AttributeError)
"""What safetensors raises for a damaged file, or for types of numbers that torch does not have."""


def pack(folder: Path, file: Path, card: dict[str, Any], beside: Path | None = None) -> None:
    """Write a pipeline's folder, as ``save_pretrained`` leaves it, into one file, which is replaced as a whole.

    Args:
        folder: The pipeline's folder.
        file: Where to write.
        card: What should be known of the model: data, recipe, seed, commit; any JSON.
        beside: A bundle in the folder of ``file``: files of weights that it holds as well are left out, and loading
            looks for them there.

    Raises:
        PgpisError: The folder is not a pipeline's, holds other files than JSON and safetensors, or
            weights that are not finite in half precision.
    """
    if not (folder / INDEX).is_file():
        raise PgpisError(f"{folder} is not a pipeline: no model_index.json", hint="'pgpis fit' exports one")
    tensors: dict[str, torch.Tensor] = {}
    texts: dict[str, str] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            for key, value in load_file(path).items():
                tensors[name + SEPARATOR + key] = value.half() if value.is_floating_point() else value
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("_name_or_path", None)  # where it lay on the machine that made it
            texts[name] = json.dumps(content)
        else:
            raise PgpisError(f"{path}: a bundle holds JSON and safetensors only")
    check_finite(f"{folder}, in half precision", tensors)
    metadata = {MARK: VERSION, "files": json.dumps(texts), "card": json.dumps(card)}
    if beside is not None:
        ours, theirs = _by_file(tensors), _by_file(load_file(beside))
        hashes = {name: tensors_hash(weights) for name, weights in ours.items()}
        shared = {
            name: value for name, value in hashes.items() if name in theirs and tensors_hash(theirs[name]) == value
        }
        tensors = {key: value for key, value in tensors.items() if key.partition(SEPARATOR)[0] not in shared}
        metadata[BESIDE] = json.dumps({"bundle": beside.name, "files": shared})
    with replacing(file) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _by_file(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return a bundle's tensors by file and name."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name, _, weight = key.partition(SEPARATOR)
        parts.setdefault(name, {})[weight] = value
    return parts


def read_card(file: Path) -> Any:
    """Return what a bundle says about itself; a file that is not a bundle is a ``PgpisError``."""
    return parse_json(_metadata(file).get("card"), f"{file}: the card")


def read_index(file: Path) -> Any:
    """Return the ``model_index.json`` of a bundle, which nobody has checked; errors as in :func:`read_card`."""
    return parse_json(_texts(file).get(INDEX), f"{file}: model_index.json")


def read_pipeline_index(name: str) -> dict[str, Any]:
    """Return the ``model_index.json`` of a pipeline: its class, its parts and how it was exported to sample.

    Args:
        name: Folder, hub id or ``.safetensors`` bundle.

    Raises:
        PgpisError: There is none, or it cannot be read.
    """
    refuse_unknown(name, "pipeline")
    path = Path(name)
    try:
        if path.suffix == ".safetensors":
            index = read_index(path)
        else:
            index = read_json(path / INDEX) if (path / INDEX).is_file() else _index_of_hub(name)
        index = check_config(index, name)
        return {**index, "_class_name": str(index["_class_name"])}
    except (PgpisError, *LOAD_ERRORS) as error:
        raise PgpisError(
            f"pipeline: cannot load '{name}': {first_line(error)}",
            hint="'pgpis fit' exports one to outputs/.../pipeline, 'pgpis convert fpdm' or 'mcld' makes one of "
            "official weights",
        ) from error


def _index_of_hub(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*local_dir_use_symlinks.*")  # an argument of diffusers' own
        return DiffusionPipeline.load_config(name)


def load_bundle(pipeline_class: type[PipelineT], file: Path) -> PipelineT:
    """Load a pipeline from a bundle, in float32, by the class's own ``from_pretrained``.

    Raises:
        PgpisError: The file is not a bundle, not whole, of another pipeline, or names what a model has no need of.
    """
    check_index(read_index(file), pipeline_class, str(file))
    with _unpacked(file) as folder:
        return pipeline_class.from_pretrained(folder)


def build_part(name: str, spec: ModelSpec, build: Callable[[ModelSpec], PartT]) -> PartT:
    """Build a part of a model, which may be that of a model that ships with pgpis.

    Args:
        name: What pipelines call the part.
        spec: As ``build`` takes it, or the name of a model that ships.
        build: Builds the part from a hub id, a folder or a configuration.

    Raises:
        PgpisError: The model has no such part, or what ``build`` raises.
    """
    if not isinstance(spec, str) or spec not in SHIPPED:
        return build(spec)
    with _unpacked(SHIPPED[spec].path) as folder:
        if not (folder / name).is_dir():
            having = [other for other, shipped in SHIPPED.items() if name in read_index(shipped.path)]
            raise PgpisError(f"{name}: '{spec}' has no such part", hint=" or ".join(having) or None)
        return build(str(folder / name))


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """Lay the files of a bundle into a folder while they are loaded; errors name the bundle."""
    with tempfile.TemporaryDirectory(prefix="pgpis-") as temporary:
        folder = Path(temporary)
        for name, text in _texts(file).items():
            _place(folder, name).write_bytes(text.encode(errors="replace"))
        for name, weights in _weights(file).items():
            save_file(weights, _place(folder, name), metadata={"format": "pt"})
        try:
            yield folder
        except PgpisError as error:
            raise PgpisError(error.message.replace(temporary, str(file)), hint=error.hint) from error


def _weights(file: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights by file and name, in float32."""
    parts = _read(file)
    if (other := _metadata(file).get(BESIDE)) is not None:
        parts |= _read_beside(file, parse_json(other, f"{file}: what lies beside it"))
    return {
        name: {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
        for name, weights in parts.items()
    }


def _read(file: Path) -> dict[str, dict[str, torch.Tensor]]:
    try:
        parts = _by_file(load_file(file))
    except UNREADABLE as error:
        raise PgpisError(f"{file} cannot be read: {error}") from error
    for name in parts:
        _check_name(file, name, ".safetensors")
    return parts


def _read_beside(file: Path, other: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Return the files of weights that another bundle holds for this one."""
    if not isinstance(other, dict) or not isinstance(other.get("files"), dict):
        raise PgpisError(f"{file}: expected a bundle and hashes of its files in its metadata")
    bundle = str(other.get("bundle"))
    _check_name(file, bundle, ".safetensors")
    path = file.parent / bundle
    if "/" in bundle or not path.is_file():
        raise PgpisError(
            f"{file} has a part of its weights in {bundle}, which is not beside it", hint="copy both into one folder"
        )
    parts = _read(path)
    for name, expected in other["files"].items():
        if name not in parts or tensors_hash(parts[name]) != expected:
            raise PgpisError(f"{file} needs another {path.name}: of this one {name} differs")
    return {name: parts[name] for name in other["files"]}


def _texts(file: Path) -> dict[str, str]:
    """Return the JSON files by name; bundles that ship are older than the defaults of pipelines, and get theirs."""
    texts = parse_json(_metadata(file).get("files"), f"{file}: its list of files")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise PgpisError(f"{file}: expected JSON files by name in its metadata")
    for name in texts:
        _check_name(file, name, ".json")
    for shipped in SHIPPED.values():
        if file.resolve() == shipped.path:
            texts[INDEX] = json.dumps({**shipped.sampling, **json.loads(texts[INDEX])})
    return texts


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except UNREADABLE as error:
        raise PgpisError(f"{file} cannot be read: {error}") from error
    if metadata.get(MARK) != VERSION:
        raise PgpisError(
            f"{file} is not a bundle of pgpis", hint="--pipeline takes a pipeline folder, a hub id or a bundle"
        )
    return metadata


def _check_name(file: Path, name: str, suffix: str) -> None:
    """Refuse what is not ``name.suffix`` or ``part/name.suffix``, or leads elsewhere on some system."""
    if not NAME.fullmatch(name) or not name.endswith(suffix) or RESERVED.search(name):
        raise PgpisError(f"{file} holds a file with the name {name[:80]!r}, expected *{suffix} or */*{suffix}")


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    return path
