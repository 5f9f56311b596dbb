"""A diffusers pipeline that loads weights and numbers from a folder or the hub, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from diffusers import DiffusionPipeline

from pgpis.aliases import with_current_names
from pgpis.errors import PgpisError
from pgpis.models.foreign import check_index, check_pipeline
from pgpis.models.stored import check_stored

HUB_OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision")


class CheckedPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """A diffusers pipeline whose folder is checked before anything of it is loaded."""

    @classmethod
    def load_config(cls, *args: Any, **options: Any) -> Any:
        """Read ``model_index.json`` as diffusers does; modules that have moved since it was written are found."""
        loaded = super().load_config(*args, **options)
        return (with_current_names(loaded[0]), *loaded[1:]) if isinstance(loaded, tuple) else with_current_names(loaded)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Load a pipeline from a folder or hub id, as diffusers does, but nothing that is code or asks for code.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            **options: Those of ``DiffusionPipeline.from_pretrained``, except for ``custom_pipeline`` and
                ``trust_remote_code``.

        Raises:
            PgpisError: It is of another pipeline, holds or names what a model has no need of, or its weights do not fit
                exactly.
            Exception: What diffusers raises, if it is not there or not whole.
        """
        for option in ("custom_pipeline", "trust_remote_code"):
            if options.get(option):
                raise PgpisError(f"{cls.__name__}.from_pretrained: {option}: pgpis never runs the code of a model")
        options["use_safetensors"] = True
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = str(pretrained_model_name_or_path)
            hub = {key: value for key, value in options.items() if key in HUB_OPTIONS}
            check_index(cls.load_config(name, **hub), cls, name)
            folder = Path(cls.download(name, **options))
        if (folder / "model_index.json").is_file():
            for part, model in check_pipeline(cls, folder).items():
                if part not in options:
                    check_stored(
                        model, folder / part, f"{pretrained_model_name_or_path}: {part}", options.get("variant")
                    )
        return super().from_pretrained(folder, **options)
