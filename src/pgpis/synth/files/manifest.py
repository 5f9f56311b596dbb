"""The manifest of a data set: one line per picture, with everything needed to draw it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pgpis.errors import PgpisError
from pgpis.synth.figure.description import from_json
from pgpis.synth.scene.render import Picture, draw
from pgpis.synth.scene.scene import Scene

Layout = Literal["deepfashion", "phoenix"]
MANIFEST = "manifest.jsonl"
MOST_SIDE = 4096
"""Rows or columns of a picture; drawing takes some hundred bytes for each pixel."""
PHOTOGRAPHED = ("room", "film")
"""What a scene has only where it is to look photographed."""


@dataclass(frozen=True)
class Entry:
    """One picture of a data set."""

    name: str
    """Its file, relative to the data set's folder."""
    layout: Layout
    split: str
    """``train``, ``dev`` (phoenix) or ``test``."""
    person: int
    """Number of the person, or of the signer in ``phoenix``."""
    view: int
    """Number of the view or frame, from 0."""
    size: tuple[int, int]
    """Height and width."""
    values: dict[str, Any]
    """The scene as JSON."""

    @property
    def scene(self) -> Scene:
        """The scene.

        Raises:
            PgpisError: It is not a scene of this version.
        """
        try:
            return from_json(Scene, self.values)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise PgpisError(
                f"the manifest's scene of {self.name} cannot be read ({error})",
                hint="it was written by another version of pgpis: draw the data set anew",
            ) from error

    def draw(self) -> Picture:
        """Draw the picture and its labels again."""
        return draw(self.scene, *self.size)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's line as a value."""
        return {"scene" if name == "values" else name: value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Any) -> Entry:
        """Return what :meth:`to_json` wrote; KeyError, TypeError, ValueError: it is not a line of a manifest."""
        height, width = value["size"]
        if not (0 < int(height) <= MOST_SIDE and 0 < int(width) <= MOST_SIDE):
            raise ValueError(f"its size is {value['size']}, expected 1 to {MOST_SIDE} rows and columns")
        return cls(
            str(value["name"]),
            value["layout"],
            value["split"],
            int(value["person"]),
            int(value["view"]),
            (int(height), int(width)),
            dict(value["scene"]),
        )


def plain(scene: Scene) -> dict[str, Any]:
    """Return a scene as JSON, its numbers as they will be read from a file.

    A scene fresh from sampling may hold numpy's numbers, with which the same formula may round differently. What is
    drawn must therefore be drawn from these values: see :attr:`Entry.scene`.
    """
    values: dict[str, Any] = json.loads(json.dumps(asdict(scene)))
    return {name: value for name, value in values.items() if value is not None or name not in PHOTOGRAPHED}


def read_manifest(root: Path) -> list[Entry]:
    """Read all lines of a data set's manifest.

    Raises:
        PgpisError: The manifest is missing or empty, or a line is damaged.
    """
    path = root / MANIFEST
    hint = "'pgpis synth --out DIR --people N' writes it; run it again to restore it"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise PgpisError(f"manifest not found: {path}", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PgpisError(f"cannot read {path}: {error}", hint=hint) from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(Entry.from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise PgpisError(f"{path}: line {number} is damaged ({error!r})", hint=hint) from error
    if not entries:
        raise PgpisError(f"{path} is empty", hint=hint)
    return entries
