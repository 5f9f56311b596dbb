"""What a user asks to exchange between people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
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

    @property
    def of_files(self) -> tuple[Hashable, ...]:
        """What it asks for, in whatever order, and however groups and names of pictures are spelt."""
        clothes = frozenset((part, Path(name)) for group, name in self.clothes for part in parts_of(group))
        return self.identity and Path(self.identity), clothes

    @property
    def lenders(self) -> list[str]:
        """Names of the pictures that something is taken from."""
        return [name for _, name in self.clothes] + ([self.identity] if self.identity else [])

    @classmethod
    def parse(cls, identity: str | None, clothes: Sequence[str]) -> EditRequest | None:
        """Read ``GROUP=PICTURE`` words; None where nothing is asked.

        Raises:
            PgpisError: A word is spelt otherwise, or names no group.
        """
        swaps: list[tuple[str, str]] = []
        taken: dict[int, str] = {}
        for word in clothes:
            group, picture = (part.strip() for part in word.partition("=")[::2])
            if not (group and picture):
                raise PgpisError(f"clothes: '{word}' is not of the form GROUP=PICTURE", hint="e.g. upper=anna.jpg")
            for part in parts_of(group):
                if part in taken:
                    raise PgpisError(f"clothes: '{taken[part]}' and '{word}' are of the same part of the body")
                taken[part] = word
            swaps.append((group, picture))
        return cls(identity or None, tuple(swaps)) if identity or swaps else None


def merged(own: EditRequest | None, everywhere: EditRequest | None) -> EditRequest | None:
    """Return what a pair asks for by itself and, of parts of the body it says nothing of, what is asked of all."""
    if own is None or everywhere is None:
        return own or everywhere
    taken = {part for group, _ in own.clothes for part in parts_of(group)}
    rest = tuple(word for word in everywhere.clothes if taken.isdisjoint(parts_of(word[0])))
    return EditRequest(own.identity or everywhere.identity, rest + own.clothes)


def edit_name(edit: EditRequest | None) -> str:
    """Name an edit in a result's name: ``_identity-ben_upper-carla``."""
    if edit is None:
        return ""
    identity = [("identity", edit.identity)] if edit.identity else []
    return "".join(f"_{what}-{Path(name).stem}" for what, name in [*identity, *edit.clothes])


def distinct(names: Iterable[tuple[Hashable, str]]) -> dict[Hashable, str]:
    """Return names by what they are of; a name of several things gets a number from the second one on."""
    numbers: Counter[str] = Counter()
    result: dict[Hashable, str] = {}
    for owner, name in names:
        if owner not in result:
            numbers[name] += 1
            result[owner] = name if numbers[name] == 1 else f"{name}~{numbers[name]}"
    return result
