"""Whether a file can be one of weights, by its name and first bytes; read before torch is loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pgpis.errors import PgpisError, first_line

SAFETENSORS = ".safetensors"
ZIP = b"PK\x03\x04"


def check_format(path: Path) -> None:
    """Refuse what is neither an archive of ``torch.save`` nor, by its suffix, a safetensors file.

    Raises:
        PgpisError: It is not there, cut off, or something else.
    """
    if path.is_dir():
        raise PgpisError(f"{path} is a folder, expected the file of a checkpoint")
    if not path.is_file():
        raise PgpisError(f"checkpoint not found: {path}")
    try:
        if path.suffix == SAFETENSORS or zipfile.is_zipfile(path):
            return
        with path.open("rb") as file:
            start = file.read(len(ZIP))
    except (OSError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error
    if start == ZIP:
        raise unreadable(path, EOFError("the archive is cut off"))
    raise PgpisError(
        f"{path} is not a checkpoint: expected a zip archive of torch.save or a {SAFETENSORS} file",
        hint="save a file of torch < 1.6 again with a current torch",
    )


def unreadable(path: Path, error: Exception) -> PgpisError:
    """Return the refusal of a file that cannot be read."""
    hint = "the file is damaged: copy or download it again"
    return PgpisError(f"cannot read checkpoint {path}: {first_line(error)}", hint=hint)
