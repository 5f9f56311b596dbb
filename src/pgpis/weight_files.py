"""Weights that others published: what they are for, under which licence, where they lie and how to get them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import shlex
import stat
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pgpis import __version__
from pgpis.errors import PgpisError, nearest
from pgpis.jobs import SECONDS_BETWEEN_LINES

log = logging.getLogger(__name__)

DEFAULT_FOLDER = "~/.cache/pgpis/weights"
RECORD = "checksums.json"
TIMEOUT = 30.0
CHUNK = 1 << 20

State = Literal["ok", "damaged", "missing", "unknown checksum"]
Opener = Callable[..., Any]


@dataclass(frozen=True)
class WeightFile:
    """One thing to download, and the files that come of it.

    Args:
        name: By which pgpis knows it.
        files: What must be there in the end, relative to the weights folder.
        url: Where it is published. A zip is unpacked.
        licence: As the publisher states it.
        commercial: Whether commercial use is allowed; None: the publisher does not say.
        use: What it is for.
        sha256: Of the download, or its first digits; None: not published.
        size: Bytes of the download; None: not published.
        caches: Further folders in which the libraries keep it; ``PACKAGE:FOLDER`` is inside an installed package.
        member: Name of the file inside the zip, where it differs.
    """

    name: str
    files: tuple[str, ...]
    url: str
    licence: str
    commercial: bool | None
    use: str
    sha256: str | None = None
    size: int | None = None
    caches: tuple[str, ...] = ()
    member: str | None = None

    @property
    def download(self) -> str:
        """Name of what is downloaded, relative to the weights folder: the zip, or the file itself."""
        name = PurePosixPath(urlsplit(self.url).path).name
        return name if name.endswith(".zip") else self.files[0]

    @property
    def zipped(self) -> bool:
        """Whether the download is a zip."""
        return self.download.endswith(".zip")


@dataclass(frozen=True)
class FileState:
    """What :func:`states` found out about one file."""

    file: str
    path: Path | None
    state: State
    reason: str | None = None


@dataclass(frozen=True)
class _Found:
    root: Path
    path: Path


_TORCH = "~/.cache/torch/hub/checkpoints"
_RTMLIB = "~/.cache/rtmlib/hub/checkpoints"
_INSIGHTFACE = ("~/.insightface/models", "~/.insightface/models/antelopev2")  # its zip makes the folder twice
_OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects"
_RESEARCH_DATA = "Apache-2.0 (some training data: research only)"


def _densepose(name: str, model: str, use: str) -> WeightFile:
    """Return the entry of a model of DensePose's zoo."""
    return WeightFile(
        name=name,
        files=(f"densepose/{model.rpartition('/')[2]}",),
        url=f"https://dl.fbaipublicfiles.com/densepose/{model}",
        licence="CC BY-SA 3.0",
        commercial=True,
        use=f"DensePose's body surface from a picture: {use}",
    )


def _rtmpose(name: str, archive: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a network of OpenMMLab that rtmlib runs."""
    return WeightFile(
        name=name,
        files=(f"rtmpose/{PurePosixPath(archive).stem}.onnx",),
        url=f"{_OPENMMLAB}/{archive}",
        licence=licence,
        commercial=None,
        use=use,
        caches=(_RTMLIB,),
        member="end2end.onnx",
    )


def _insightface(name: str, detector: str, recogniser: str, use: str) -> WeightFile:
    """Return the entry of a model pack of insightface."""
    return WeightFile(
        name=f"face-{name}",
        files=(f"{name}/{detector}", f"{name}/{recogniser}"),
        url=f"https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip",
        licence="insightface models: non-commercial research only",
        commercial=False,
        use=use,
        caches=_INSIGHTFACE,
    )


def _facexlib(name: str, asset: str, use: str) -> WeightFile:
    """Return the entry of a network of facexlib."""
    return WeightFile(
        name=f"facexlib-{name}",
        files=(f"facexlib/{asset.rpartition('/')[2]}",),
        url=f"https://github.com/xinntao/facexlib/releases/download/{asset}",
        licence="not stated (code: MIT, Apache-2.0)",
        commercial=None,
        use=use,
        caches=("facexlib:weights",),
    )


def _torch_hub(name: str, url: str, licence: str, use: str) -> WeightFile:
    """Return the entry of a file whose name ends with the first digits of its sha256, as torch hub has it."""
    file = url.rpartition("/")[2]
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return WeightFile(
        name=name,
        files=(file,),
        url=url,
        licence=licence,
        commercial=None,
        use=use,
        sha256=digits,
        caches=(_TORCH,),
    )


CATALOGUE: Mapping[str, WeightFile] = {
    entry.name: entry
    for entry in (
        _densepose("densepose-r50", "densepose_rcnn_R_50_FPN_s1x/165712039/model_final_162be9.pkl", "ResNet-50"),
        _densepose("densepose-r101", "densepose_rcnn_R_101_FPN_s1x/165712084/model_final_c6ab63.pkl", "ResNet-101"),
        _densepose(
            "densepose-r50-dl",
            "densepose_rcnn_R_50_FPN_DL_s1x/165712097/model_final_0ed407.pkl",
            "ResNet-50, DeepLab head",
        ),
        _densepose(
            "densepose-r101-dl",
            "densepose_rcnn_R_101_FPN_DL_s1x/165712116/model_final_844d15.pkl",
            "ResNet-101, DeepLab head",
        ),
        _densepose(
            "densepose-r50-wc1",
            "densepose_rcnn_R_50_FPN_WC1_s1x/173862049/model_final_289019.pkl",
            "ResNet-50, with confidence",
        ),
        _densepose(
            "densepose-r50-dl-wc1",
            "densepose_rcnn_R_50_FPN_DL_WC1_s1x/173067973/model_final_b1e525.pkl",
            "ResNet-50, DeepLab head, with confidence",
        ),
        _rtmpose(
            "pose-detector",
            "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
            "Apache-2.0 (training data Human-Art: research only)",
            "finds people in a picture, for the three pose-* networks",
        ),
        _rtmpose(
            "pose-body17",
            "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
            _RESEARCH_DATA,
            "17 key points of the body",
        ),
        _rtmpose(
            "pose-body26",
            "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip",
            _RESEARCH_DATA,
            "26 key points of body and feet",
        ),
        _rtmpose(
            "pose-wholebody133",
            "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-256x192_20231122.zip",
            _RESEARCH_DATA,
            "133 key points of body, feet, face and hands",
        ),
        _insightface("antelopev2", "scrfd_10g_bnkps.onnx", "glintr100.onnx", "finds faces, face embeddings (MCLD's)"),
        _insightface("buffalo_l", "det_10g.onnx", "w600k_r50.onnx", "finds faces, face embeddings"),
        _insightface("buffalo_s", "det_500m.onnx", "w600k_mbf.onnx", "finds faces, face embeddings; small and fast"),
        _facexlib("detection", "v0.1.0/detection_Resnet50_Final.pth", "finds faces (RetinaFace)"),
        _facexlib("recognition", "v0.1.0/recognition_arcface_ir_se50.pth", "face embeddings (ArcFace)"),
        _facexlib("parsing", "v0.2.0/parsing_bisenet.pth", "regions of a face (BiSeNet)"),
        _torch_hub(
            "inception-legacy",
            "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
            "not stated (code: BSD-3-Clause)",
            "FID as this field publishes it",
        ),
        replace(
            _torch_hub(
                "inception-standard",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
                "not stated (code: Apache-2.0)",
                "FID of protocol 'standard'",
            ),
            sha256=None,  # its name keeps the digits of the file that it was made from
        ),
        _torch_hub(
            "lpips-alexnet",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "not stated (code: BSD-3-Clause)",
            "LPIPS",
        ),
    )
}


def catalogued(name: str) -> WeightFile:
    """Return the entry of the catalogue.

    Raises:
        PgpisError: There is none of this name; names the nearest.
    """
    if name not in CATALOGUE:
        raise PgpisError(f"unknown weights '{name}'{nearest(name, CATALOGUE)}", hint="pgpis weights list")
    return CATALOGUE[name]


def weights_folder() -> Path:
    """Return the folder that weights are downloaded to: ``$PGPIS_WEIGHTS``, or one below ``~/.cache``."""
    return Path(os.environ.get("PGPIS_WEIGHTS") or DEFAULT_FOLDER).expanduser()


def places(name: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders in which the files of an entry are looked for, in this order.

    Args:
        name: Of the entry.
        folder: Look here only; None: the weights folder, pgpis' own cache, then the caches of the libraries.
    """
    entry = catalogued(name)
    if folder is not None:
        return [Path(folder).expanduser()]
    caches = [place for cache in entry.caches if (place := _cache_folder(cache)) is not None]
    return list(dict.fromkeys([weights_folder(), Path(DEFAULT_FOLDER).expanduser(), *caches]))


def locate(name: str, folder: str | os.PathLike[str] | None = None) -> dict[str, Path | None]:
    """Return where each file of an entry lies, None where it is nowhere; nothing is read.

    Args:
        name: Of the entry.
        folder: Look here only, as in :func:`places`.
    """
    return {file: None if found is None else found.path for file, found in _look(catalogued(name), folder).items()}


def find(name: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the files of an entry.

    Args:
        name: Of the entry.
        folder: Look here only, as in :func:`places`. In every place a file may also lie without its subfolder.

    Raises:
        PgpisError: A file is nowhere; names every missing one, the places, and the command that gets them.
    """
    located = locate(name, folder)
    missing = [file for file, path in located.items() if path is None]
    if missing:
        looked = ", ".join(map(str, places(name, folder)))
        raise PgpisError(
            f"weights '{name}': {', '.join(missing)} not found, looked in {looked}", hint=fetch_command(name, folder)
        )
    return [path for path in located.values() if path is not None]


def expected_file(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return where the file of an entry with one file is, or is expected if it is nowhere."""
    found = next(iter(locate(name, folder).values()))
    return found if found is not None else places(name, folder)[0] / catalogued(name).files[0]


def fetch_command(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """Return the command that fetches an entry."""
    option = "" if folder is None else f" --folder {shlex.quote(str(folder))}"
    return f"pgpis weights fetch {name}{option}"


def states(name: str, folder: str | os.PathLike[str] | None = None) -> list[FileState]:
    """Read the files of an entry and compare them with what was recorded when they came, or was published.

    Args:
        name: Of the entry.
        folder: Look here only, as in :func:`places`.

    Returns:
        One for each file, in the entry's order. ``unknown checksum``: there, but nothing to compare with.

    Raises:
        PgpisError: The record of checksums is damaged.
    """
    entry = catalogued(name)
    return [_state(entry, file, found) for file, found in _look(entry, folder).items()]


def verify(name: str, folder: str | os.PathLike[str] | None = None) -> str | None:
    """Return why the files of an entry cannot be used, or None.

    Files are compared with the checksums recorded at :func:`fetch` and with published ones. Where there is neither,
    they count as fine; :func:`states` tells these apart.

    Args:
        name: Of the entry.
        folder: Look here only, as in :func:`places`.

    Raises:
        PgpisError: The record of checksums is damaged.
    """
    return next((state.reason for state in states(name, folder) if state.reason is not None), None)


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    accept_licence: bool = False,
    opener: Opener = urllib.request.urlopen,
) -> list[Path]:
    """Download the files of an entry, unless they are there.

    A download that was broken off goes on where it was. Files appear under their names when they are complete and
    their checksums, where published, are right. A damaged file is downloaded again. A zip that was put into the folder
    by hand is unpacked without network. Size and sha256 of each file are recorded in ``checksums.json``.

    Args:
        name: Of the entry.
        folder: Where to; None: :func:`weights_folder`, unless the files are in one of :func:`places` already.
        accept_licence: You keep to a licence that does not allow every use.
        opener: Opens a ``urllib.request.Request``; takes ``timeout``.

    Returns:
        The files, in the order of the entry.

    Raises:
        PgpisError: The licence was not accepted, there is no network, the download is incomplete or not what was
            published, or the folder cannot be written.
    """
    entry = catalogued(name)
    target = weights_folder() if folder is None else Path(folder).expanduser()
    try:
        paths = _already_there(entry, folder, target)
        if paths is not None:
            return paths
        if entry.commercial is False and not accept_licence:
            raise PgpisError(
                f"weights '{name}': the licence does not allow every use ({entry.licence})",
                hint=f"if you keep to it: {fetch_command(name, folder)} --accept-licence",
            )
        log.info("%s: %s to %s, licence: %s", name, entry.url, target, entry.licence)
        return _get(entry, target, _Told(entry, folder, target), opener)
    except OSError as error:  # of the disk: what the network raises is told where it is read
        raise PgpisError(
            f"weights '{name}': cannot read or write {error.filename or target}: {error.strerror or error}",
            hint="free space or choose another folder with --folder or PGPIS_WEIGHTS",
        ) from error


# looking


def _cache_folder(cache: str) -> Path | None:
    """Return a folder of a library with its environment variables applied; None: its package is not installed."""
    package, colon, inner = cache.partition(":")
    if colon:
        spec = importlib.util.find_spec(package)
        return Path(spec.origin).parent / inner if spec is not None and spec.origin else None
    library, slash, rest = cache.removeprefix("~/.cache/").partition("/")
    if library in {"torch", "rtmlib"} and slash:
        home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        return Path(os.environ.get("TORCH_HOME", f"{home}/{library}")).expanduser() / rest
    return Path(cache).expanduser()


def _look(entry: WeightFile, folder: str | os.PathLike[str] | None) -> dict[str, _Found | None]:
    found: dict[str, _Found | None] = {}
    roots = places(entry.name, folder)
    for file in entry.files:
        candidates = (_Found(root, root / name) for root in roots for name in (file, PurePosixPath(file).name))
        found[file] = next((candidate for candidate in candidates if candidate.path.is_file()), None)
        if found[file] is None and folder is None:
            found[file] = _hub_cached(entry)
    return found


def _hub_cached(entry: WeightFile) -> _Found | None:
    """Return the file in the cache of the Hugging Face hub, if it comes from there."""
    parts = urlsplit(entry.url)
    match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
    if parts.hostname != "huggingface.co" or match is None or entry.zipped:
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(match[1], match[3], revision=match[2])
    return _Found(Path(path).parent, Path(path)) if isinstance(path, str) else None


# checking


def _state(entry: WeightFile, file: str, found: _Found | None) -> FileState:
    if found is None:
        return FileState(file, None, "missing", f"{file} is missing")
    try:
        return _compare(entry, file, found)
    except OSError as error:
        return FileState(file, found.path, "damaged", f"{found.path} cannot be read: {error.strerror or error}")


def _compare(entry: WeightFile, file: str, found: _Found) -> FileState:
    recorded = _read_record(found.root).get(found.path.relative_to(found.root).as_posix())
    published = None if entry.zipped else entry.sha256
    if recorded is None and published is None:
        return FileState(file, found.path, "unknown checksum")
    if recorded is not None and found.path.stat().st_size != recorded["bytes"]:
        reason = f"{found.path} is damaged: {found.path.stat().st_size} bytes, expected {recorded['bytes']}"
        return FileState(file, found.path, "damaged", reason)
    digest = _sha256(found.path)
    for expected in (recorded["sha256"] if recorded else None, published):
        if expected is not None and not digest.startswith(expected):
            reason = f"{found.path} is damaged: its sha256 begins with {digest[:8]}, expected {expected[:8]}"
            return FileState(file, found.path, "damaged", reason)
    return FileState(file, found.path, "ok")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_record(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(value["sha256"], str) and isinstance(value["bytes"], int) for value in record.values()):
            return dict(record)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        log.debug("%s", path, exc_info=error)
    raise PgpisError(
        f"{path} is damaged: expected the sha256 and bytes of each file",
        hint="delete it, then 'pgpis weights fetch' the weights again that are not to be trusted",
    )


def _write_record(folder: Path, paths: Sequence[Path]) -> None:
    new = {
        path.relative_to(folder).as_posix(): {"sha256": _sha256(path), "bytes": path.stat().st_size} for path in paths
    }
    record = {**_read_record(folder), **new}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".record-") as temporary:
        half = Path(temporary) / RECORD
        half.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        half.replace(folder / RECORD)


# getting


@dataclass(frozen=True)
class _Told:
    """What the user is told to do where a download fails."""

    entry: WeightFile
    folder: str | os.PathLike[str] | None
    target: Path

    @property
    def again(self) -> str:
        """The command that was run."""
        accept = " --accept-licence" if self.entry.commercial is False else ""
        return fetch_command(self.entry.name, self.folder) + accept

    @property
    def by_hand(self) -> str:
        """How to do without network here."""
        return (
            f"get {self.entry.url} on another machine, put it here as {self.target / self.entry.download}, "
            f"then run '{self.again}'"
        )


def _already_there(entry: WeightFile, folder: str | os.PathLike[str] | None, target: Path) -> list[Path] | None:
    """Return the files if all are there and none is damaged; those that were put there by hand are recorded."""
    found = _look(entry, folder)
    if any(place is None for place in found.values()):
        return None
    reason = verify(entry.name, folder)
    if reason is not None:
        log.warning("%s; it is downloaded again", reason)
        return None
    known = _read_record(target)
    own = [place.path for place in found.values() if place is not None and place.root == target]
    new = [path for path in own if path.relative_to(target).as_posix() not in known]
    if new:
        _write_record(target, new)
    return [place.path for place in found.values() if place is not None]


def _get(entry: WeightFile, target: Path, told: _Told, opener: Opener) -> list[Path]:
    """Download or take what was put there by hand, check, unpack, record."""
    paths = [target / file for file in entry.files]
    goal = target / entry.download
    goal.parent.mkdir(parents=True, exist_ok=True)
    if entry.zipped and goal.is_file():  # put there by hand, and left there
        reason = _wrong_checksum(entry, goal)
        if reason is not None:
            raise PgpisError(reason, hint=f"delete it; {told.by_hand}")
        _unpack(entry, goal, target)
    else:
        part = goal.with_name(f"{goal.name}.part")
        _download(entry, part, told, opener)
        reason = _wrong_checksum(entry, part)
        if reason is not None:
            part.unlink()
            raise PgpisError(f"{reason}; it was deleted", hint=told.by_hand)
        if entry.zipped:
            try:
                _unpack(entry, part, target)
            except PgpisError:
                part.unlink()
                raise
            part.unlink()
        else:
            part.replace(goal)
    _write_record(target, paths)
    return paths


def _wrong_checksum(entry: WeightFile, path: Path) -> str | None:
    if entry.sha256 is None or (digest := _sha256(path)).startswith(entry.sha256):
        return None
    return f"{path} is not what was published: its sha256 begins with {digest[:8]}, expected {entry.sha256[:8]}"


def _download(entry: WeightFile, part: Path, told: _Told, opener: Opener) -> None:
    """Bring ``part`` to its full length, from where it is.

    Raises:
        PgpisError: The server cannot be reached, answers otherwise than expected, or breaks off.
    """
    with part.open("ab") as file:
        _claim(file, part)
        try:
            expected = _transfer(entry, file, told, opener)
        finally:
            size = file.tell()
            if size == 0:
                part.unlink()
    if size == 0 or (expected is not None and size < expected):
        raise PgpisError(
            f"weights '{entry.name}': {entry.url} broke off after {size} of {expected or 'unknown'} bytes",
            hint=f"{told.again} goes on from there",
        )
    if (expected is not None and size > expected) or (entry.size is not None and size != entry.size):
        part.unlink()
        raise PgpisError(
            f"weights '{entry.name}': {entry.url} gave {size} bytes, expected {entry.size or expected}; "
            "they were deleted",
            hint=told.by_hand,
        )


def _claim(file: BinaryIO, part: Path) -> None:
    """Keep other processes from the same download; the claim ends when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PgpisError(f"another process is downloading {part}", hint="wait until it is done") from error


def _transfer(entry: WeightFile, file: BinaryIO, told: _Told, opener: Opener) -> int | None:
    """Append what is missing to a file and return the length it should have, None if the server does not say."""
    offset = file.seek(0, os.SEEK_END)
    with _answer(entry, offset, told, opener) as response:
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        start, total = span.groups() if span else (None, None)
        if response.status == 416 and total == str(offset):
            return offset  # it was complete
        if response.status == 416 or (response.status == 206 and start != str(offset)):
            file.truncate(0)
            return _transfer(entry, file, told, opener)
        if response.status == 200:
            offset = 0
            file.truncate(0)
            file.seek(0)
        length = response.headers.get("Content-Length", "")
        expected = offset + int(length) if length.isdecimal() else None
        if total is not None and total.isdecimal():
            expected = int(total)
        with _meter(entry.name, expected, offset) as advance:
            while chunk := _read(response, entry, told):
                file.write(chunk)
                advance(len(chunk))
    return expected


def _answer(entry: WeightFile, offset: int, told: _Told, opener: Opener) -> Any:
    """Ask for the bytes from ``offset`` on and return a response of status 200, or 206 or 416 where they were asked.

    Raises:
        PgpisError: There is no other answer.
    """
    if urlsplit(entry.url).scheme not in {"http", "https"}:
        raise PgpisError(f"weights '{entry.name}': {entry.url} is no http or https address")
    headers = {"User-Agent": f"pgpis/{__version__}", **({"Range": f"bytes={offset}-"} if offset else {})}
    request = urllib.request.Request(entry.url, headers=headers)  # noqa: S310  (the scheme was checked)
    try:
        response = opener(request, timeout=TIMEOUT)
    except HTTPError as error:
        response = error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise PgpisError(
            f"weights '{entry.name}': cannot reach {urlsplit(entry.url).hostname} ({reason})", hint=told.by_hand
        ) from error
    final = urlsplit(getattr(response, "url", None) or entry.url)
    wanted = {200, 206, 416} if offset else {200}
    problem = None
    if response.status not in wanted:
        problem = f"the server answered {response.status}"
    elif final.scheme != "https" and final.scheme != urlsplit(entry.url).scheme:
        problem = f"the server sends on to {final.scheme}://{final.hostname}, which is not safe"
    elif response.status != 416 and response.headers.get("Content-Type", "").startswith("text/html"):
        problem = "the server answered with a web page"
    if problem is not None:
        response.close()
        raise PgpisError(f"weights '{entry.name}': {entry.url}: {problem}", hint=told.by_hand)
    return response


def _read(response: Any, entry: WeightFile, told: _Told) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise PgpisError(
            f"weights '{entry.name}': {entry.url} broke off ({error or type(error).__name__})",
            hint=f"{told.again} goes on from there",
        ) from error
    return chunk


@contextmanager
def _meter(doing: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    """Show bytes done, bytes a second and the time left: a bar on a terminal, else a line now and then.

    Args:
        doing: What is said beside the bar.
        total: All bytes, if known.
        done: Those that are there already.

    Yields:
        A function that is told how many more bytes have come.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn(doing), *columns, console=console) as bar:
            task = bar.add_task(doing, total=total, completed=done)
            yield lambda count: bar.advance(task, count)
        return
    begun = told = time.monotonic()
    before = done

    def tell(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        if now - told >= SECONDS_BETWEEN_LINES or done == total:
            told = now
            rate = (done - before) / max(now - begun, 1e-9)
            rest = "" if total is None else f" of {decimal(total)}, {(total - done) / rate:.0f} s left"
            log.info("%s: %s at %s/s%s", doing, decimal(done), decimal(int(rate)), rest)

    yield tell


def _unpack(entry: WeightFile, archive: Path, target: Path) -> None:
    """Take the catalogued files out of a zip, all or none.

    Raises:
        PgpisError: The zip is damaged, holds an unsafe name or a link, or lacks a file.
    """
    try:
        with (
            zipfile.ZipFile(archive) as packed,
            tempfile.TemporaryDirectory(dir=target, prefix=f".{entry.name}-") as temporary,
        ):
            _refuse_unsafe(packed, archive)
            made: list[tuple[Path, Path]] = []
            for number, file in enumerate(entry.files):
                half = Path(temporary) / str(number)
                with packed.open(_member(entry, file, packed, archive)) as source, half.open("wb") as out:
                    while chunk := source.read(CHUNK):
                        out.write(chunk)
                made.append((half, target / file))
            for half, path in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                half.replace(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PgpisError(
            f"{archive} is a damaged zip: {error}", hint=f"delete it if it is there, then get {entry.url} again"
        ) from error


def _refuse_unsafe(packed: zipfile.ZipFile, archive: Path) -> None:
    for info in packed.infolist():
        name = info.orig_filename.replace("\\", "/")
        path = PurePosixPath(name)
        outside = path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name
        if outside or stat.S_ISLNK(info.external_attr >> 16):
            raise PgpisError(
                f"{archive} holds '{info.orig_filename}': expected no links and no names that lead out of its folder",
                hint="nothing was unpacked; do not use this file",
            )


def _member(entry: WeightFile, file: str, packed: zipfile.ZipFile, archive: Path) -> zipfile.ZipInfo:
    """Return the one member of the zip that becomes ``file``, in whichever folder of the zip it lies."""
    wanted = entry.member or PurePosixPath(file).name
    members = [info for info in packed.infolist() if not info.is_dir() and PurePosixPath(info.filename).name == wanted]
    if len(members) != 1:
        raise PgpisError(
            f"{archive} holds {len(members)} files '{wanted}', expected one: it is not what was published at "
            f"{entry.url}",
            hint="nothing was unpacked",
        )
    return members[0]
