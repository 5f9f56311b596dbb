"""Pictures of people to begin with, drawn here: no stranger's photograph ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pgpis.files import replacing_folder
from pgpis.synth.files.formats import write_image
from pgpis.synth.files.sheet import sample_people

FOLDER = "~/.cache/pgpis/examples"
SEED, SIZE = 4, (512, 352)
PEOPLE = ((0, 0), (1, 1), (2, 2), (3, 0))
"""(person, view)."""


def example_pictures() -> list[Path]:
    """Return pictures of drawn people; the first time they are drawn, which takes some seconds.

    Raises:
        PgpisError: They cannot be written.
    """
    folder = Path(FOLDER).expanduser() / f"seed-{SEED}"
    names = [f"example-{number}.jpg" for number, _ in enumerate(PEOPLE, 1)]
    if not all((folder / name).is_file() for name in names):
        people = sample_people(SEED, max(person for person, _ in PEOPLE) + 1, 3, SIZE)
        with replacing_folder(folder, overwrite=True) as temporary:
            for name, (person, view) in zip(names, PEOPLE, strict=True):
                write_image(temporary / name, np.asarray(people[person][view].draw().rgb))
    return [folder / name for name in names]
