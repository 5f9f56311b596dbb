"""A diffusers pipeline that loads weights and numbers from a folder or the hub, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from diffusers import DiffusionPipeline

from pgpis.aliases import with_current_names
from pgpis.errors import PgpisError
from pgpis.models.foreign import check_index, check_pipeline, stored_parts
from pgpis.models.hub import HUB_OPTIONS, fetch_parts
from pgpis.models.stored import check_stored


class CheckedPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """A diffusers pipeline whose folder is checked before anything of it is loaded."""

    @classmethod
    def load_config(cls, *args: Any, **options: Any) -> Any:
        """Read ``model_index.json`` as diffusers does; modules that have moved since it was written are found."""
        loaded = super().load_config(*args, **options)
        return (with_current_names(loaded[0]), *loaded[1:]) if isinstance(loaded, tuple) else with_current_names(loaded)

    @classmethod
    def download(cls, pretrained_model_name: str | os.PathLike[str], **options: Any) -> str:
        """Fetch what :meth:`from_pretrained` loads of a hub id, and return the folder.

        Diffusers' own refuses parts of other modules than its own, though they are imported.

        Args:
            pretrained_model_name: Hub id.
            **options: Those of :meth:`from_pretrained`; parts among them are not fetched.

        Raises:
            PgpisError: Its index is of another pipeline, or names what a model has no need of.
            OSError: There is no such model, or neither a network nor all of it.
        """
        name, hub = str(pretrained_model_name), {key: options[key] for key in HUB_OPTIONS if key in options}
        index, commit = cls.load_config(name, return_commit_hash=True, **hub)
        parts = stored_parts(check_index(index, cls, name), cls, options)
        hub["revision"] = commit or hub.get("revision")
        return str(fetch_parts(name, [*parts], options.get("variant"), **hub))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Load a pipeline from a folder or hub id, as diffusers does, but nothing that is code or asks for code.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            **options: Those of ``DiffusionPipeline.from_pretrained``, except for ``custom_pipeline`` and
                ``trust_remote_code``. Folders of parts among them, None as well, are not looked at.

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
            folder = Path(cls.download(pretrained_model_name_or_path, **options))
        if (folder / "model_index.json").is_file():
            for part, model in check_pipeline(cls, folder, passed=options).items():
                check_stored(model, folder / part, f"{pretrained_model_name_or_path}: {part}", options.get("variant"))
        return super().from_pretrained(folder, **options)
