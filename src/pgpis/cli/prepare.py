"""``pgpis prepare``: make the conditions of both models from photographs."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

from pgpis.cli.options import given
from pgpis.data.names import LayoutName
from pgpis.errors import PgpisError, check_range, nearest
from pgpis.files import locked, remove_unfinished, require, resolved
from pgpis.methods import load_packages
from pgpis.pictures.kinds import prepared
from pgpis.preprocess.settings import PrepareSettings, refuse_idle

if TYPE_CHECKING:
    from pgpis.preprocess.run import PrepareResult


USUAL = "pose,densepose,texture,face"


def prepare(
    root: Path,
    *,
    conditions: str = USUAL,
    layout: Literal["auto", "photos"] | LayoutName = "auto",
    workers: int | None = None,
    runner: Literal["local", "ray"] = "local",
    again: bool = False,
    preview: Annotated[int | None, {"metavar": "N", "nargs": "?", "const": 48}] = None,
    compare: bool = False,
    settings: PrepareSettings,
) -> int:
    """Make key points, DensePose maps, textures and face embeddings from plain photographs.

    Run again, it makes what is missing. The exit code is 1 if a picture failed.

    Args:
        root: Folder of photographs, or a data set.
        conditions: What to make, joined by commas: pose, densepose, texture, face, face_mask, surface, backdrop.
        layout: Where the files go: as a data set has them, or into folders beside the photographs'.
        workers: Processes of each stage; on a cluster, of all stages together [all cores].
        runner: This machine, or a Ray cluster.
        again: Look again where an earlier run found nobody or no face.
        preview: Write sheets of the first N pictures [48].
        compare: Make no files, but tell how far the lifter's maps agree with those of DensePose's net.
        settings: The tools.
    """
    check_range("--workers", workers, 1, whole=True, optional=True)
    check_range("--preview", preview, 1, whole=True, optional=True)
    require(root, "folder", hint="pgpis prepare FOLDER")
    if compare:
        _refuse_with_compare(
            {
                "--conditions": conditions != USUAL,
                "--workers": workers is not None,
                "--runner": runner != "local",
                "--again": again,
                "--preview": preview is not None,
            }
        )
        refuse_idle(given(settings), ["densepose"])
        return _compare(root, layout, settings)
    load_packages()
    chosen = conditions_of(conditions)
    refuse_idle(given(settings), chosen)
    # these load torch
    from pgpis.preprocess.listing import find_pictures, tell_of_gone
    from pgpis.preprocess.preview import write_previews
    from pgpis.preprocess.record import NAME, Record
    from pgpis.preprocess.run import prepare as make_conditions
    from pgpis.preprocess.run import run_local, run_ray

    files = find_pictures(root, chosen, layout)
    if settings.skeleton == "wholebody133" and "pose" in chosen and files[0].path("pose").suffix == ".txt":
        raise PgpisError(f"--skeleton wholebody133: the layout of {root} keeps 18 points", hint="--layout photos")
    folder = root if root.is_dir() else root.parent
    run = run_local if runner == "local" else run_ray
    with locked(folder):
        for place in {path.parent for file in files for _, path in file.outputs}:
            remove_unfinished(place)
        record = Record(folder / NAME)
        if root.is_dir():
            tell_of_gone(root, files, record.outcomes.values())
        result = make_conditions(files, chosen, settings, record, run, workers, again=again)
    sys.stdout.write(_summary(chosen, result, record.path))
    if preview is not None:
        place = resolved(folder).with_name(f"{resolved(folder).name}_preview")
        sheets = write_previews(files, chosen, record, place, preview)
        sys.stdout.write(f"{len(sheets)} preview sheets in {place}\n")
    return 1 if result.failures else 0


def _refuse_with_compare(others: Mapping[str, bool]) -> None:
    given = [option for option, is_given in others.items() if is_given]
    if given:
        message = f"--compare makes no files, so that {' and '.join(given)} would do nothing"
        raise PgpisError(message, hint="leave one of them out")


def _compare(root: Path, layout: str, settings: PrepareSettings) -> int:
    """Print how far the lifter and DensePose's net agree on each picture, and on average.

    Returns:
        0, or 1 if they never can, or if a picture cannot be read.
    """
    # these load torch
    from pgpis.jobs import meter, shortlist
    from pgpis.metrics.markup import markdown_table
    from pgpis.preprocess.compare import Agreement, compare_maps, reference_net
    from pgpis.preprocess.listing import find_pictures

    files = find_pictures(root, [], layout)
    head = [each.name for each in fields(Agreement)]
    results: list[tuple[str, Agreement | None]] = []
    unread: list[str] = []
    with meter("comparing", len(files)) as advance:
        for name, result in compare_maps(files, settings):
            if isinstance(result, str):
                unread.append(f"{name}: {result}")
            else:
                results.append((name, result))
            advance(1)
    rows = [[name, *(f"{value:.3f}" for value in astuple(each))] for name, each in results if each is not None]
    rows += [[name, *["nobody found"] * len(head)] for name, each in results if each is None]
    columns = zip(*(astuple(each) for _, each in results if each is not None), strict=True)
    means = [fmean(known) if (known := list(filter(math.isfinite, column))) else math.nan for column in columns]
    if means:
        rows.append(["mean", *(f"{mean:.3f}" for mean in means)])
    title = f"lifter against {reference_net(settings).densepose}"
    sys.stdout.write("\n".join(markdown_table([title, *head], rows)) + "\n")
    if unread:
        sys.stderr.write("\n".join([f"{len(unread)} cannot be read:", *shortlist(unread)]) + "\n")
    return 0 if means and not unread else 1


def conditions_of(text: str) -> list[str]:
    """Read names joined by commas, without doubles.

    Raises:
        PgpisError: A name is unknown.
    """
    conditions = list(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in conditions:
        if word not in prepared():
            known = ", ".join(prepared())
            raise PgpisError(f"--conditions: unknown '{word}'{nearest(word, prepared())}; known are {known}")
    return conditions


def _summary(conditions: Sequence[str], result: PrepareResult, path: Path) -> str:
    from pgpis.jobs import shortlist  # loads rich

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
    if result.doubtful:
        lines.append(f"{len(result.doubtful)} are uncertain; look at them (--preview):")
        lines += shortlist([f"{each.name}: {each.condition}: {each.doubt}" for each in result.doubtful])
    if result.failures:
        lines.append(f"{len(result.failures)} are missing; all reasons are in {path}:")
        lines += shortlist([f"{each.name}: {each.condition}: {each.reason}" for each in result.failures])
    return "\n".join(lines) + "\n"
