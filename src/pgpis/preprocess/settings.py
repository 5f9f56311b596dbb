"""What ``pgpis prepare`` makes, and with which tools."""

from __future__ import annotations

import functools
import importlib
import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pgpis.devices import check_device_name, usual_device
from pgpis.errors import PgpisError, check_range
from pgpis.files import sha256_of
from pgpis.pictures.kinds import Inpainting, kind_of
from pgpis.weight_files import locate

log = logging.getLogger(__name__)

INSTALL = "pip install 'facexlib>=0.3' 'insightface>=2.0' 'onnxruntime>=1.20' 'rtmlib>=0.0.15'"
"""What the extra ``prepare`` installs; pgpis itself is not in an index from which it could be asked for."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the picture."""
DenseposeName = Literal["r50", "r101", "r50-dl", "r101-dl", "r50-wc1", "r50-dl-wc1", "detectron2", "lifter"]
PoseName = Literal["body17", "body26", "wholebody133", "blazepose"]
FaceName = Literal["antelopev2", "buffalo_l", "buffalo_s", "facexlib"]
SkeletonName = Literal["body18", "wholebody133"]
HOW = {"weights", "device", "dtype", "batch_size"}
"""Settings that any run may have: they say where the files of nets are, and how these run."""
PERSON_HINT = (
    "; --prepare-person counts in sources and driving pictures alike: 'pgpis prepare DRIVING --person N' makes the "
    "poses alone, for --poses"
)
USUAL = {"pose": ("pose-detector", "pose-wholebody133"), "densepose": ("densepose-r101-dl",)}
"""The weights of the tools that are taken where they are on disk and none is chosen; else one is that ships."""


def box_of(numbers: Iterable[Any]) -> Box:
    """Return the first four numbers, of a net's array say, as a box."""
    left, top, right, bottom = (float(number) for number in itertools.islice(numbers, 4))
    return left, top, right, bottom


class NothingFoundError(PgpisError):
    """The picture can be read, and shows no person or no face."""


def refuse_idle(chosen: Iterable[str], made: Iterable[str], prefix: str = "--") -> None:
    """Refuse settings on which nothing depends that is made; those that say where and how fast it is are none.

    Args:
        chosen: Names of the settings that somebody gave.
        made: Conditions, maybe none.
        prefix: How the options begin.

    Raises:
        PgpisError: Names the options, and what is made.
    """
    chains = {condition: kind_of(condition).chain for condition in made}
    deciding = {name for chain in chains.values() for option in chain for name in kind_of(option).settings or ()}
    if idle := sorted({*chosen} - deciding - HOW):
        flags = ", ".join(prefix + name.replace("_", "-") for name in idle)
        what = ", ".join(dict.fromkeys(option for chain in chains.values() for option in chain))
        reason = f"what is made ({what}) does not depend on that" if what else "nothing is made of photographs"
        raise PgpisError(f"{flags} would do nothing: {reason}", hint=f"leave {flags} out")


def refuse_absent(what: str, count: int, person: int) -> None:
    """Raise where a picture does not show the person or face that was asked for.

    Raises:
        NothingFoundError: It shows none at all.
        PgpisError: It shows others; with another ``person`` there would be one.
    """
    if not count:
        raise NothingFoundError(f"no {what} found")
    if person >= count:
        raise PgpisError(f"{count} {what} found, --person {person} is not among them")


@dataclass(frozen=True)
class PrepareSettings:
    """The tools and their settings; equal settings give equal files."""

    weights: Path | None = None
    """Folder of weights; None: $PGPIS_WEIGHTS, ~/.cache/pgpis/weights, libraries' caches."""
    device: str | None = None
    """Where the nets run: ``cpu``, ``cuda``, ``cuda:1`` [a GPU if there is one]."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """``bf16`` is faster on a GPU and moves some pixels of the maps."""
    batch_size: int = 1
    """Pictures that DensePose sees at once. Above 1 the last bits, and with them some pixels, depend on it."""
    person: int | None = None
    """Of several people: the largest (0), the second largest (1), and so on. None: the largest for pose and face, the
    most certain one for DensePose, as MCLD does."""
    densepose: DenseposeName | None = None
    """DensePose's net, or ``lifter``, which ships with pgpis [r101-dl where its weights are, else lifter]."""
    densepose_weights: Path | None = None
    """The net's own file instead of the catalogue's."""
    densepose_config: Path | None = None
    """detectron2's configuration, for ``detectron2``."""
    overflow: Literal["clamp", "wrap"] = "clamp"
    """Coordinates outside [0, 1]: cut, or wrapped around as in MCLD's released files."""
    pose: PoseName | None = None
    """Pose model; ``blazepose`` ships with pgpis [wholebody133 where its weights are, else blazepose]."""
    skeleton: SkeletonName = "body18"
    """Points that are written; 133 need the estimator ``wholebody133`` or ``blazepose``."""
    pose_threshold: float = 0.3
    """Confidence below which a point counts as not seen."""
    face: FaceName = "antelopev2"
    """Face models."""
    upscale_faces: int = 112
    """Faces smaller than this many pixels are enlarged before they are embedded; 0: never, as in MCLD's files."""
    texture_mask: Path | None = None
    """MCLD's ``texture_bg_200.png``; None: the chart mask that pgpis draws itself."""
    inpaint: Inpainting = "exact"
    """How a texture fills the holes between what is seen: as published, or more than ten times as fast with other
    colours there."""

    def __post_init__(self) -> None:
        if self.skeleton == "wholebody133" and self.pose not in (None, "wholebody133", "blazepose"):
            raise PgpisError(f"--skeleton wholebody133 needs --pose wholebody133 or blazepose, not {self.pose}")
        if self.densepose == "detectron2" and (self.densepose_weights is None or self.densepose_config is None):
            raise PgpisError("--densepose detectron2 needs --densepose-weights FILE and --densepose-config FILE")
        check_device_name(self.device)
        check_range("--person", self.person, 0, whole=True, optional=True)
        check_range("--batch-size", self.batch_size, 1, whole=True)
        check_range("--pose-threshold", self.pose_threshold, 0)
        check_range("--upscale-faces", self.upscale_faces, 0, 4096, whole=True)

    def replaced(self, condition: str) -> list[str]:
        """Return the weights that are not on disk, for which a tool is taken that ships; none where it was chosen."""
        is_chosen = getattr(self, condition, "") is not None
        if is_chosen or (condition == "densepose" and self.densepose_weights is not None):
            return []
        return [name for name in USUAL[condition] if None in locate(name, self.weights).values()]

    def settled(self) -> PrepareSettings:
        """Choose what was not: all processes and machines of a job must use the same tools."""
        return replace(
            self,
            pose=self.pose or ("blazepose" if self.replaced("pose") else "wholebody133"),
            densepose=self.densepose or ("lifter" if self.replaced("densepose") else "r101-dl"),
        )

    @property
    def chosen_device(self) -> str:
        """Where the nets run; to look for a GPU loads torch, which settings do without."""
        return self.device or usual_device()

    @property
    def onnx_device(self) -> str:
        """Where ONNX models can run: the CPU, with a warning, where the runtime does not support the GPU."""
        device = self.chosen_device
        if device.startswith("cuda"):
            try:
                providers = importlib.import_module("onnxruntime").get_available_providers()
            except ImportError:
                return device  # the message that it is missing comes from the library that needs it
            if "CUDAExecutionProvider" not in providers:
                remedy = "pip install onnxruntime-gpu in place of onnxruntime"
                log.warning(
                    "this onnxruntime does not support the GPU; poses and faces are detected on the CPU: %s", remedy
                )
                return "cpu"
        return device

    def own(self, condition: str) -> str:
        """Spell the options that decide one kind of file, but not what it is made of; files by their hashes."""
        values = {name: getattr(self.settled(), name) for name in kind_of(condition).settings or ()}
        return " ".join(
            f"--{name.replace('_', '-')} {_hash_of(value)[:16] if isinstance(value, Path) else value}"
            for name, value in values.items()
            if value is not None
        )

    def choices(self, condition: str) -> dict[str, Any]:
        """Return the settings that decide one kind of file, and what that is made of."""
        kinds, settled = map(kind_of, reversed(kind_of(condition).chain)), self.settled()
        return {name: getattr(settled, name) for kind in kinds for name in kind.settings or ()}

    def tools(self, condition: str) -> str:
        """Describe what decides one kind of file beside the picture."""
        values = self.choices(condition)
        return str(values | {name: _hash_of(value) for name, value in values.items() if isinstance(value, Path)})


@functools.lru_cache(maxsize=16)
def _hash_of(path: Path) -> str:
    return sha256_of(path) if path.is_file() else str(path)


@dataclass(frozen=True)
class PictureFiles:
    """One picture, and where its conditions go."""

    name: str
    """For records: relative to the folder that was asked for."""
    picture: Path
    outputs: tuple[tuple[str, Path], ...]
    content: str = ""
    """Hash of the picture."""
    stale: frozenset[str] = frozenset()
    """Conditions whose files were made of another picture or map: a new one replaces them, or they go."""
    held: frozenset[str] = frozenset()
    """Conditions that another layout of the data set has, in its own way: they count as there, and stay as they are."""

    def path(self, condition: str) -> Path:
        """Return where a condition goes."""
        return dict(self.outputs)[condition]


@dataclass(frozen=True)
class Outcome:
    """What became of one condition of one picture."""

    name: str
    condition: str
    reason: str | None = None
    """Why there is no file; None: it was made."""
    found: bool = True
    """False where the picture shows no such thing, so that trying again would change nothing."""
    box: Box | None = None
    """Where in the picture the person or face is."""
    content: str = ""
    """Hash of the picture."""
    doubt: str = ""
    """Why what was made is uncertain; empty where it is not."""
    options: str = ""
    """What it was made with, see :meth:`PrepareSettings.own`; empty in records of earlier versions."""
    map: str = ""
    """Hash of the map that it was made of; empty where it needs none, and in records of earlier versions."""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Outcome:
        """Read it from a line of a record; raises anything where that is damaged."""
        box = content["box"]
        return cls(
            str(content["name"]),
            content["condition"],
            content["reason"],
            bool(content["found"]),
            None if box is None else box_of([box[side] for side in range(4)]),
            str(content.get("content", "")),
            str(content.get("doubt", "")),
            str(content.get("options", "")),
            str(content.get("map", "")),
        )

    def blocks(self, condition: str) -> Outcome:
        """Return the outcome of what this one, a failure, was needed for."""
        return Outcome(self.name, condition, f"no {self.condition}: {self.reason}", self.found, content=self.content)
