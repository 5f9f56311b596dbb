"""The benchmark on photographs: people who are shown more than once, one picture the source, the other pose and truth.

Everything else that a model reads is made of the photographs, by the tools of ``pgpis prepare``. What is measured is in
:mod:`pgpis.evaluate.photo_scores`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pgpis.data import OnMissing, Pair
from pgpis.data.cache import whole_name
from pgpis.data.pairs import PairDataset
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.benchmark import (
    PIXEL_COLUMNS,
    TRUTH,
    BenchmarkSettings,
    Encode,
    Sample,
    make_pictures,
    required,
    score_rows,
    usual_baselines,
)
from pgpis.evaluate.benchmark_report import write_report
from pgpis.evaluate.naming import identities
from pgpis.evaluate.photo_scores import PhotoScores, clothes_colours
from pgpis.files import resolved
from pgpis.metrics.summary import write_table
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.kinds import conditions
from pgpis.preprocess.listing import find_pictures
from pgpis.preprocess.photos import PhotoPairs
from pgpis.preprocess.settings import PrepareSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PhotoSettings(BenchmarkSettings):
    """What is scored; ``root`` is a folder of photographs."""

    columns = (*PIXEL_COLUMNS, "background_error", "outfit_recognised")

    table: Path | None = None
    """CSV with the columns source and pose; None: all ordered pairs of each person, see :func:`list_pairs`."""
    size: tuple[int, int] = (256, 176)
    """(height, width) at which pictures are compared; as models do, they are squashed to it."""
    candidates: int = 5
    """Photographs to choose from in recognition, the truth among them; chance is 1 in so many."""
    tools: PrepareSettings = field(default_factory=lambda: PrepareSettings(pose="blazepose", densepose="lifter"))
    """What makes the conditions of photographs."""

    def __post_init__(self) -> None:
        check_range("--candidates", self.candidates, 2, whole=True)
        super().__post_init__()

    def made_of(self, row: str) -> str:
        """See ``BenchmarkSettings.made_of``; what needs no model is made in the size of the comparison."""
        return super().made_of(row) + (f" {self.size[0]}x{self.size[1]}" if row in self.baselines else "")


class TruePhotos(PhotoPairs):
    """Pairs of photographs of one person, whose driving picture is the truth."""

    def read_pairs(self) -> list[Pair]:
        """Read the pairs; see ``PhotoPairs.read_pairs``."""
        return [replace(pair, aim=replace(pair.aim, target=pair.pose)) for pair in super().read_pairs()]

    def require(self, origins: Collection[str]) -> None:
        """Make what is missing, and the sources' own maps; see ``PhotoPairs.require``."""
        super().require(origins)
        self._make([pair.source for pair in self.pairs], "densepose")


def run_photo_benchmark(settings: PhotoSettings, sample: Sample, encode: Encode) -> str:
    """Make what models read and the rows' pictures, score them, and write the files of :func:`write_report`.

    Returns:
        The text of ``benchmark.md``.

    Raises:
        PgpisError: There are no pairs or too few people, no pair can be read, or a row lacks pictures.
    """
    table = settings.table
    if table is None:
        table = settings.out / "pairs.csv"
        write_table(table, ["source", "pose"], list_pairs(settings.root, settings.out))
    dataset = TruePhotos(
        settings.root,
        settings.root,
        pairs_csv=table,
        settings=settings.tools,
        save_conditions=settings.out / "conditions",
        on_missing=OnMissing(face="drop", face_space="synth"),  # the face codes of drawn people mean nothing here
    )
    dataset.setup()
    _refuse_few(people_of(dataset.pairs, settings.root), settings)
    _leave_out_unreadable(dataset)
    people = people_of(dataset.pairs, settings.root)
    _refuse_few(people, settings)
    maps = {picture: required(dataset.made_of(picture, "target")["iuv"]) for picture in people}
    judge = PhotoScores(maps, people, clothes_colours(maps), settings.size, settings.candidates)
    files = make_pictures(settings, dataset, usual_baselines(dataset, settings.size), sample)
    rows = score_rows(settings, files, dataset.pairs, judge, encode)
    if without := int(np.isnan(rows[TRUTH].values["background_error"]).sum()):
        text = "%d of %d pairs have no background error: nobody is found in their truth, or the person fills it"
        log.warning(text, without, len(dataset))
    shown = [people[pair.source] for pair in dataset.pairs] if settings.intervals == "people" else None
    return write_report(settings, rows, files, dataset.pairs, shown)


def _refuse_few(people: Mapping[Path, int], settings: PhotoSettings) -> None:
    """Refuse fewer people than there are candidates."""
    count = len(set(people.values()))
    if count < settings.candidates:
        message = f"{settings.root} shows {count} of the {settings.candidates} people who are needed to choose from"
        hint = "fewer --candidates, or more people, whom names tell apart: PERSON_VIEW.jpg, or a folder for each person"
        raise PgpisError(message, hint=hint)


def list_pairs(root: Path, out: Path | None = None) -> list[tuple[str, str]]:
    """Return all ordered pairs of two photographs of one person, as names in the folder.

    Pictures in ``out`` are results of an earlier run, not photographs.

    A person is told by DeepFashion's names, else by the folder inside ``root``, else by the name up to its last
    underscore: ``anna_front.jpg`` and ``anna_back.jpg``.

    Raises:
        PgpisError: The folder is missing or empty, or is ``out``, or nobody is shown twice.
    """
    if out is not None and resolved(out) == resolved(root):
        message = f"--out {out} is the folder of photographs, among which results would be taken for people"
        raise PgpisError(message, hint="give another --out")
    by_person: dict[object, list[str]] = {}
    for file in find_pictures(root, [], "photos"):
        if out is None or not resolved(file.picture.parent).is_relative_to(resolved(out)):
            by_person.setdefault(_person_of(file.name), []).append(file.name)
    pairs = [pair for names in by_person.values() for pair in permutations(names, 2)]
    if not pairs:
        hint = "call pictures PERSON_VIEW.jpg, give each person a folder, or list the pairs in --pairs FILE.csv"
        raise PgpisError(f"{root}: nobody is shown twice", hint=hint)
    return pairs


def _person_of(name: str) -> object:
    if mentioned := identities(name):
        return mentioned[0][:-1]
    path = PurePosixPath(name)
    return path.parts[0] if len(path.parts) > 1 else path.stem.rpartition("_")[0] or path.stem


def people_of(pairs: Sequence[Pair], root: Path) -> dict[Path, int]:
    """Return a person's number for each picture.

    Names tell persons as in :func:`list_pairs`, where each pair is of one of them and there are several. Else what
    pairs connect shows one person.
    """
    ends = [(pair.source, required(pair.target)) for pair in pairs]
    pictures = list(dict.fromkeys(path for both in ends for path in both))
    folder, whole = whole_name(root / "picture").parent, {path: whole_name(path) for path in pictures}
    named = {
        path: _person_of(name.relative_to(folder).as_posix()) if folder in name.parents else path
        for path, name in whole.items()
    }
    if len(set(named.values())) > 1 and all(named[source] == named[target] for source, target in ends):
        numbers = {person: number for number, person in enumerate(dict.fromkeys(named.values()))}
        return {picture: numbers[person] for picture, person in named.items()}
    place = {picture: index for index, picture in enumerate(pictures)}
    rows, columns = zip(*((place[source], place[target]) for source, target in ends), strict=True)
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(place), len(place)))
    components = connected_components(links, directed=False)[1]
    return {picture: int(components[index]) for picture, index in place.items()}


def _leave_out_unreadable(dataset: PairDataset) -> None:
    """Make all that ``pgpis prepare`` can make, and take out the pairs that lack some of it.

    Raises:
        PgpisError: None is left.
    """
    made = {kind.name for kind in conditions() if kind.settings is not None}
    origins = {"source", "target", "pose", *made - {"face"}}
    dataset.require(origins)
    readable, reason = [], ""
    for index, pair in enumerate(dataset.pairs):
        try:
            dataset.load(index, origins)
            read_part_u_v(required(dataset.made_of(pair.source, "target")["iuv"]))
        except PgpisError as error:
            reason = error.message
            log.warning("%s is left out: %s", pair.pair_id, reason)
        else:
            readable.append(pair)
    if not readable:
        raise PgpisError(f"no pair can be scored: {reason}")
    dataset._pairs = tuple(readable)  # noqa: SLF001  all rows have the same pairs
