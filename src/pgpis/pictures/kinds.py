"""The kinds of files that belong to a picture: one registry for data sets, their check, ``pgpis prepare`` and messages.

A new kind is two places: its registration, here or in a module of your own, and the code that reads or makes it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pgpis.errors import PgpisError, nearest

Role = Literal["source", "target"]
"""Of a picture in a pair."""
Inpainting = Literal["exact", "fast"]
"""How textures fill the holes between what is seen: as published, or a tenth of the time and other colours there."""


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    It lies in a folder that is called after ``option``: in data sets as their layouts say, beside ``photos/anna.jpg``
    as ``photos_OPTION/anna.SUFFIX``.
    """

    name: str
    """What models, data sets and ``on_missing`` call it."""
    label: str
    """What messages call one of them."""
    reader: str | Callable[[Path], Any]
    """Reads one file and refuses what is not of this kind; as text ``module:function``, imported for the first file."""
    suffix: str | None = None
    """In data sets; None: that of the picture."""
    option: str = ""
    """What ``pgpis prepare`` and the names of folders call it; ``name`` by default."""
    photo_suffix: str = ""
    """Beside photographs; ``suffix`` by default."""
    of: Role | None = None
    """Which picture of a pair it is made of, where a model may read it."""
    is_pose: bool = False
    """Whether it is a form of the pose, which a model asks for as ``pose``, and not by this name."""
    is_optional: bool = False
    """Whether pictures may show no such thing."""
    is_file: bool = True
    """Whether data sets hold it in files; else it is drawn when it is asked for, and no folder lacks it."""
    without: str = ""
    """What the check of a data set says where there are none; empty: they are needed."""
    needs: str | None = None
    """Option of the kind that is made before, and read in making this one."""
    settings: tuple[str, ...] | None = None
    """Settings of ``pgpis prepare`` that decide what is in it; None: ``pgpis prepare`` does not make it."""
    size: tuple[int, int] | None = None
    """(width, height) of the picture that it is; None: any."""
    command: str = ""
    """What makes it; that of ``pgpis prepare`` by default."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "option", self.option or self.name)
        object.__setattr__(self, "photo_suffix", self.photo_suffix or self.suffix or "")

    @property
    def plural(self) -> str:
        """What messages call several of them."""
        return self.label if self.label.endswith("s") else f"{self.label}s"

    @property
    def what(self) -> str:
        """What messages call a missing file."""
        return f"{self.label} ({self.suffix})"

    @property
    def chain(self) -> tuple[str, ...]:
        """Options of all kinds that are made for it, in order."""
        return (self.option,) if self.needs is None else (self.needs, self.option)

    def read(self, path: Path) -> Any:
        """Read a file.

        Raises:
            PgpisError: It is missing, damaged or of another kind.
        """
        reader: Any = pkgutil.resolve_name(self.reader) if isinstance(self.reader, str) else self.reader
        return reader(path)


_KINDS: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    """Make kinds known; one of the same name is replaced."""
    _KINDS.update({kind.name: kind for kind in kinds})


def all_kinds() -> tuple[Kind, ...]:
    """Return all kinds in the order of their registration."""
    return tuple(_KINDS.values())


def kind_of(name: str) -> Kind:
    """Return a kind by its name or option.

    Raises:
        PgpisError: There is no such kind.
    """
    kind = _KINDS.get(name) or next((kind for kind in all_kinds() if kind.option == name), None)
    if kind is None:
        raise PgpisError(f"no kind of file is called '{name}'{nearest(name, _KINDS)}")
    return kind


def conditions(origins: Iterable[str] | None = None) -> list[Kind]:
    """Return the kinds that models ask for by name, beside pictures and poses.

    Args:
        origins: Those of them that are asked for here; None: all that are files.
    """
    named = None if origins is None else set(origins)
    return [k for k in all_kinds() if k.of and not k.is_pose and (k.is_file if named is None else k.name in named)]


def what_makes(*kinds: Kind) -> str:
    """Return the command that makes files of all these kinds, or several where one cannot; empty for no kinds."""
    options = dict.fromkeys(option for kind in kinds if not kind.command for option in kind.chain)
    prepare = [f"pgpis prepare FOLDER --conditions {','.join(options)}"] if options else []
    return "; ".join([*prepare, *dict.fromkeys(kind.command for kind in kinds if kind.command)])


def prepared() -> tuple[str, ...]:
    """Return the options of all kinds that ``pgpis prepare`` makes; each comes after what it needs."""
    return tuple(kind.option for kind in all_kinds() if kind.settings is not None)


_OF_MCLD = "MCLD cannot be trained or tested"
_OF_MCLD_RENDERED = "MCLD with rendered_texture cannot be trained or tested"

register(
    Kind("picture", "picture", "pgpis.pictures.images:read_image"),
    Kind("keypoints", "key points", "pgpis.pictures.keypoint_files:read_keypoints", ".txt", "pose", ".json",
         of="target", is_pose=True, settings=("pose", "skeleton", "pose_threshold", "person")),
    Kind("drawn", "drawn pose", "pgpis.pictures.images:read_drawn_pose", None, "pose_img",
         of="target", is_pose=True, without="pose=drawn, the official test setting, is not available"),
    Kind("iuv", "DensePose map", "pgpis.pictures.iuv:read_iuv", ".png", "densepose", of="target", without=_OF_MCLD,
         settings=("densepose", "densepose_weights", "densepose_config", "overflow", "person")),
    Kind("texture", "texture map", "pgpis.pictures.images:read_image", ".png", of="source", without=_OF_MCLD,
         needs="densepose", settings=("texture_mask", "inpaint"), size=(512, 512)),
    Kind("surface", "surface", "pgpis.pictures.images:read_image", ".png", of="source", without=_OF_MCLD_RENDERED,
         needs="densepose", settings=(), size=(1024, 512)),
    Kind("backdrop", "backdrop", "pgpis.pictures.images:read_image", ".png", of="source", without=_OF_MCLD_RENDERED,
         settings=("person",)),
    Kind("face", "face embedding", "pgpis.pictures.arrays:read_face", ".npy", of="source", is_optional=True,
         without="MCLD needs on_missing.face=drop", settings=("face", "upscale_faces", "person")),
    Kind("face_mask", "face mask", "pgpis.pictures.images:read_image", ".png", is_optional=True,
         settings=("face", "person")),
)  # fmt: skip
