"""Names of layouts, of an LMDB's file, of a picture in DeepFashion (tree, flat, FPDM's results); paths in recipes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from unicodedata import normalize

from pgpis.errors import PgpisError

if TYPE_CHECKING:
    PathText: TypeAlias = str | os.PathLike[str]
else:
    PathText = str
    """A path in a recipe. For the config system a text alone: of two types it takes the folder ``[a]`` for a list."""

LayoutName = Literal["fpdm", "mcld", "patn", "nted", "pcdm"]
DATABASE = "data.mdb"
"""An LMDB of pictures: ``ROOT/512-352/data.mdb/KEY.png`` is an entry of it."""

TREE = re.compile(r"(MEN|WOMEN)/([^/]+)/id_(\d{8})/(\d\d)_(\d)_(\w+)")
FLAT = re.compile(r"fashion(MEN|WOMEN)(\w+?)id(\d{8})(\d\d)_(\d)(\w+)")


def alike(name: str) -> str:
    """Return what names have in common that some file systems take for one.

    These differ in upper and lower case, or have ``é`` as one character (NFC) or as two (NFD), as macOS archives it.
    """
    return normalize("NFC", name).casefold()


def as_on_disk(path: Path) -> Path:
    """Return a path with its accents, which are one character or two, as the disk has them; what is not there stays."""
    if os.fspath(path).isascii() or os.path.lexists(path):
        return path
    found = Path()
    for part in path.parts:
        spellings = [found / part, *(found / normalize(form, part) for form in ("NFC", "NFD"))]
        found = next((spelling for spelling in spellings if os.path.lexists(spelling)), spellings[0])
    return found


def names_in(folder: Path) -> frozenset[str]:
    """List the names of all files in a folder, links to files included; none where there is none that may be read."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def _respelt(name: str, pattern: re.Pattern[str], template: str, example: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    match = pattern.fullmatch(stem)
    if match is None or not dot:
        raise PgpisError(f"'{name}' is not a name of DeepFashion that is spelt like '{example}'")
    return f"{template.format(*match.groups())}.{suffix}"


def tree_to_flat(name: str) -> str:
    """``WOMEN/Shorts/id_00005138/03_4_full.jpg`` to ``fashionWOMENShortsid0000513803_4full.jpg``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    example = "WOMEN/Blouses_Shirts/id_00003372/03_3_back.jpg"
    return _respelt(name, TREE, "fashion{}{}id{}{}_{}{}", example)


def flat_to_tree(name: str) -> str:
    """``fashionWOMENShortsid0000513803_4full.jpg`` to ``WOMEN/Shorts/id_00005138/03_4_full.jpg``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    return _respelt(name, FLAT, "{}/{}/id_{}/{}_{}_{}", "fashionWOMENBlouses_Shirtsid0000337203_3back.jpg")


def tree_to_result(name: str) -> str:
    """Join the folders of a tree name: how FPDM's result pictures spell it."""
    return name.replace("/", "")


def garment_of(name: str) -> str:
    """Return what the tree names of all pictures of a garment on its model begin with: ``.../id_00003372/03``.

    Of names of another spelling it is the folder; a picture in none stands for itself.
    """
    match = TREE.match(name)
    return name[: match.end(4)] if match else name.rpartition("/")[0] or name


def pair_name(source: str, target: str) -> str:
    """Return the name of the pair of two tree names; with ``.png`` it is FPDM's name of the result."""
    return f"{tree_to_result(source)}_2_{tree_to_result(target)}"
