"""``pgpis evaluate`` and ``pgpis compare``: scores of folders of generated pictures."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pgpis.cli.options import spelt
from pgpis.data.names import LayoutName
from pgpis.devices import check_device_name, device_here
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.published import Over, ProtocolName
from pgpis.files import file_name, locked, resolved

if TYPE_CHECKING:  # these load torch
    from pgpis.cluster import Crew
    from pgpis.data.pairs import PairDataset
    from pgpis.evaluate.features import RealSets
    from pgpis.evaluate.naming import Matches
    from pgpis.evaluate.protocols import EvaluationOptions
    from pgpis.evaluate.reference import Reference
    from pgpis.evaluate.score import Scores

log = logging.getLogger(__name__)

INCOMPLETE = 3
SHOWN = 10
READERS = 2
"""Processes that read pictures on this machine."""


@dataclass(frozen=True)
class ScoringSettings:
    """What pictures are compared with, and how."""

    reference: Path
    """Folder of the data set: DeepFashion or Phoenix."""
    split: Literal["test", "val", "train"] = "test"
    """Whose pairs."""
    layout: Literal["auto"] | LayoutName = "auto"
    """Whose list."""
    videos: Annotated[tuple[str, ...], {"metavar": "VIDEO"}] = ()
    """Only these videos of Phoenix [all]."""
    protocol: tuple[ProtocolName, ...] = ("fpdm",)
    """How it is measured; several give one table."""
    size: tuple[int, int] = (256, 176)
    """Height x width of the compared pictures."""
    weights: Path | None = None
    """Folder of the judging nets' weights [where ``pgpis weights`` looks for them]."""
    cache: Path | None = None
    """Folder for features of real pictures [~/.cache/pgpis/features]."""
    device: str | None = None
    """Where the nets run: cpu, cuda, cuda:1 [a GPU if there is one]."""
    batch_size: int = 16
    """Pictures at a time."""
    runner: Literal["local", "ray"] = "local"
    """Who looks at pictures: this machine, or a Ray cluster [local]."""
    workers: int | None = None
    """Processes that read pictures, or that read and score them on the cluster [2, or one for each GPU or, without
    GPUs, core]."""
    max_pairs: int | None = None
    """Only the first pairs of the list."""
    intervals: Over = "pairs"
    """What intervals are over: pairs, or people with all their pairs, for what is said of other people."""

    def __post_init__(self) -> None:
        check_device_name(self.device)
        check_range("--batch-size", self.batch_size, 1, whole=True)
        check_range("--workers", self.workers, 0 if self.runner == "local" else 1, whole=True, optional=True)
        check_range("--max-pairs", self.max_pairs, 1, whole=True, optional=True)


def evaluate(
    *,
    generated: tuple[Path, ...],
    settings: ScoringSettings,
    name: tuple[str, ...] = (),
    out: Path | None = None,
) -> int:
    """Score folders of generated pictures, in any method's naming, against a data set.

    Example: ``pgpis evaluate --generated outputs/fpdm/test/images --reference data/deepfashion --size 512x352``.
    Several folders or protocols give one table, and a folder of reports for each. Exit codes: 0 done; 1 some pictures
    are missing or could not be read; 3 none are, but a metric was not computed because a file of weights is missing:
    the table says which, and the command that gets it.

    Args:
        generated: Folders of pictures; subfolders are read too.
        settings: What they are compared with.
        name: What their rows in the tables are called [names of the folders].
        out: Folder to write to [GENERATED-evaluation, of the first folder].
    """
    out = out or Path(f"{resolved(generated[0])}-evaluation")
    with _scored(dict(zip(_names(generated, name), generated, strict=True)), settings, out) as evaluations:
        from pgpis.evaluate.methods import Methods, to_markdown, write_table
        from pgpis.evaluate.results import to_markdown as report_of
        from pgpis.evaluate.results import write_reports

        if len(evaluations) == 1:
            [one] = evaluations
            page, text = write_reports(out, *one), report_of(one.scores, one.name)
        else:
            methods = Methods([(each.name, each.scores) for each in evaluations])
            page = write_table(out, methods, [write_reports(out / each.folder, *each) for each in evaluations])
            text = to_markdown(methods)
    sys.stdout.write(f"{text}\n{page}\n")
    return _code(evaluations)


def compare(first: Path, second: Path, *, settings: ScoringSettings, out: Path | None = None) -> int:
    """Compare two folders of generated pictures of the same pairs.

    The mean difference of every metric, whether these pairs can show it (95 % interval), and the pairs where it is
    largest. Example: ``pgpis compare outputs/fpdm/test/images outputs/mcld/test/images --reference data/deepfashion
    --size 512x352``. Exit codes as of ``evaluate``.

    Args:
        first: Folder of pictures A, named after the pairs of the list as ``test`` does, or as other methods do.
        second: Folder of pictures B of the same pairs.
        settings: What they are compared with.
        out: Folder to write to: comparison.html, .md, .tex and .json [A-against-B].
    """
    if len(set(settings.protocol)) > 1:
        raise PgpisError("compare takes one --protocol; 'pgpis evaluate' takes several")
    out = out or Path(f"{resolved(first)}-against-{_last_different([first, second])[1].replace('/', '-')}")
    with _scored({"A": first, "B": second}, settings, out, only_common=True) as [ours, theirs]:
        from pgpis.evaluate.compare import compare as compare_scores
        from pgpis.evaluate.compare import to_markdown, write_comparison

        comparison = compare_scores(ours.scores, theirs.scores)
        sides = ((first, ours.scores), (second, theirs.scores))
        page = write_comparison(out, comparison, sides, (ours.matches, theirs.matches))
    sys.stdout.write(f"{to_markdown(comparison, sides)}\n{page}\n")
    return _code((ours, theirs))


def evaluate_command(images: Path, dataset: PairDataset, size: tuple[int, int]) -> str:
    """Return the command that scores the pictures of ``pgpis test`` as the test did."""
    names = ("split", "layout", "max_pairs", "videos")
    own = {name: getattr(dataset, name) for name in names if hasattr(dataset, name)}
    settings = ScoringSettings(getattr(dataset, "root", Path("FOLDER")), size=size, **own)
    return shlex.join(["pgpis", "evaluate", "--generated", str(images), *spelt(settings)])


class _Evaluation(NamedTuple):
    """A folder's scores by one protocol."""

    name: str
    generated: Path
    scores: Scores
    matches: Matches

    @property
    def folder(self) -> str:
        """Where its reports go, among those of others."""
        return _folder(self.name, self.scores.protocol)


def _folder(name: str, protocol: str) -> str:
    return file_name(f"{name}-{protocol}".replace("/", "-"), "")


def _names(folders: Sequence[Path], names: Sequence[str]) -> Sequence[str]:
    """Return what the rows of folders are called: as asked for, else by the ends of their paths that differ."""
    if names and len(names) != len(folders):
        raise PgpisError(f"--name gives {len(names)} names for {len(folders)} folders")
    if any(not name.strip() for name in names):
        raise PgpisError("--name is empty for one of the folders", hint="--name A B ...")
    names = names or _last_different(folders)
    if len({_folder(name, "").casefold() for name in names}) < len(names):  # of their reports, on any file system
        raise PgpisError(f"folders need different names: {', '.join(names)}", hint="--name A B ...")
    return names


def _last_different(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that all differ, without the parts in which all of them end.

    Of ``outputs/fpdm/test/images`` and ``outputs/mcld/test/images``, ``fpdm`` and ``mcld``.
    """
    names = [resolved(folder).name for folder in folders]
    if len(set(names)) == len(names):
        return names
    paths = [resolved(folder).parts[:0:-1] for folder in folders]  # from the end, without the root; some are shorter
    differs = (place for place, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1)
    first, longest = next(differs, min(map(len, paths)) - 1), max(map(len, paths))
    ends = (["/".join(path[first:end][::-1]) for path in paths] for end in range(first + 1, longest + 1))
    return next((different for different in ends if len(set(different)) == len(paths)), names)


@contextmanager
def _scored(
    folders: Mapping[str, Path], settings: ScoringSettings, out: Path, *, only_common: bool = False
) -> Iterator[list[_Evaluation]]:
    """Score folders by every protocol, and keep others from writing to ``out`` meanwhile."""
    for folder in folders.values():
        if not folder.is_dir():
            raise PgpisError(f"folder not found: {folder}")
    from pgpis.evaluate.features import default_cache  # these load torch
    from pgpis.evaluate.naming import persons_of
    from pgpis.evaluate.protocols import EvaluationOptions
    from pgpis.evaluate.reference import Reference

    shared: dict[str, Any] = {each.name: getattr(settings, each.name) for each in fields(EvaluationOptions)}
    shared["cache"] = settings.cache or default_cache()
    shared["workers"] = READERS if settings.workers is None else settings.workers
    shared["device"] = device_here(settings.device if settings.device == "cpu" or settings.runner == "local" else None)
    ways = [EvaluationOptions(**shared | {"protocol": each}) for each in dict.fromkeys(settings.protocol)]
    reference = Reference(settings.reference, settings.split, settings.layout, settings.max_pairs, settings.videos)
    dataset = reference.dataset()
    # a folder with wrong names ends the run before hours of scoring the others
    matched = [(name, folder, _matched(folder, dataset)) for name, folder in folders.items()]
    if settings.intervals == "people":
        persons_of([pair.pair_id for pair in dataset.pairs])
    reals = reference.real_sets(dataset, [options.protocol for options in ways])
    if only_common:
        both = set.intersection(*({pair.pair_id for pair, _ in matches.files} for _, _, matches in matched))
        if not both:
            raise PgpisError("the two folders have no pair in common")
        matched = [(name, folder, matches.only(both)) for name, folder, matches in matched]
    with locked(out, resumes=False):
        most = max(len(matches.files) for _, _, matches in matched) + max(map(len, reals))
        with _crew(settings, most) as crew:
            evaluations = [
                _Evaluation(name, folder, _score(folder, matches, reference, dataset, real, options, crew), matches)
                for name, folder, matches in matched
                for options, real in zip(ways, reals, strict=True)
            ]
        if settings.intervals == "people":
            evaluations = [each._replace(scores=each.scores.over_people()) for each in evaluations]
        yield evaluations


@contextmanager
def _crew(settings: ScoringSettings, pictures: int) -> Iterator[Crew | None]:
    """Hire actors that look at pictures, if that is asked for."""
    from pgpis.cluster import crew

    if settings.runner == "local":
        yield None
        return
    with crew(settings.workers, math.ceil(pictures / settings.batch_size), settings.device or "auto") as actors:
        yield actors


def _matched(folder: Path, dataset: PairDataset) -> Matches:
    """Find the pairs of the pictures in a folder; what is left over is told."""
    from pgpis.evaluate.naming import list_pictures, match_pictures

    matches = match_pictures(list_pictures(folder), dataset.pairs)
    for what, names in (
        ("pictures belong to no pair", [path.relative_to(folder).as_posix() for path in matches.unmapped]),
        ("pictures are second ones of a pair", [path.relative_to(folder).as_posix() for path in matches.doubled]),
        ("pairs have no picture", list(matches.missing)),
    ):
        if names:
            log.warning("%s: %d %s: %s", folder, len(names), what, ", ".join(names[:3]))
    if not matches.files:
        raise PgpisError(
            f"{folder}: no picture belongs to a pair of the list, e.g. {matches.unmapped[0].name}",
            hint=f"'pgpis test' names pictures as the list does: {file_name(dataset.pairs[0].pair_id, '.png')}",
        )
    return matches


def _score(
    folder: Path,
    matches: Matches,
    reference: Reference,
    dataset: PairDataset,
    reals: RealSets,
    options: EvaluationOptions,
    crew: Crew | None,
) -> Scores:
    from pgpis.data.phoenix import Phoenix14T
    from pgpis.evaluate.reference import KnuckleFinder
    from pgpis.evaluate.score import evaluate, real_pictures
    from pgpis.jobs import meter

    total = len(matches.files) + real_pictures(options, reals)
    with meter(f"scoring {folder.name}", total) as advance:
        at_phoenix_size = isinstance(dataset, Phoenix14T) and options.size == (260, 210)
        knuckles = KnuckleFinder(dataset.with_pairs(()), options.size) if at_phoenix_size else None
        scores = evaluate(matches.files, reals, options, advance, knuckles, crew)
    return replace(scores, not_comparable=reference.why_not_comparable(dataset, matches, scores, reals))


def _code(evaluations: Sequence[_Evaluation]) -> int:
    """Tell what could not be read, and return the exit code: lost pictures count for more than missing weights."""
    for pair_id, reason in (failure for each in evaluations for failure in each.scores.failures[:SHOWN]):
        log.error("left out: %s: %s", pair_id, reason)
    if any(each.scores.failures or each.matches.missing for each in evaluations):
        return 1
    return 0 if all(each.scores.complete for each in evaluations) else INCOMPLETE
