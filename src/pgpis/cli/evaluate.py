"""``pgpis evaluate`` and ``pgpis compare``: scores of folders of generated pictures."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pgpis.cli.options import spelt
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.published import ProtocolName
from pgpis.files import locked
from pgpis.preprocess.settings import usual_device

if TYPE_CHECKING:  # these load torch
    from pgpis.data.pairs import PairDataset
    from pgpis.evaluate.naming import Matches
    from pgpis.evaluate.reference import Reference
    from pgpis.evaluate.score import EvaluationOptions, Scores

log = logging.getLogger(__name__)

INCOMPLETE = 3
SHOWN = 10


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
    """Phoenix: only these videos [all]."""
    protocol: ProtocolName = "fpdm"
    """How it is measured."""
    size: tuple[int, int] = (256, 176)
    """Height x width of the compared pictures."""
    weights: Path | None = None
    """Folder of AlexNet's and Inception's weights [torch hub's cache]."""
    cache: Path | None = None
    """Folder for features of real pictures [~/.cache/pgpis/features]."""
    device: str = field(default_factory=usual_device)
    """Where the nets run: cpu, cuda, cuda:1 [a GPU if there is one]."""
    batch_size: int = 16
    """Pictures at a time."""
    workers: int = 2
    """Processes that read pictures."""
    max_pairs: int | None = None
    """Only the first pairs of the list."""

    def __post_init__(self) -> None:
        check_range("--batch-size", self.batch_size, 1, whole=True)
        check_range("--workers", self.workers, 0, whole=True)
        check_range("--max-pairs", self.max_pairs, 1, whole=True, optional=True)


def evaluate(*, generated: Path, settings: ScoringSettings, name: str | None = None, out: Path | None = None) -> int:
    """Score a folder of generated pictures, whatever their naming, against a data set.

    Example: ``pgpis evaluate --generated outputs/fpdm/test/images --reference data/deepfashion --size 512x352``. Exit
    codes: 0 done; 1 some pictures are missing or could not be read; 3 a metric was not computed because a file of
    weights is missing: the table says which, and the command that gets it.

    Args:
        generated: Folder of pictures; subfolders are read too.
        settings: What they are compared with.
        name: What the row in the tables is called [name of the folder].
        out: Folder to write to [GENERATED-evaluation].
    """
    out = out or Path(f"{generated.resolve()}-evaluation")
    with _scored([generated], settings, out) as [(scores, matches)]:
        from pgpis.evaluate.results import to_markdown, write_reports

        name = name or generated.resolve().name
        page = write_reports(out, scores, matches, generated, name)
    sys.stdout.write(f"{to_markdown(scores, name)}\n{page}\n")
    return _code(scores, matches)


def compare(first: Path, second: Path, *, settings: ScoringSettings, out: Path | None = None) -> int:
    """Compare two folders of generated pictures of the same pairs.

    The mean difference of every metric, whether these pairs can show it (95 % interval), and the pairs where it is
    largest. Example: ``pgpis compare outputs/fpdm/test/images outputs/mcld/test/images --reference data/deepfashion
    --size 512x352``. Exit codes as of ``evaluate``.

    Args:
        first: Folder of pictures A, as ``test`` or ``predict`` names them.
        second: Folder of pictures B of the same pairs.
        settings: What they are compared with.
        out: Folder to write to: comparison.html, .md and .json [A-against-B].
    """
    out = out or Path(f"{first.resolve()}-against-{second.resolve().name}")
    with _scored([first, second], settings, out) as results:
        from pgpis.evaluate.compare import compare as compare_scores
        from pgpis.evaluate.compare import to_markdown, write_comparison

        (ours, our_matches), (theirs, their_matches) = results
        comparison = compare_scores(ours, theirs)
        page = write_comparison(out, comparison, (ours, theirs), (our_matches, their_matches))
    sys.stdout.write(f"{to_markdown(comparison)}\n{page}\n")
    return max(_code(scores, matches) for scores, matches in results)


def evaluate_command(images: Path, dataset: PairDataset, size: tuple[int, int]) -> str:
    """Return the command that scores the pictures of ``pgpis test`` as the test did."""
    names = ("split", "layout", "max_pairs", "videos")
    own = {name: getattr(dataset, name) for name in names if hasattr(dataset, name)}
    settings = ScoringSettings(getattr(dataset, "root", Path("FOLDER")), size=size, **own)
    return shlex.join(["pgpis", "evaluate", "--generated", str(images), *spelt(settings)])


@contextmanager
def _scored(folders: Sequence[Path], settings: ScoringSettings, out: Path) -> Iterator[list[tuple[Scores, Matches]]]:
    """Score folders, and keep others from writing to ``out`` meanwhile."""
    for folder in folders:
        if not folder.is_dir():
            raise PgpisError(f"folder not found: {folder}")
    from pgpis.evaluate.features import default_cache  # these load torch
    from pgpis.evaluate.reference import Reference
    from pgpis.evaluate.score import EvaluationOptions

    shared: dict[str, Any] = {each.name: getattr(settings, each.name) for each in fields(EvaluationOptions)}
    options = EvaluationOptions(**shared | {"cache": settings.cache or default_cache()})
    reference = Reference(settings.reference, settings.split, settings.layout, settings.max_pairs, settings.videos)
    dataset = reference.dataset()
    with locked(out):
        yield [_score(folder, reference, dataset, options) for folder in folders]


def _score(
    folder: Path, reference: Reference, dataset: PairDataset, settings: EvaluationOptions
) -> tuple[Scores, Matches]:
    from pgpis.data.phoenix import Phoenix14T
    from pgpis.evaluate.naming import list_pictures, match_pictures
    from pgpis.evaluate.reference import KnuckleFinder
    from pgpis.evaluate.score import evaluate
    from pgpis.jobs import meter

    matches = match_pictures(list_pictures(folder), dataset.pairs)
    for what, names in (
        ("pictures belong to no pair", [path.name for path in matches.unmapped]),
        ("pictures are second ones of a pair", [path.name for path in matches.doubled]),
        ("pairs have no picture", list(matches.missing)),
    ):
        if names:
            log.warning("%s: %d %s: %s", folder, len(names), what, ", ".join(names[:3]))
    if not matches.files:
        raise PgpisError(
            f"{folder}: no picture belongs to a pair of the list, e.g. {matches.unmapped[0].name}",
            hint="names must mention source and target, as in SOURCE_2_TARGET.png",
        )
    reals = reference.real_sets(dataset)
    total = len(matches.files) + len(reals.train) + len(reals.targets)
    with meter(f"scoring {folder.name}", total) as advance:
        at_phoenix_size = isinstance(dataset, Phoenix14T) and settings.size == (260, 210)
        knuckles = KnuckleFinder(dataset, settings.size) if at_phoenix_size else None
        scores = evaluate(matches.files, reals, settings, advance, knuckles)
    return replace(scores, not_comparable=reference.why_not_comparable(dataset, matches)), matches


def _code(scores: Scores, matches: Matches) -> int:
    for pair_id, reason in scores.failures[:SHOWN]:
        log.error("left out: %s: %s", pair_id, reason)
    if scores.failures or matches.missing:
        return 1
    return 0 if scores.complete else INCOMPLETE
