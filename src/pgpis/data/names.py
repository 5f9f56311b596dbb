"""Names: of the published layouts, and DeepFashion's three spellings of a picture's: tree, flat, FPDM's results."""

from __future__ import annotations

import re
from typing import Literal

from pgpis.errors import PgpisError

LayoutName = Literal["fpdm", "mcld", "patn", "nted", "pcdm"]

TREE = re.compile(
    r"(?P<group>MEN|WOMEN)/(?P<category>[^/]+)/id_(?P<id>\d{8})/(?P<item>\d\d)_(?P<view>\d)_(?P<rest>\w+)"
)
FLAT = re.compile(
    r"fashion(?P<group>MEN|WOMEN)(?P<category>\w+?)id(?P<id>\d{8})(?P<item>\d\d)_(?P<view>\d)(?P<rest>\w+)"
)
RESULT = re.compile(r"(?P<group>MEN|WOMEN)(?P<category>.+)id_(?P<id>\d{8})(?P<item>\d\d)_(?P<view>\d)_(?P<rest>\w+)")
SPELLINGS = {
    "tree": (TREE, "{group}/{category}/id_{id}/{item}_{view}_{rest}", "WOMEN/Blouses_Shirts/id_00003372/03_3_back.jpg"),
    "flat": (
        FLAT,
        "fashion{group}{category}id{id}{item}_{view}{rest}",
        "fashionWOMENBlouses_Shirtsid0000337203_3back.jpg",
    ),
    "result": (RESULT, "", "WOMENBlouses_Shirtsid_0000337203_3_back.jpg"),
}
"""Pattern, template and example of each."""


def _respelt(name: str, of: str, to: str) -> str:
    pattern, _, example = SPELLINGS[of]
    stem, dot, suffix = name.rpartition(".")
    match = pattern.fullmatch(stem)
    if match is None or not dot:
        raise PgpisError(f"'{name}' is not a {of} name of DeepFashion; expected like '{example}'")
    return f"{SPELLINGS[to][1].format(**match.groupdict())}.{suffix}"


def tree_to_flat(name: str) -> str:
    """``WOMEN/Shorts/id_00005138/03_4_full.jpg`` to ``fashionWOMENShortsid0000513803_4full.jpg``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    return _respelt(name, "tree", "flat")


def flat_to_tree(name: str) -> str:
    """``fashionWOMENShortsid0000513803_4full.jpg`` to ``WOMEN/Shorts/id_00005138/03_4_full.jpg``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    return _respelt(name, "flat", "tree")


def tree_to_result(name: str) -> str:
    """Join the folders of a tree name: how FPDM's result pictures spell it."""
    return name.replace("/", "")


def result_to_tree(name: str) -> str:
    """``WOMENShortsid_0000513803_4_full.jpg`` to ``WOMEN/Shorts/id_00005138/03_4_full.jpg``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    return _respelt(name, "result", "tree")


def pair_name(source: str, target: str) -> str:
    """Return the name of the pair of two tree names; with ``.png`` it is FPDM's name of the result."""
    return f"{tree_to_result(source)}_2_{tree_to_result(target)}"


def split_pair_name(name: str) -> tuple[str, str]:
    """Return the tree names of source and target of a result picture, e.g. ``A.jpg_2_B.jpg.png``.

    Raises:
        PgpisError: The name is not spelt like that.
    """
    source, separator, target = name.removesuffix(".png").partition(".jpg_2_")
    if not separator:
        raise PgpisError(f"'{name}' is not the name of a result of FPDM; expected like 'SOURCE.jpg_2_TARGET.jpg.png'")
    return result_to_tree(f"{source}.jpg"), result_to_tree(target)
