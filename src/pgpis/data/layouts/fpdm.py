"""FPDM's layout."""

from __future__ import annotations

from typing import ClassVar

from pgpis.data.layouts.base import Layout, inside
from pgpis.errors import PgpisError


class FPDMLayout(Layout):
    """Trees ``img/ pose/ pose_img/`` and JSON lists; ``densepose/ texture/ face/`` are ours, for MCLD."""

    name = "fpdm"
    description = "FPDM (img/ pose/ pose_img/, {split}_pairs_data.json)"
    list_names = ("{split}_pairs_data.json",)
    folders: ClassVar = {"picture": ("img",), "keypoints": ("pose",), "drawn": ("pose_img",)}
    prepared = "{option}"
    published = ("picture", "keypoints", "drawn")
    is_flat = any_suffix = False

    def _listed(self, key: str) -> str:
        return f"./img/{key}"

    def _key(self, where: str, value: str) -> str:
        name = inside(where, value)
        if len(name.parts) < 2 or name.parts[0] != "img":
            raise PgpisError(f"{where}: '{value}' is not of the form './img/...'")
        return "/".join(name.parts[1:])
