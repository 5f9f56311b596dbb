"""The weights that others published: what they are for, under which licence, where they come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pgpis.errors import PgpisError, nearest


@dataclass(frozen=True)
class WeightFile:
    """One thing to download, and the files that come of it."""

    name: str
    """By which pgpis knows it."""
    files: tuple[str, ...]
    """What must be there in the end, relative to the weights folder."""
    url: str
    """Where it is published. A zip is unpacked."""
    licence: str
    """As the publisher states it."""
    commercial: bool | None
    """Whether commercial use is allowed; None: the publisher does not say."""
    use: str
    """What it is for."""
    sha256: str | None = None
    """Of the download, or its first digits; None: not published."""
    size: int | None = None
    """Bytes of the download; None: not published."""
    caches: tuple[str, ...] = ()
    """Further folders in which the libraries keep it; ``PACKAGE:FOLDER`` is inside an installed package."""
    member: str | None = None
    """Name of the file inside the zip, where it differs."""

    @property
    def download(self) -> str:
        """Name of what is downloaded, relative to the weights folder: the zip, or the file itself."""
        name = PurePosixPath(urlsplit(self.url).path).name
        return name if name.endswith(".zip") else self.files[0]

    @property
    def zipped(self) -> bool:
        """Whether the download is a zip."""
        return self.download.endswith(".zip")


def _read() -> dict[str, WeightFile]:
    entries = {}
    for name, fields in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items():
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        stated: dict[str, Any] = {"name": name, "commercial": None, **fields, **lists}
        entries[name] = WeightFile(**stated)
    return entries


CATALOGUE: Mapping[str, WeightFile] = _read()


def catalogued(name: str) -> WeightFile:
    """Return the entry of the catalogue.

    Raises:
        PgpisError: There is none of this name; names the nearest.
    """
    if name not in CATALOGUE:
        raise PgpisError(f"unknown weights '{name}'{nearest(name, CATALOGUE)}", hint="pgpis weights list")
    return CATALOGUE[name]
