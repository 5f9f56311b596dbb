"""A whole pipeline in one safetensors file, weights in half precision: the form in which pgpis ships its own models."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pgpis.errors import PgpisError
from pgpis.files import replacing

PipelineT = TypeVar("PipelineT", bound=DiffusionPipeline)

FOLDER = Path(__file__).resolve().parent.parent / "bundles"
MARK = "pgpis_bundle"
VERSION = "1"
SEPARATOR = "::"


@dataclass(frozen=True)
class Shipped:
    """A model inside the package."""

    recipe: str
    """The recipe that it was trained with, and that holds its sizes."""
    file: str
    """Its bundle, in ``FOLDER``."""
    sampling: Mapping[str, float]
    """The recipe's size, steps and guidance."""

    @property
    def path(self) -> Path:
        """Where the bundle is."""
        return FOLDER / self.file


_SMALL = {"height": 256, "width": 176, "num_inference_steps": 5}
SHIPPED = {
    "synth-fpdm": Shipped("synth/fpdm.yaml", "synth_fpdm.safetensors", {**_SMALL, "guidance_scale": 1.5}),
    "synth-mcld": Shipped("synth/mcld.yaml", "synth_mcld.safetensors", {**_SMALL, "guidance_scale": 1.0}),
}
"""By the name that ``--pipeline`` takes."""


def pack(folder: Path, file: Path, card: dict[str, Any]) -> None:
    """Write a pipeline's folder, as ``save_pretrained`` leaves it, into one file.

    Args:
        folder: The pipeline's folder. Other files than JSON and safetensors are refused.
        file: Where to write, replaced as a whole.
        card: What should be known of the model: data, recipe, seed, commit; any JSON.

    Raises:
        PgpisError: The folder is no pipeline's, or holds something else.
    """
    if not (folder / "model_index.json").is_file():
        raise PgpisError(f"{folder} is no pipeline: no model_index.json", hint="'pgpis fit' exports one")
    tensors: dict[str, torch.Tensor] = {}
    texts: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
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
    metadata = {MARK: VERSION, "files": json.dumps(texts), "card": json.dumps(card)}
    with replacing(file) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_card(file: Path) -> dict[str, Any]:
    """Return what a bundle says of itself.

    Raises:
        PgpisError: The file is no bundle.
    """
    card: dict[str, Any] = json.loads(_metadata(file)["card"])
    return card


def load_bundle(pipeline_class: type[PipelineT], file: Path) -> PipelineT:
    """Load a pipeline from a bundle, in float32, by the class's own ``from_pretrained``.

    Raises:
        PgpisError: The file is no bundle, or not whole.
    """
    texts = _texts(file)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_file(file).items():
        name, _, weight = key.partition(SEPARATOR)
        parts.setdefault(name, {})[weight] = value.float() if value.is_floating_point() else value
    with tempfile.TemporaryDirectory(prefix="pgpis-") as temporary:
        folder = Path(temporary)
        for name, text in texts.items():
            _place(folder, name, ".json").write_text(text, encoding="utf-8")
        for name, weights in parts.items():
            save_file(weights, _place(folder, name, ".safetensors"), metadata={"format": "pt"})
        loaded: PipelineT = pipeline_class.from_pretrained(folder)
    return loaded


def pipeline_name(file: Path) -> str:
    """Return the class of the pipeline in a bundle.

    Raises:
        PgpisError: The file is no bundle.
    """
    return str(json.loads(json.loads(_metadata(file)["files"])["model_index.json"])["_class_name"])


def read_index(name: str) -> dict[str, Any]:
    """Return the ``model_index.json`` of a pipeline: its class, its parts and how it was exported to sample.

    Args:
        name: Folder, hub id or ``.safetensors`` bundle.

    Raises:
        PgpisError: There is none, or it cannot be read.
    """
    try:
        if name.endswith(".safetensors"):
            index: Any = json.loads(_texts(Path(name))["model_index.json"])
        else:
            index = DiffusionPipeline.load_config(name)
        return {**index, "_class_name": str(index["_class_name"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PgpisError(
            f"pipeline: cannot load '{name}': {reason}",
            hint="'pgpis fit' exports one to outputs/.../pipeline, 'pgpis convert fpdm' or 'mcld' makes one of "
            "official weights",
        ) from error


def _texts(file: Path) -> dict[str, str]:
    """Return the JSON files of a bundle; those that ship are older than the defaults of pipelines, and get theirs."""
    texts: dict[str, str] = json.loads(_metadata(file)["files"])
    for shipped in SHIPPED.values():
        if file.resolve() == shipped.path:
            index = json.loads(texts["model_index.json"])
            texts["model_index.json"] = json.dumps({**shipped.sampling, **index})
    return texts


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, "pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise PgpisError(f"{file} cannot be read: {error}") from error
    if metadata.get(MARK) != VERSION:
        raise PgpisError(
            f"{file} is no bundle of pgpis", hint="--pipeline takes a pipeline's folder, a hub id or a bundle"
        )
    return metadata


def _place(folder: Path, name: str, suffix: str) -> Path:
    """Return where a file of the bundle is unpacked to; a name that leads elsewhere is refused."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or relative.suffix != suffix or len(relative.parts) > 2:
        raise PgpisError(f"the bundle holds a file with the name '{name}'")
    path = folder / relative
    path.parent.mkdir(exist_ok=True)
    return path
