"""The published layouts of DeepFashion, and which of them a folder has."""

from __future__ import annotations

from pathlib import Path

from pgpis.data.layouts.base import Layout, Split
from pgpis.data.layouts.folders import FPDMLayout, MCLDLayout, NTEDLayout, PCDMLayout
from pgpis.data.layouts.patn import PATNLayout
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError
from pgpis.files import is_file

__all__ = ["LAYOUTS", "FPDMLayout", "Layout", "LayoutName", "MCLDLayout", "Split", "layout_named", "layouts_in"]

LAYOUTS: tuple[type[Layout], ...] = (FPDMLayout, MCLDLayout, PATNLayout, NTEDLayout, PCDMLayout)


def layout_named(name: str) -> type[Layout]:
    """Return the layout of a name."""
    return next(layout for layout in LAYOUTS if layout.name == name)


def layouts_in(root: Path) -> list[type[Layout]]:
    """Return the layouts that a folder has."""
    return [layout for layout in LAYOUTS if layout.is_in(root)]


def layouts_of(root: Path, split: Split, name: str = "auto") -> list[Layout]:
    """Return the layouts that a folder has, that of ``name`` first.

    ``auto``: in the order of ``LAYOUTS``, but first those that have this list, and of these the ones with pictures.

    Raises:
        PgpisError: The folder is missing, or has no layout.
    """
    if not root.is_dir():
        raise PgpisError(f"DeepFashion folder not found: {root}", hint="set data.*.init_args.root to your folder")
    first = [] if name == "auto" else [layout_named(name)]
    layouts = list(dict.fromkeys([*first, *layouts_in(root)]))
    if not layouts:
        known = " or ".join(layout.list_names[0].format(split=split) for layout in LAYOUTS)
        raise PgpisError(f"list of pairs not found in {root}: {known}", hint=f"pgpis data check {root}")
    made = [layout(root, split) for layout in layouts]
    if name == "auto" and len(made) > 1:
        made.sort(key=lambda one: (one.split != split, not is_file(one.list_path), not one.has("picture")))
    return made
