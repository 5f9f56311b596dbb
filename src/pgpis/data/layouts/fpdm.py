"""FPDM's layout."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import ClassVar

from pgpis.data.layouts.base import KeyPair, Kind, Layout, is_inside
from pgpis.errors import PgpisError


class FPDMLayout(Layout):
    """Trees ``img/ pose/ pose_img/`` and JSON lists; ``densepose/ texture/ face/`` are ours, for MCLD."""

    name = "fpdm"
    description = "FPDM (img/ pose/ pose_img/, {split}_pairs_data.json)"
    list_names = ("{split}_pairs_data.json",)

    extra: ClassVar[frozenset[Kind]] = frozenset(["iuv", "texture", "face"])
    FOLDERS: ClassVar[dict[Kind, tuple[str, str | None]]] = {
        "picture": ("img", None),
        "keypoints": ("pose", ".txt"),
        "drawn": ("pose_img", None),
        "iuv": ("densepose", ".png"),
        "texture": ("texture", ".png"),
        "face": ("face", ".npy"),
    }

    def read_pairs(self) -> list[KeyPair]:
        """Read the list of ``{"source_image", "target_image"}``."""
        entries = enumerate(self._read_entries())
        return [(self._key(number, source), self._key(number, target)) for number, (source, target) in entries]

    def _key(self, number: int, value: str) -> str:
        name = PurePosixPath(value.replace("\\", "/"))
        if not is_inside(name) or len(name.parts) < 2 or name.parts[0] != "img":
            raise PgpisError(f"{self.list_path}: pair {number}: '{value}' is not of the form './img/...'")
        return "/".join(name.parts[1:])

    def folder(self, kind: Kind) -> str | None:
        """Return the folder of a kind of file."""
        return self.FOLDERS[kind][0] if kind in self.FOLDERS else None

    def path(self, key: str, kind: Kind) -> Path:
        """Return ``ROOT/FOLDER/KEY`` with the kind's suffix."""
        folder, suffix = self.FOLDERS[kind]
        path = self.root / folder / key
        return path if suffix is None else path.with_suffix(suffix)
