"""Where weights lie: the weights folder, and the caches of the libraries."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pgpis.caches import below_any_home, below_home
from pgpis.errors import PgpisError
from pgpis.weight_files.catalogue import WeightFile, catalogued

DEFAULT_FOLDER = "~/.cache/pgpis/weights"


@dataclass(frozen=True)
class Location:
    """A file of an entry that is there, and the folder of :func:`places` below which it lies."""

    root: Path
    path: Path


def weights_folder() -> Path:
    """Return the folder that weights are downloaded to: ``$PGPIS_WEIGHTS``, or one below ``~/.cache``.

    Raises:
        PgpisError: It would lie in a home folder, and there is none.
    """
    return below_home(os.environ.get("PGPIS_WEIGHTS") or DEFAULT_FOLDER, "$PGPIS_WEIGHTS")


def places(name: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders in which the files of an entry are looked for, in this order.

    Args:
        name: Of the entry.
        folder: Look here only; None: the weights folder, pgpis' own cache, then the caches of the libraries.
    """
    entry = catalogued(name)
    if folder is not None:
        return [Path(folder).expanduser()]
    own = map(below_any_home, (os.environ.get("PGPIS_WEIGHTS") or DEFAULT_FOLDER, DEFAULT_FOLDER))
    folders = [*own, *map(_cache_folder, entry.caches)]
    return list(dict.fromkeys(folder for folder in folders if folder is not None))


def look(entry: WeightFile, folder: str | os.PathLike[str] | None) -> dict[str, Location | None]:
    """Return each file of an entry, None where it is nowhere; in each place it may also lie without its subfolder."""
    locations: dict[str, Location | None] = {}
    roots = places(entry.name, folder)
    elsewhere = _hub_cached(entry) if folder is None else None
    for file in entry.files:
        candidates = (Location(root, root / name) for root in roots for name in (file, PurePosixPath(file).name))
        locations[file] = next((candidate for candidate in candidates if candidate.path.is_file()), elsewhere)
    return locations


def locate(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Path | None]:
    """Return where each file of an entry lies, None where it is nowhere; nothing is read. ``folder``: see places."""
    locations = look(catalogued(name), folder)
    return {file: None if location is None else location.path for file, location in locations.items()}


def find(name: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the files of an entry; arguments as in :func:`places`.

    Raises:
        PgpisError: A file is nowhere; names every missing one, the places, and the command that gets them.
    """
    require([name], folder)
    return [path for path in locate(name, folder).values() if path is not None]


def require(names: Iterable[str], folder: str | os.PathLike[str] | None = None) -> None:
    """Look for the files of several entries before anything starts.

    Raises:
        PgpisError: Some are nowhere; names all of them, and one command that gets them.
    """
    nowhere = {name: [file for file, path in locate(name, folder).items() if path is None] for name in names}
    missing = {name: ", ".join(files) for name, files in nowhere.items() if files}
    if not missing:
        return
    command = fetch_command(missing, folder)
    restricted = [entry for entry in map(catalogued, missing) if entry.commercial is False]
    if restricted:
        licences = "; ".join(f"{entry.name}: {entry.licence}" for entry in restricted)
        command = f"if you keep to the licence ({licences}): {command}"
    looked = ", ".join(dict.fromkeys(str(place) for name in missing for place in places(name, folder)))
    if len(missing) == 1:
        [(name, files)] = missing.items()
        raise PgpisError(f"weights '{name}': {files} not found, looked in {looked}", hint=command)
    entries = "; ".join(f"'{name}': {files}" for name, files in missing.items())
    raise PgpisError(f"weights not found: {entries}; looked in {looked}", hint=command)


def expected_file(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return where the file of an entry with one file is, or is expected if it is nowhere."""
    return next(iter(locate(name, folder).values())) or places(name, folder)[0] / catalogued(name).files[0]


def fetch_command(names: str | Iterable[str], folder: str | os.PathLike[str] | None = None) -> str:
    """Return the command that fetches one entry, or several; where a licence is to be accepted, it does."""
    names = [names] if isinstance(names, str) else [*names]
    option = "" if folder is None else f" --folder {shlex.quote(str(folder))}"
    accepted = " --accept-licence" if any(catalogued(name).commercial is False for name in names) else ""
    return f"pgpis weights fetch {' '.join(names)}{option}{accepted}"


def _cache_folder(cache: str) -> Path | None:
    """Return a folder of a library with its environment variables applied; None: its package, or a home, is missing."""
    package, colon, inner = cache.partition(":")
    if colon:
        spec = importlib.util.find_spec(package)
        return Path(spec.origin).parent / inner if spec is not None and spec.origin else None
    library, slash, rest = cache.removeprefix("~/.cache/").partition("/")
    if library in {"torch", "rtmlib"} and slash:
        home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        folder = below_any_home(os.environ.get("TORCH_HOME", f"{home}/{library}"))
        return folder and folder / rest
    return below_any_home(cache)


def _hub_cached(entry: WeightFile) -> Location | None:
    """Return the file in the cache of the Hugging Face hub, if it comes from there."""
    parts = urlsplit(entry.url)
    match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
    if parts.hostname != "huggingface.co" or match is None or entry.zipped:
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(match[1], match[3], revision=match[2])
    return Location(Path(path).parent, Path(path)) if isinstance(path, str) else None
