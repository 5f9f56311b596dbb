"""In which of a folder's layouts the files of a picture are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pgpis.data.layouts.base import Layout


class FoundFiles:
    """Files of pictures in all layouts of a folder: that of the first layout which holds one is read.

    Where there are several layouts with files of a kind, folders are listed once, and no file is looked for alone.

    Args:
        layouts: All of one folder and split, in the order in which they are asked.
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self._layouts = layouts
        self._with: dict[str, list[Layout]] = {}

    def layout(self, key: str, kind: str) -> Layout | None:
        """Return the layout that a picture's file is read from; where none holds it, the first with files of that kind.

        None: no layout has any.
        """
        return self._read_from(key, kind)[0]

    def path(self, key: str, kind: str) -> Path | None:
        """Return where a picture's file of a kind is, or is expected; None: no layout has any."""
        return self._read_from(key, kind)[1]

    def elsewhere(self, keys: Iterable[str], kind: str) -> dict[str, Path]:
        """Return where the files are that the first layout does not hold and another one does, by picture."""
        first, *others = self._layouts
        found = {key: self._find(key, kind) for key in keys} if others else {}
        return {key: path for key, (layout, path) in found.items() if path is not None and layout is not first}

    def _read_from(self, key: str, kind: str) -> tuple[Layout | None, Path | None]:
        known = self._having(kind)
        layout, path = self._find(key, kind) if len(known) > 1 else (None, None)
        return (layout, path) if path or not known else (known[0], known[0].path(key, kind))

    def _find(self, key: str, kind: str) -> tuple[Layout | None, Path | None]:
        found = ((layout, layout.find(key, kind)) for layout in self._having(kind))
        return next(((layout, path) for layout, path in found if path is not None), (None, None))

    def _having(self, kind: str) -> list[Layout]:
        if kind not in self._with:
            self._with[kind] = [layout for layout in self._layouts if layout.has(kind)]
        return self._with[kind]
