"""MCLD's layout."""

from __future__ import annotations

from typing import ClassVar

from pgpis.data.layouts.base import Layout


class MCLDLayout(Layout):
    """Flat folders ``{split}/`` with ``_densepose``, ``_texture``, ``_face`` beside them, and CSV lists.

    ``{split}_pose`` is ours, for FPDM.
    """

    name = "mcld"
    description = "MCLD ({split}/ {split}_densepose/ {split}_texture/ {split}_face/, {split}.csv)"
    list_names = ("{split}.csv",)
    folders: ClassVar = {"picture": ("{split}",), "keypoints": ("{split}_pose",)}
    prepared = "{split}_{option}"
    published = ("picture", "iuv", "texture", "face")
    any_suffix = False
    points_frame = None  # MCLD itself reads none
