"""A marked picture that is made again: what is like it, and what is not."""

from __future__ import annotations

import filecmp
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from pgpis.predictions.marks import Mark, read_mark

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MarkedPicture:
    """A picture, and what its mark says."""

    path: Path
    mark: Mark

    @classmethod
    def read(cls, path: Path) -> MarkedPicture:
        """Read the mark of a picture.

        Raises:
            PgpisError: See :func:`read_mark`.
        """
        return cls(path, read_mark(path))

    def completed(self, mark: Mark) -> Mark:
        """Return the mark of a result, whose pose may come from the mark here: then it says how that pose was made."""
        own, known = mark.provenance, self.mark.provenance
        if own["pose"] is None or own["pose"] != known["pose"]:
            return mark
        return replace(mark, provenance={**own, "tools": own["tools"] or known["tools"]})

    def compare(self, result: Path, mark: Mark) -> None:
        """Tell whether a result is this picture again; of a pair's results, the one of the same number.

        Args:
            result: The file, with its mark or without.
            mark: Its mark.
        """
        if mark.number != self.mark.number:
            return
        if differences := mark.differences(self.mark):
            what = "; ".join(differences)
            log.warning("%s: made with the settings of %s, but not the same picture: %s", result, self.path, what)
        elif filecmp.cmp(result, self.path, shallow=False):
            log.info("%s is %s again, byte for byte", result, self.path)
        else:
            log.warning(
                "%s is made of the same with the settings of %s, but is not the same file: "
                "it was made or saved by other programs, on another device, or with other `step` options "
                "(channels_last, compile_unet, fuse_qkv)",
                result,
                self.path,
            )
