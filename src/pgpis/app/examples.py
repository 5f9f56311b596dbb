"""Pictures of people to begin with, drawn here: no stranger's photograph ships."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from pgpis.caches import below_home
from pgpis.errors import PgpisError
from pgpis.files import replacing_folder
from pgpis.synth.files.formats import write_image
from pgpis.synth.files.sheet import sample_people

log = logging.getLogger(__name__)

FOLDER = "~/.cache/pgpis/examples"
SEED, SIZE = 4, (512, 352)
PEOPLE = ((0, 0), (1, 1), (2, 2), (3, 0))
"""(person, view)."""


def example_pictures(home: Path) -> list[Path]:
    """Return pictures of drawn people; the first time they are drawn, which takes some seconds.

    Args:
        home: Takes them where the user's cache cannot.

    Raises:
        PgpisError: They cannot be written.
    """
    try:
        return _drawn_in(below_home(FOLDER, "the cache") / f"seed-{SEED}")
    except PgpisError as error:
        log.warning("the examples are drawn anew at each start: %s", error.message)
        return _drawn_in(home / "examples")


def _drawn_in(folder: Path) -> list[Path]:
    names = [f"example-{number}.jpg" for number, _ in enumerate(PEOPLE, 1)]
    if not all((folder / name).is_file() for name in names):
        people = sample_people(SEED, max(person for person, _ in PEOPLE) + 1, 3, SIZE)
        with replacing_folder(folder, overwrite=True) as temporary:
            for name, (person, view) in zip(names, PEOPLE, strict=True):
                write_image(temporary / name, np.asarray(people[person][view].draw().rgb))
    return [folder / name for name in names]
