"""What the files of a part hold, by their headers alone, held against its model; and what a library says of loading."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from pgpis.errors import PgpisError
from pgpis.models.foreign import read_json

OTHER_MODEL = "the weights belong to another model"


def check_stored(model: Any, folder: Path, what: str, variant: str | None = None) -> None:
    """Check that loading a part would find each of its weights and leave none over; no weight is read.

    Args:
        model: Of diffusers or transformers, as the part's configuration describes it; on any device.
        folder: The part's, checked by ``check_folder``.
        what: The part, for messages.
        variant: Which of several kinds of files are meant: ``fp16``; a part without these is loaded from the others.

    Raises:
        PgpisError: Files are missing or cannot be read, or hold other names, shapes or kinds of numbers; names them.
    """
    files = _weight_files(model, folder, variant)
    if not files:
        raise PgpisError(f"{what}: {folder} holds no weights", hint="expected the .safetensors of save_pretrained")
    stored = _stored_weights(files)
    refuse_integers(model, stored, what)
    if isinstance(model, PreTrainedModel):  # knows by itself which names of other versions are its own
        zeros = {name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in stored.items()}
        _, report = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=zeros,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # reported below, with the name
            output_loading_info=True,
        )
    else:
        if len(files) == 1:  # as diffusers does: earlier versions wrote no shards
            model._fix_state_dict_keys_on_load(stored)  # noqa: SLF001
        own, ignored = model.state_dict(), model._keys_to_ignore_on_load_unexpected or ()  # noqa: SLF001
        report = {
            "missing_keys": own.keys() - stored.keys(),
            "unexpected_keys": [
                name for name in stored.keys() - own.keys() if not any(re.search(each, name) for each in ignored)
            ],
            "mismatched_keys": [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape],
        }
    check_loaded(what, report)


def check_kinds(model: Any, folder: Path, what: str, leaves_out: tuple[str, ...] = ()) -> None:
    """Check that the files of a part hold integers only where its model does; ``leaves_out``: beginnings of others.

    Raises:
        PgpisError: Names the first that is not.
    """
    stored = _stored_weights(_weight_files(model, folder, None))
    refuse_integers(model, {name: value for name, value in stored.items() if not name.startswith(leaves_out)}, what)


def refuse_integers(model: Any, weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Refuse integers where a model has none; names may lack a prefix or have one, as libraries take them.

    Raises:
        PgpisError: Names the first.
    """
    integers = [f".{name}" for name, value in model.named_buffers() if not value.is_floating_point()]
    for name, value in weights.items():
        ends = f".{name}"
        if not value.is_floating_point() and not any(own.endswith(ends) or ends.endswith(own) for own in integers):
            raise PgpisError(
                f"{what}: '{name}' is stored as integers, expected floating-point numbers", hint=OTHER_MODEL
            )


def check_loaded(what: str, report: Any, leaves_out: tuple[str, ...] = ()) -> None:
    """Raise unless every weight was loaded and none was left over; ``report`` is a library's loading info."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(key for key in map(str, report[kind]) if not key.startswith(leaves_out))
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise PgpisError(f"{what}: {kind.replace('_', ' ')}: {shown}", hint=OTHER_MODEL)


def _weight_files(model: Any, folder: Path, variant: str | None) -> list[Path]:
    """Return the files that the model's library would read, shards as their list names them."""
    is_of_transformers = isinstance(model, PreTrainedModel)
    name = SAFE_WEIGHTS_NAME if is_of_transformers else SAFETENSORS_WEIGHTS_NAME
    for kind in dict.fromkeys((f".{variant}" if variant else "", "")):
        single = folder / name.replace(".safetensors", f"{kind}.safetensors")
        shards = folder / f"{name}.index{kind}.json"
        if single.is_file() and (is_of_transformers or not shards.is_file()):
            return [single]
        if shards.is_file():
            return [folder / shard for shard in sorted({*read_json(shards)["weight_map"].values()})]
    return []


def _stored_weights(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return tensors without content by name: float32 for all that are floating-point numbers, int64 for all others."""
    stored = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    entry = file.get_slice(name)
                    dtype = torch.float32 if entry.get_dtype().startswith(("F", "BF")) else torch.int64
                    stored[name] = torch.empty(entry.get_shape(), dtype=dtype, device="meta")
        except (OSError, SafetensorError) as error:
            raise PgpisError(f"{path} cannot be read: {error}") from error
    return stored
