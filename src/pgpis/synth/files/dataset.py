"""Data sets of synthetic people: their units are drawn, then the lists over all of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pgpis.files import writing
from pgpis.synth.figure.photographs import require_photographs
from pgpis.synth.files import deepfashion, phoenix
from pgpis.synth.files.formats import Files, json_line
from pgpis.synth.files.manifest import MANIFEST, Entry
from pgpis.synth.files.options import DatasetOptions, Unit
from pgpis.synth.files.resuming import Report, drawn_units


def make_dataset(out: Path, options: DatasetOptions, workers: int = 1) -> Report:
    """Write a data set, or what is missing of it.

    Args:
        out: Its folder.
        options: What it is made of. A folder begun with fewer people is extended; other options are refused.
        workers: Number of processes; the files do not depend on it.

    Raises:
        PgpisError: The folder cannot be written or was begun with other options, or a worker was ended.
    """
    if options.textures != "none" and options.layout != "phoenix":
        deepfashion.texture_mapper(inpaint=options.inpaint)  # says what is missing before any process starts
    if options.look != "drawn" and options.layout != "phoenix":
        require_photographs()
    draw = functools.partial(draw_pictures, options)
    with drawn_units(out, asdict(options), options.units(), draw, workers, growing="people") as report:
        return replace(report, pictures=_write_lists(out, options))


def draw_pictures(options: DatasetOptions, files: Files, unit: Unit) -> dict[str, Any]:
    """Draw all pictures of a unit, write their files, and return what its record says of them."""
    write = deepfashion.write_person if unit.kind == "person" else phoenix.write_signer
    return {"pictures": [entry.to_json() for entry in write(files, options, unit.index, options.split(unit))]}


def _write_lists(out: Path, options: DatasetOptions) -> int:
    """Write manifest and lists over all units that are done, in order; return the number of pictures."""
    units = [unit for unit in options.units() if (out / unit.record).is_file()]
    pictures = 0
    with writing(out / MANIFEST) as file:
        for pictures, entry in enumerate(_entries(out, units), start=1):  # noqa: B007  the last is the number of them
            file.write(json_line(entry.to_json()))
    if options.layout != "phoenix":
        deepfashion.write_lists(out, _entries(out, [unit for unit in units if unit.kind == "person"]))
    if options.layout != "deepfashion":
        phoenix.write_lists(out, _entries(out, [unit for unit in units if unit.kind == "signer"]))
    return pictures


def _entries(out: Path, units: Sequence[Unit]) -> Iterator[Entry]:
    for unit in units:
        for value in json.loads((out / unit.record).read_bytes())["pictures"]:
            yield Entry.from_json(value)
