"""``pgpis evaluate`` and ``pgpis compare``: scores of folders of generated pictures."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pgpis.cli.verbs import OneLineParser
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError, check_range
from pgpis.evaluate.published import ProtocolName
from pgpis.files import locked

if TYPE_CHECKING:  # these load torch
    from pgpis.data.pairs import PairDataset
    from pgpis.evaluate.naming import Matches
    from pgpis.evaluate.reference import Reference
    from pgpis.evaluate.score import EvaluationOptions, Scores

log = logging.getLogger(__name__)

INCOMPLETE = 3
SHOWN = 10
TEXTS = {
    "evaluate": "Score a folder of generated pictures, whatever their naming, against a data set.",
    "compare": "Compare two folders of generated pictures of the same pairs: the mean difference of every metric, "
    "whether these pairs can show it (95 % interval), and the pairs where it is largest.",
}
EXAMPLES = {
    "evaluate": "pgpis evaluate --generated outputs/fpdm/test/images --reference data/deepfashion --size 512x352",
    "compare": "pgpis compare outputs/fpdm/test/images outputs/mcld/test/images --reference data/deepfashion "
    "--size 512x352",
}


def parser(verb: str) -> OneLineParser:
    """Return the parser of a verb."""
    made = OneLineParser(
        prog=f"pgpis {verb}",
        description=TEXTS[verb],
        epilog=f"Example: {EXAMPLES[verb]} . "
        "Exit codes: 0 done; 1 some pictures are missing or could not be read; 3 a metric was not computed because a "
        "file of weights is missing: the table says which, and the command that gets it.",
        allow_abbrev=False,
    )
    if verb == "evaluate":
        made.add_argument("--generated", type=Path, required=True, help="folder of pictures; subfolders are read too")
        made.add_argument("--name", help="what the row in the tables is called [name of the folder]")
        out = "folder to write to [GENERATED-evaluation]"
    else:
        made.add_argument("first", type=Path, help="folder of pictures A, as 'test' or 'predict' names them")
        made.add_argument("second", type=Path, help="folder of pictures B of the same pairs")
        out = "folder to write to: comparison.html, .md and .json [A-against-B]"
    made.add_argument("--reference", type=Path, required=True, help="folder of the data set: DeepFashion or Phoenix")
    made.add_argument("--split", choices=["test", "val", "train"], default="test", help="whose pairs [test]")
    made.add_argument("--layout", choices=["auto", *get_args(LayoutName)], default="auto", help="whose list [auto]")
    made.add_argument("--videos", nargs="+", default=[], metavar="VIDEO", help="Phoenix: only these videos [all]")
    made.add_argument("--protocol", choices=get_args(ProtocolName), default="fpdm", help="how it is measured [fpdm]")
    made.add_argument("--size", default="256x176", help="height x width of the compared pictures [256x176]")
    made.add_argument("--weights", type=Path, help="folder of AlexNet's and Inception's weights [torch hub's cache]")
    made.add_argument("--out", type=Path, help=out)
    made.add_argument("--cache", type=Path, help="folder for features of real pictures [~/.cache/pgpis/features]")
    made.add_argument("--device", help="cpu, cuda, cuda:1, ... [a GPU if there is one]")
    made.add_argument("--batch-size", type=int, default=16, help="pictures at a time [16]")
    made.add_argument("--workers", type=int, default=2, help="processes that read pictures [2]")
    made.add_argument("--max-pairs", type=int, help="only the first pairs of the list")
    return made


def evaluate_command(images: Path, dataset: PairDataset, size: tuple[int, int]) -> str:
    """Return the command that scores the pictures of ``pgpis test`` as the test did."""
    words = ["pgpis", "evaluate", "--generated", images, "--reference", getattr(dataset, "root", "FOLDER")]
    words += ["--protocol", "fpdm", "--size", f"{size[0]}x{size[1]}"]
    usual = {"split": "test", "layout": "auto", "max_pairs": None, "videos": ()}
    for name, value in usual.items():
        own = getattr(dataset, name, value)
        if own != value:
            words += [f"--{name.replace('_', '-')}", *(own if isinstance(own, tuple | list) else [own])]
    return shlex.join(map(str, words))


def run(verb: str, words: Sequence[str]) -> int:
    """Run a verb; see the parser's epilog for the result."""
    options = parser(verb).parse_args(list(words))
    folders = [options.generated] if verb == "evaluate" else [options.first, options.second]
    ending = "evaluation" if verb == "evaluate" else f"against-{options.second.resolve().name}"
    out: Path = options.out or Path(f"{folders[0].resolve()}-{ending}")
    for folder in folders:
        if not folder.is_dir():
            raise PgpisError(f"folder not found: {folder}")
    from pgpis.evaluate.reference import Reference

    settings = _settings(options)
    reference = Reference(options.reference, options.split, options.layout, options.max_pairs, tuple(options.videos))
    dataset = reference.dataset()
    with locked(out):
        results = [_score(folder, reference, dataset, settings) for folder in folders]
        path, text = _report(verb, out, folders, results, options)
    sys.stdout.write(f"{text}\n{path}\n")
    return max(_code(scores, matches) for scores, matches in results)


def _report(
    verb: str, out: Path, folders: Sequence[Path], results: Sequence[tuple[Scores, Matches]], options: Any
) -> tuple[Path, str]:
    """Write the files; return the page and what is shown."""
    if verb == "evaluate":
        from pgpis.evaluate.results import to_markdown as scores_to_markdown
        from pgpis.evaluate.results import write_reports

        scores, matches = results[0]
        name = options.name or folders[0].resolve().name
        return write_reports(out, scores, matches, folders[0], name), scores_to_markdown(scores, name)
    from pgpis.evaluate.compare import compare, to_markdown, write_comparison

    (first, ours), (second, theirs) = results
    comparison = compare(first, second)
    return write_comparison(out, comparison, (first, second), (ours, theirs)), to_markdown(comparison)


def _settings(options: Any) -> EvaluationOptions:
    height, _, width = options.size.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise PgpisError(f"--size {options.size}: expected HEIGHTxWIDTH", hint="--size 256x176")
    check_range("--batch-size", options.batch_size, 1, whole=True)
    check_range("--workers", options.workers, 0, whole=True)
    check_range("--max-pairs", options.max_pairs, 1, whole=True, optional=True)
    import torch

    from pgpis.evaluate.features import default_cache
    from pgpis.evaluate.score import EvaluationOptions

    return EvaluationOptions(
        options.protocol,
        (int(height), int(width)),
        options.weights,
        options.cache or default_cache(),
        options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        options.batch_size,
        options.workers,
    )


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
