"""``pgpis prepare``: make the conditions of both models from photographs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pgpis.cli.verbs import OneLineParser
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError, check_range, nearest
from pgpis.files import locked, remove_unfinished
from pgpis.pictures.kinds import prepared
from pgpis.preprocess.settings import (
    DenseposeName,
    FaceName,
    PoseName,
    PrepareSettings,
    SkeletonName,
)

if TYPE_CHECKING:
    from pgpis.preprocess.run import PrepareResult

SHOWN = 20
DEFAULTS = PrepareSettings()


def parser() -> OneLineParser:
    """Return the parser of ``pgpis prepare``."""
    root = OneLineParser(
        prog="pgpis prepare",
        description="Key points, DensePose maps, textures and face embeddings from plain photographs. "
        "Run again, it makes what is missing.",
        allow_abbrev=False,
    )
    root.add_argument("root", type=Path, help="folder of photographs, or a data set")
    root.add_argument(
        "--conditions",
        default="pose,densepose,texture,face",
        help=f"what to make, joined by commas: {', '.join(prepared())} [pose,densepose,texture,face]",
    )
    root.add_argument(
        "--layout",
        choices=["auto", "photos", *get_args(LayoutName)],
        default="auto",
        help="where the files go: as a data set has them, or into folders beside the photographs' [auto]",
    )
    root.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of each stage [all cores]")
    root.add_argument("--runner", choices=["local", "ray"], default="local", help="this machine, or a Ray cluster")
    root.add_argument("--again", action="store_true", help="look again where an earlier run found nobody or no face")
    root.add_argument(
        "--preview", type=int, nargs="?", const=48, metavar="N", help="write sheets of the first N pictures [48]"
    )
    add_settings(root)
    return root


def add_settings(root: argparse._ActionsContainer, prefix: str = "") -> None:
    """Add the options that say which tools are used."""

    def add(name: str, text: str, **rest: object) -> None:
        root.add_argument(f"--{prefix}{name}", help=text, **rest)  # type: ignore[arg-type]

    add("weights", "folder of weights [$PGPIS_WEIGHTS, ~/.cache/pgpis/weights, libraries' caches]", type=Path)
    add("device", "cpu, cuda, cuda:1 [a GPU if there is one]")
    add("dtype", "bf16 is faster on a GPU [fp32]", choices=["fp32", "bf16"], default=DEFAULTS.dtype)
    add("batch-size", "pictures that DensePose sees at once [1]", type=int, default=DEFAULTS.batch_size)
    add("person", "of several: 0 the largest, 1 the second largest, ... [0; DensePose: most certain]", type=int)
    add("densepose", "DensePose's net [r101-dl]", choices=get_args(DenseposeName), default=DEFAULTS.densepose)
    add("densepose-weights", "the net's own file", type=Path)
    add("densepose-config", "detectron2's configuration", type=Path)
    add("overflow", "U, V outside [0, 1] [clamp]; wrap as MCLD's files", choices=["clamp", "wrap"], default="clamp")
    add("pose", "pose model [wholebody133]", choices=get_args(PoseName), default=DEFAULTS.pose)
    add("skeleton", "points that are written [body18]", choices=get_args(SkeletonName), default=DEFAULTS.skeleton)
    add("pose-threshold", "least confidence of a point [0.3]", type=float, default=DEFAULTS.pose_threshold)
    add("face", "face models [antelopev2]", choices=get_args(FaceName), default=DEFAULTS.face)
    add("upscale-faces", "enlarge faces below these pixels [112]; 0: never", type=int, default=DEFAULTS.upscale_faces)
    add("texture-mask", "MCLD's texture_bg_200.png [our own chart mask]", type=Path)


def settings_of(options: argparse.Namespace, prefix: str = "") -> PrepareSettings:
    """Return what :func:`add_settings` has parsed.

    Raises:
        PgpisError: Options contradict each other.
    """
    names = PrepareSettings.__dataclass_fields__
    given = {name: getattr(options, f"{prefix.replace('-', '_')}{name}") for name in names}
    if given["device"] is None:
        import torch

        given["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    return PrepareSettings(**given)


def conditions_of(text: str) -> list[str]:
    """Read names joined by commas, without doubles.

    Raises:
        PgpisError: A name is unknown.
    """
    found: list[str] = []
    for word in text.split(","):
        condition = next((known for known in prepared() if known == word.strip()), None)
        if condition is None:
            raise PgpisError(
                f"--conditions: unknown '{word}'{nearest(word, prepared())}; known are {', '.join(prepared())}"
            )
        found.append(condition)
    return list(dict.fromkeys(found))


def run(_verb: str, words: Sequence[str]) -> int:
    """Run ``pgpis prepare``; 1 if a picture failed."""
    options = parser().parse_args(list(words))
    check_range("--workers", options.workers, 1, whole=True)
    settings = settings_of(options)
    conditions = conditions_of(options.conditions)
    # these load torch
    from pgpis.preprocess.cluster import run_ray
    from pgpis.preprocess.listing import find_pictures
    from pgpis.preprocess.preview import write_previews
    from pgpis.preprocess.record import NAME, Record
    from pgpis.preprocess.run import prepare, run_local

    files = find_pictures(options.root, conditions, options.layout)
    if settings.skeleton == "wholebody133" and "pose" in conditions and files[0].path("pose").suffix == ".txt":
        raise PgpisError(
            f"--skeleton wholebody133: the layout of {options.root} keeps 18 points", hint="--layout photos"
        )
    folder = options.root if options.root.is_dir() else options.root.parent
    runner = run_local if options.runner == "local" else run_ray
    with locked(folder):
        for place in {path.parent for file in files for _, path in file.outputs}:
            remove_unfinished(place)
        record = Record(folder / NAME)
        result = prepare(files, conditions, settings, record, runner, options.workers, again=options.again)
    sys.stdout.write(_summary(conditions, result, record.path))
    if options.preview is not None:
        place = folder.resolve().with_name(f"{folder.resolve().name}_preview")
        sheets = write_previews(files, conditions, record, place, options.preview)
        sys.stdout.write(f"{len(sheets)} preview sheets in {place}\n")
    return 1 if result.failures else 0


def _summary(conditions: Sequence[str], result: PrepareResult, path: Path) -> str:
    lines = []
    for condition in conditions:
        failed = [outcome for outcome in result.failures if outcome.condition == condition]
        nothing = sum(not outcome.found for outcome in failed)
        seconds = result.seconds.get(condition, 0.0)
        rate = f", {result.made[condition] / seconds:.1f} pictures/s" if seconds and result.made[condition] else ""
        lines.append(
            f"{condition}: {result.made[condition]} made{rate}, {result.already[condition]} there already, "
            f"{nothing} without, {len(failed) - nothing} failed"
        )
    if result.failures:
        lines.append(f"{len(result.failures)} are missing; all reasons are in {path}:")
        lines += [f"  {outcome.name}: {outcome.condition}: {outcome.reason}" for outcome in result.failures[:SHOWN]]
        if len(result.failures) > SHOWN:
            lines.append(f"  ... and {len(result.failures) - SHOWN} more")
    return "\n".join(lines) + "\n"
