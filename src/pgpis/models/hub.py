"""What is fetched from the hub: configurations and .safetensors of the parts that are loaded, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import snapshot_download

from pgpis.models.foreign import CONFIGURATIONS

HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
"""What ``from_pretrained`` takes for the hub."""
STEMS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call weights."""


def fetch(name: str, files: Sequence[str], **options: Any) -> Path:
    """Fetch files of a hub id, by names or patterns, or find them in the cache; return the folder of its commit.

    Args:
        name: Hub id.
        files: Those that it lacks are left out.
        **options: Those of ``from_pretrained``; :data:`HUB_OPTIONS` count.

    Raises:
        OSError: There is no such model, or neither a network nor all of the files.
    """
    known = {key: options[key] for key in HUB_OPTIONS if options.get(key) is not None}
    return Path(snapshot_download(name, allow_patterns=[*files], **known))


def fetch_parts(name: str, parts: Sequence[str], variant: str | None = None, **options: Any) -> Path:
    """Fetch parts of a hub id: their configurations and .safetensors weights.

    Args:
        name: Hub id.
        parts: Their folders; ``""``: the part lies at the top.
        variant: Which of several kinds of weights: ``fp16``; parts without these are fetched with the others.
        **options: As in :func:`fetch`.

    Raises:
        OSError: As in :func:`fetch`.
    """
    for kind in (f".{variant}", "") if variant else ("",):
        weights = [f"{stem}{kind}{shard}.safetensors" for stem in STEMS for shard in ("", "-?????-of-?????")]
        lists = [f"{stem}.safetensors.index{kind}.json" for stem in STEMS]
        files = [str(PurePosixPath(part, file)) for part in parts for file in (*CONFIGURATIONS, *lists, *weights)]
        folder = fetch(name, files, **options)
        options["revision"] = folder.name  # of the same commit
        parts = [part for part in parts if not any(any((folder / part).glob(file)) for file in weights)]
        if not parts:
            break
    return folder
