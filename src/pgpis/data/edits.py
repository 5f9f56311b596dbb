"""What a user asks to exchange between people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgpis.errors import PgpisError
from pgpis.pictures.uv_texture import parts_of


@dataclass(frozen=True)
class EditRequest:
    """An identity, or clothes by group of body parts, as names of pictures among the sources."""

    identity: str | None = None
    clothes: tuple[tuple[str, str], ...] = ()
    """(group of body parts, name of a picture)."""

    @classmethod
    def parse(cls, identity: str | None, clothes: Sequence[str]) -> EditRequest | None:
        """Read ``GROUP=PICTURE`` words; None where nothing is asked.

        Raises:
            PgpisError: A word is spelt otherwise, or names no group.
        """
        swaps = []
        for word in clothes:
            group, picture = (part.strip() for part in word.partition("=")[::2])
            if not (group and picture):
                raise PgpisError(f"clothes: '{word}' is not of the form GROUP=PICTURE", hint="e.g. upper=anna.jpg")
            parts_of(group)
            swaps.append((group, picture))
        return cls(identity or None, tuple(swaps)) if identity or swaps else None


def edit_name(edit: EditRequest | None) -> str:
    """Name an edit in a result's name: ``_identity-ben_upper-carla``."""
    if edit is None:
        return ""
    identity = [("identity", edit.identity)] if edit.identity else []
    return "".join(f"_{what}-{Path(name).stem}" for what, name in [*identity, *edit.clothes])
