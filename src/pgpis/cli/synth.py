"""``pgpis synth``: data sets of generated people, the editing benchmark, contact sheets."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pgpis.cli.verbs import OneLineParser
from pgpis.errors import PgpisError, check_range, nearest

SIZES = {"256x176": (256, 176), "512x352": (512, 352)}
EDITS = ("outfit", "fabric", "identity", "paint", "pose")
OVERLAYS = ("none", "keypoints", "iuv", "layers", "face")
EPILOG = """\
other words:
  pgpis synth edit    (source, edit, ground truth) triples from a data set: 'pgpis synth edit --help'
  pgpis synth sheet   a contact sheet: 'pgpis synth sheet --help'

A second run with the same options goes on where the first one stopped; more --people extend a data set.
"""


def dataset_parser() -> OneLineParser:
    """Return the parser of ``pgpis synth``."""
    parser = OneLineParser(
        prog="pgpis synth",
        description="Draw a data set of synthetic people, every label exact.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--people", type=int, required=True, help="number of people; in the phoenix layout, of signers with a sequence"
    )
    parser.add_argument("--views", type=int, default=5, help="pictures a person [5]")
    parser.add_argument("--size", choices=SIZES, default="256x176", help="height x width [256x176]; phoenix: 260x210")
    parser.add_argument(
        "--layout",
        choices=("deepfashion", "phoenix", "both"),
        default="deepfashion",
        help="files to write [deepfashion]",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of everything; the same seed gives the same bytes [0]"
    )
    parser.add_argument("--frames", type=int, default=32, help="frames of a sequence in the phoenix layout [32]")
    parser.add_argument("--test-share", type=float, default=0.2, help="share of people in the test lists only [0.2]")
    parser.add_argument(
        "--hidden-points",
        choices=("limbs", "all", "none"),
        default="limbs",
        help="hidden points in the pose files: those of limbs, as OpenPose guesses them, all, or none [limbs]",
    )
    parser.add_argument(
        "--textures",
        choices=("exact", "seen", "none"),
        default="exact",
        help="UV textures, which MCLD reads and FPDM does not: the whole person's (exact); what the picture shows, by "
        "the published procedure, half a second each (seen); or none [exact]",
    )
    _add_workers(parser)
    return parser


def edit_parser() -> OneLineParser:
    """Return the parser of ``pgpis synth edit``."""
    parser = OneLineParser(
        prog="pgpis synth edit",
        description="Draw pictures of a data set again with one thing changed: an editing benchmark with ground truth.",
        allow_abbrev=False,
    )
    parser.add_argument("--from", dest="root", type=Path, required=True, help="folder that 'pgpis synth' wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the triples")
    parser.add_argument(
        "--kind",
        choices=EDITS,
        nargs="+",
        required=True,
        help="other garments (outfit), the same garments from other cloth (fabric), another person (identity), "
        "the same shape in other colours (paint), another pose; several may be given",
    )
    parser.add_argument("--pictures", type=int, default=100, help="triples of each kind [100]")
    parser.add_argument("--split", choices=("train", "test", "all"), default="test", help="whose pictures [test]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of pictures [0]")
    _add_workers(parser)
    return parser


def sheet_parser() -> OneLineParser:
    """Return the parser of ``pgpis synth sheet``."""
    parser = OneLineParser(
        prog="pgpis synth sheet",
        description="Draw a contact sheet: a row a person, their views side by side.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="picture to write, .jpg or .png")
    parser.add_argument("--from", dest="root", type=Path, help="folder that 'pgpis synth' wrote; else people of --seed")
    parser.add_argument("--seed", type=int, help="seed of the people, where there is no data set [0]")
    parser.add_argument("--size", choices=SIZES, help="height x width, where there is no data set [256x176]")
    parser.add_argument("--people", type=int, default=8, help="number of people [8]")
    parser.add_argument("--views", type=int, default=5, help="pictures a person, at most [5]")
    parser.add_argument("--across", type=int, default=1, help="people beside each other [1]")
    parser.add_argument("--zoom", type=int, default=1, help="enlargement [1]")
    parser.add_argument(
        "--overlay", choices=OVERLAYS, nargs="+", default=["none"], help="labels to lay over; once with each [none]"
    )
    return parser


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis synth``, ``pgpis synth edit`` or ``pgpis synth sheet``; 1 if anything could not be drawn."""
    others: dict[str, Callable[[Sequence[str]], int]] = {"edit": _edit, "sheet": _sheet}
    if words and not words[0].startswith("-"):
        if words[0] not in others:
            raise PgpisError(
                f"pgpis synth: unknown word '{words[0]}'{nearest(words[0], others)}", hint="pgpis synth --help"
            )
        return others[words[0]](words[1:])
    return _dataset(words)


def _dataset(words: Sequence[str]) -> int:
    options = dataset_parser().parse_args(list(words))
    _check_least(options, {"workers": 1})
    from pgpis.jobs import render_failures
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions

    report = make_dataset(
        options.out,
        DatasetOptions(
            options.people,
            options.views,
            SIZES[options.size],
            options.layout,
            options.seed,
            options.frames,
            options.test_share,
            options.hidden_points,
            options.textures,
        ),
        options.workers,
    )
    sys.stdout.write(
        f"{options.out}: {report.pictures:,} pictures; {report.drawn:,} people drawn, {report.kept:,} there already\n"
    )
    sys.stdout.write(render_failures(report.failures))
    return 1 if report.failures else 0


def _edit(words: Sequence[str]) -> int:
    options = edit_parser().parse_args(list(words))
    _check_least(options, {"pictures": 1, "seed": 0, "workers": 1})
    from pgpis.jobs import render_failures
    from pgpis.synth.files.triples import make_triples

    report = make_triples(
        options.root, options.out, options.kind, options.pictures, options.seed, options.split, options.workers
    )
    sys.stdout.write(f"{options.out}: {report.drawn:,} triples drawn, {report.kept:,} there already\n")
    sys.stdout.write(render_failures(report.failures))
    return 1 if report.failures else 0


def _sheet(words: Sequence[str]) -> int:
    options = sheet_parser().parse_args(list(words))
    _check_least(options, {"people": 1, "views": 1, "across": 1, "zoom": 1, "seed": 0})
    if options.root is not None and (options.seed is not None or options.size is not None):
        raise PgpisError("--from shows a data set, which has its own --seed and --size", hint="leave them out")
    from pgpis.jobs import render_failures
    from pgpis.synth.files.sheet import people_of, sample_people, write_sheet

    if options.root is not None:
        people = people_of(options.root, options.people, options.views)
    else:
        size = SIZES[options.size or "256x176"]
        people = sample_people(options.seed or 0, options.people, options.views, size)
    failures = write_sheet(options.out, people, options.overlay, options.across, options.zoom)
    sys.stdout.write(f"{options.out}: {sum(map(len, people))} pictures of {len(people)} people\n")
    sys.stdout.write(render_failures(failures))
    return 1 if failures else 0


def _add_workers(parser: OneLineParser) -> None:
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes; the files do not depend on it [all cores]"
    )


def _check_least(options: argparse.Namespace, least: dict[str, int]) -> None:
    for name, value in least.items():
        check_range(f"--{name}", getattr(options, name), value, whole=True, optional=True)
