"""The published layouts of DeepFashion, and which of them a folder has."""

from __future__ import annotations

from pathlib import Path

from pgpis.data.layouts.base import Layout, Split
from pgpis.data.layouts.fpdm import FPDMLayout
from pgpis.data.layouts.mcld import MCLDLayout
from pgpis.data.layouts.nted import NTEDLayout
from pgpis.data.layouts.patn import PATNLayout
from pgpis.data.layouts.pcdm import PCDMLayout
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError

__all__ = [
    "LAYOUTS",
    "FPDMLayout",
    "Layout",
    "LayoutName",
    "MCLDLayout",
    "NTEDLayout",
    "PATNLayout",
    "PCDMLayout",
    "Split",
    "layouts_of",
]

LAYOUTS: tuple[type[Layout], ...] = (FPDMLayout, MCLDLayout, PATNLayout, NTEDLayout, PCDMLayout)


def layout_named(name: str) -> type[Layout]:
    """Return the layout of a name."""
    return next(layout for layout in LAYOUTS if layout.name == name)


def layouts_in(root: Path) -> list[type[Layout]]:
    """Return the layouts that a folder has."""
    return [layout for layout in LAYOUTS if layout.is_in(root)]


def layouts_of(root: Path, split: Split, name: str = "auto") -> list[Layout]:
    """Return the layouts that a folder has, the one whose list is read first.

    Args:
        root: Folder of the data set.
        split: Which list.
        name: Name of the layout whose list is read; ``auto``: the first that is found.

    Raises:
        PgpisError: The folder is missing, or has no layout.
    """
    if not root.is_dir():
        raise PgpisError(f"DeepFashion folder not found: {root}", hint="set data.*.init_args.root to your folder")
    layouts = layouts_in(root)
    if name != "auto":
        first = layout_named(name)
        layouts = [first, *(layout for layout in layouts if layout is not first)]
    if not layouts:
        known = " or ".join(layout.list_names[0].format(split=split) for layout in LAYOUTS)
        raise PgpisError(f"list of pairs not found in {root}: {known}", hint=f"pgpis data check {root}")
    return [layout(root, split) for layout in layouts]
