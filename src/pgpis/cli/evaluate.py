"""``pgpis evaluate`` and ``pgpis compare``: scores of folders of generated pictures."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from pgpis.cli.verbs import OneLineParser
from pgpis.data import DeepFashion, Pair, PairDataset, Phoenix14T
from pgpis.data.phoenix import find_release
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.compare import compare, to_markdown, write_comparison
from pgpis.evaluate.features import default_cache
from pgpis.evaluate.naming import Matches, list_pictures, match_pictures
from pgpis.evaluate.protocols import PROTOCOLS, ProtocolName, Size
from pgpis.evaluate.report import to_markdown as scores_to_markdown
from pgpis.evaluate.report import write_reports
from pgpis.evaluate.score import EvaluationOptions, RealSets, Scores, evaluate
from pgpis.jobs import meter
from pgpis.keypoints import Frame, Keypoints
from pgpis.metrics.hands import KNUCKLES

log = logging.getLogger(__name__)

INCOMPLETE = 3
SHOWN = 10


def parser(verb: str) -> OneLineParser:
    """Return the parser of a verb."""
    text = {
        "evaluate": "Score a folder of generated pictures, whatever their naming, against a data set.",
        "compare": "Compare two folders of generated pictures pair by pair.",
    }
    made = OneLineParser(
        prog=f"pgpis {verb}",
        description=text[verb],
        epilog="Exit codes: 0 done; 1 some pictures could not be read; 3 a metric was not computed because a file of "
        "weights is missing: the table says which, and the command that gets it.",
        allow_abbrev=False,
    )
    if verb == "evaluate":
        made.add_argument("--generated", type=Path, required=True, help="folder of pictures; subfolders are read too")
    else:
        made.add_argument("first", type=Path, help="folder A")
        made.add_argument("second", type=Path, help="folder B")
    made.add_argument("--reference", type=Path, required=True, help="folder of the data set: DeepFashion or Phoenix")
    made.add_argument("--split", choices=["test", "val", "train"], default="test", help="whose pairs [test]")
    made.add_argument("--protocol", choices=sorted(PROTOCOLS), default="fpdm", help="how it is measured [fpdm]")
    made.add_argument("--size", default="256x176", help="height x width of the compared pictures [256x176]")
    made.add_argument("--weights", type=Path, help="folder of AlexNet's and Inception's weights [torch hub's cache]")
    made.add_argument("--out", type=Path, help="folder to write to [GENERATED-evaluation]")
    made.add_argument("--cache", type=Path, help="folder for features of real pictures [~/.cache/pgpis/features]")
    made.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU if there is one]")
    made.add_argument("--batch-size", type=int, default=16, help="pictures at a time [16]")
    made.add_argument("--workers", type=int, default=2, help="processes that read pictures [2]")
    made.add_argument("--max-pairs", type=int, help="only the first pairs of the list")
    return made


def run(verb: str, words: Sequence[str]) -> int:
    """Run a verb; see the parser's epilog for the result."""
    options = parser(verb).parse_args(list(words))
    settings = _settings(options)
    dataset = _dataset(options)
    reals = _real_sets(options, dataset)
    if verb == "evaluate":
        scores, matches = _score(options.generated, dataset, reals, settings)
        out = options.out or Path(f"{options.generated.resolve()}-evaluation")
        path = write_reports(out, scores, matches, options.generated)
        sys.stdout.write(scores_to_markdown(scores, options.generated.name))
        sys.stdout.write(f"\n{path}\n")
        return _code(scores, matches)
    (first, ours), (second, theirs) = (
        _score(folder, dataset, reals, settings) for folder in (options.first, options.second)
    )
    comparison = compare(first, second)
    out = options.out or Path(f"{options.first.resolve()}-against-{options.second.name}")
    path = write_comparison(out, comparison, (first, second), (ours, theirs))
    sys.stdout.write(to_markdown(comparison))
    sys.stdout.write(f"\n{path}\n")
    return max(_code(first, ours), _code(second, theirs))


def _settings(options: Any) -> EvaluationOptions:
    height, _, width = options.size.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise PgpisError(f"--size {options.size}: expected HEIGHTxWIDTH", hint="--size 256x176")
    check_range("--batch-size", options.batch_size, 1, whole=True)
    check_range("--workers", options.workers, 0, whole=True)
    check_range("--max-pairs", options.max_pairs, 1, whole=True, optional=True)
    name: ProtocolName = next(known for known in get_args(ProtocolName) if known == options.protocol)
    return EvaluationOptions(
        name,
        (int(height), int(width)),
        options.weights,
        options.cache or default_cache(),
        options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        options.batch_size,
        options.workers,
    )


def _dataset(options: Any) -> PairDataset:
    root: Path = options.reference
    kind = DeepFashion if find_release(root) is None else Phoenix14T
    dataset = kind(root, options.split, max_pairs=options.max_pairs)
    dataset.setup()
    return dataset


def _real_sets(options: Any, dataset: PairDataset) -> RealSets:
    """Return the training pictures (those of the training list that are no target) and the distinct targets."""
    targets = sorted({pair.target for pair in dataset.pairs if pair.target is not None})
    train: list[Path] = []
    if isinstance(dataset, DeepFashion):
        try:
            training = DeepFashion(options.reference, "train")
            training.setup()
            train = sorted({path for p in training.pairs for path in (p.source, p.target) if path is not None})
        except PgpisError as error:
            log.warning("no training pictures: %s", error.message)
    return RealSets(tuple(path for path in train if path not in set(targets)), tuple(targets))


def _score(folder: Path, dataset: PairDataset, reals: RealSets, settings: EvaluationOptions) -> tuple[Scores, Matches]:
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
    total = len(matches.files) + len(reals.train) + len(reals.targets)
    with meter(f"scoring {folder.name}", total) as advance:
        at_phoenix_size = isinstance(dataset, Phoenix14T) and settings.size == (260, 210)
        knuckles = KnuckleFinder(dataset, settings.size) if at_phoenix_size else None
        return evaluate(matches.files, reals, settings, advance, knuckles), matches


@dataclass(frozen=True)
class KnuckleFinder:
    """Finds both middle knuckles of a pair's target, in pixels of the compared pictures."""

    dataset: PairDataset
    size: Size

    def __call__(self, pair: Pair) -> torch.Tensor:
        """Return x and y, ``(2, 2)``; NaN for a hand that is not seen."""
        points = self.dataset.read_pose(pair)
        assert isinstance(points, Keypoints)
        points = points.to(Frame(*self.size))
        chosen, seen = (torch.from_numpy(values[list(KNUCKLES)]) for values in (points.points, points.visible))
        return torch.where(seen, chosen, torch.nan)


def _code(scores: Scores, matches: Matches) -> int:
    for pair_id, reason in scores.failures[:SHOWN]:
        log.error("left out: %s: %s", pair_id, reason)
    if scores.failures or matches.missing:
        return 1
    return 0 if scores.complete else INCOMPLETE
