"""The published layouts of DeepFashion, and which of them a folder has."""

from __future__ import annotations

from pathlib import Path

from pgpis.data.layouts.base import Kind, Layout, Split
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
    "Kind",
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


def layouts_of(root: Path, split: Split, wanted: str = "auto") -> list[Layout]:
    """Return the layouts that a folder has, the one whose list is read first.

    Args:
        root: Folder of the data set.
        split: Which list.
        wanted: Name of the layout whose list is read; ``auto``: the first that is found.

    Raises:
        PgpisError: The folder is missing, or has no (or not the wanted) layout.
    """
    if not root.is_dir():
        raise PgpisError(f"DeepFashion folder not found: {root}", hint="set data.*.init_args.root to your folder")
    found = [layout for layout in LAYOUTS if layout.found(root)]
    if wanted != "auto":
        first = next(layout for layout in LAYOUTS if layout.name == wanted)
        found = [first, *(layout for layout in found if layout is not first)]
    if not found:
        known = " or ".join(layout.list_names[0].format(split=split) for layout in LAYOUTS)
        raise PgpisError(f"list of pairs not found in {root}: {known}", hint=f"pgpis data check {root}")
    return [layout(root, split) for layout in found]
