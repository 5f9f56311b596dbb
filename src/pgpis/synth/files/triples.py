"""The editing benchmark: (source, edit, truth) triples drawn from a data set's manifest.

For each triple ``N`` (``outfit-000012``) of a folder:

=========================  ========================================================================================
``source/N.png``           the picture that is to be edited
``reference/N.png``        a picture of another person that shows the outfit, identity or pose to take
``truth/N.png``            the source with that one thing changed
``mask/N.png``             255 where truth and source differ
``{source,…}_iuv/N.png``   IUV of the three pictures; read as RGB: V, U, part
``truth_pose/N.txt``       18 key points of the truth, as in DeepFashion's ``pose`` files
``triples.csv``            the names of all of them
``triples.jsonl``          the scenes, to draw them again
=========================  ========================================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pgpis.errors import PgpisError, check_range
from pgpis.files import resolved, sha256_of, write_text, writing
from pgpis.pictures.iuv import iuv_pixels
from pgpis.pictures.keypoint_files import write_keypoints
from pgpis.synth.files.deepfashion import openpose_keypoints
from pgpis.synth.files.formats import Files, json_line, write_image
from pgpis.synth.files.manifest import MANIFEST, Entry, plain, read_manifest
from pgpis.synth.files.resuming import Report, drawn_units
from pgpis.synth.scene.edit import isolated, with_fabrics, with_identity, with_outfit, with_paint, with_pose
from pgpis.synth.scene.sampling import view_of
from pgpis.synth.scene.scene import Scene

Kind = Literal["outfit", "fabric", "identity", "paint", "pose"]
EDITS: dict[Kind, tuple[Callable[[Scene, Any], Scene], str]] = {
    "outfit": (with_outfit, "outfit"),
    "fabric": (with_fabrics, "outfit"),
    "identity": (with_identity, "identity"),
    "paint": (with_paint, "identity"),
    "pose": (with_pose, "pose"),
}
"""The edit, and what it takes of the other scene."""
KINDS = tuple(EDITS)
GEOMETRY: tuple[Kind, ...] = ("outfit", "identity", "pose")
"""Edits that move triangles; their pictures are drawn without creases and floor shadow."""
FACIAL: tuple[Kind, ...] = ("identity", "paint")
"""Edits of which a view from behind shows little; they take sources from other views."""
ROLES = ("source", "reference", "truth")
COLUMNS = ("source", "reference", "truth", "mask", "kind", "source_name", "reference_name")


@dataclass(frozen=True)
class Triple:
    """One edit: which picture, and whose outfit, identity or pose it takes."""

    kind: Kind
    index: int
    source: Entry
    other: Entry
    pictures: int = field(default=3, init=False)

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"{self.kind}-{self.index:06d}"

    @property
    def record(self) -> str:
        """Name of its record, which says that it is done."""
        return f"records/{self.name}.json"

    def scenes(self) -> tuple[Scene, Scene]:
        """Return the scenes of source and truth."""
        source, other = self.source.scene, self.other.scene
        if self.kind in GEOMETRY:
            source = isolated(source)
        edit, taken = EDITS[self.kind]
        return source, edit(source, getattr(other, taken))


def make_triples(
    root: Path,
    out: Path,
    kinds: Sequence[Kind],
    pictures: int = 100,
    seed: int = 0,
    split: str = "test",
    workers: int = 1,
) -> Report:
    """Write the triples of a data set, or what is missing of them.

    Args:
        root: Folder of a data set in the deepfashion layout.
        out: Folder to write to. One begun with fewer pictures is extended; other options, or another manifest in the
            same place, are refused.
        kinds: Which edits.
        pictures: Triples of each kind.
        seed: Seed of the choice of pictures.
        split: ``train``, ``test`` or ``all``: whose pictures.
        workers: Number of processes; the files do not depend on it.

    Raises:
        PgpisError: The manifest is missing or damaged, names too few people, or the folder cannot be written.
    """
    check_range("--pictures", pictures, 1, whole=True)
    check_range("--seed", seed, 0, whole=True)
    entries = [
        entry for entry in read_manifest(root) if entry.layout == "deepfashion" and split in (entry.split, "all")
    ]
    if len({entry.person for entry in entries}) < 2:
        raise PgpisError(
            f"{root / MANIFEST} has fewer than two people in the deepfashion layout whose split is {split}",
            hint="an edit needs another person to take from: choose --split all, or draw more people",
        )
    kinds = sorted({*kinds})
    triples = [triple for kind in KINDS if kind in kinds for triple in choose(entries, kind, pictures, seed)]
    options = {"from": str(resolved(root)), "kind": kinds, "pictures": pictures, "seed": seed, "split": split}
    options["manifest"] = sha256_of(root / MANIFEST)[:16]  # another data set may lie there by now
    with drawn_units(out, options, triples, draw_triple, workers, growing="pictures") as report:
        _write_lists(out, triples)
        return report


def choose(entries: Sequence[Entry], kind: Kind, pictures: int, seed: int) -> list[Triple]:
    """Choose sources at random, each once before any comes again, and for each another person to take from.

    The other person is of the same sex where there is one. Their picture has the same view for garments, is a front
    for identities, and has the same framing for poses, so that the limbs stay in the picture.

    Raises:
        PgpisError: The kind takes sources that show a face, and there is none.
    """
    people: dict[int, list[Entry]] = {}
    for entry in entries:
        people.setdefault(entry.person, []).append(entry)
    female = {number: views[0].scene.identity.female for number, views in people.items()}
    sources = [entry for entry in entries if kind not in FACIAL or view_of(entry.view)[0] != "3_back"]
    if not sources:
        hint = "choose another --kind or --split all, or draw more views"
        raise PgpisError(f"--kind {kind}: no picture shows a face, all of them are views from behind", hint=hint)
    triples: list[Triple] = []
    round_number = 0
    while len(triples) < pictures:
        rng = np.random.default_rng([seed, KINDS.index(kind), round_number])
        for position in rng.permutation(len(sources))[: pictures - len(triples)]:
            source = sources[position]
            others = [number for number in people if number != source.person]
            alike = [number for number in others if female[number] == female[source.person]]
            views = people[(alike or others)[rng.integers(len(alike or others))]]
            triples.append(Triple(kind, len(triples), source, _reference(kind, source, views, rng)))
        round_number += 1
    return triples


def _reference(kind: Kind, source: Entry, views: Sequence[Entry], rng: np.random.Generator) -> Entry:
    if kind in FACIAL:
        return views[0]
    if kind == "pose":
        alike = [entry for entry in views if view_of(entry.view)[2] == view_of(source.view)[2]]
    else:
        alike = [entry for entry in views if entry.view == source.view]
    chosen = alike or views
    return chosen[int(rng.integers(len(chosen)))]


def draw_triple(files: Files, triple: Triple) -> dict[str, Any]:
    """Draw one triple, write its files, and return its line in the lists and its scenes."""
    source, truth = (plain(scene) for scene in triple.scenes())
    entries = {
        "source": replace(triple.source, values=source),
        "reference": triple.other,
        "truth": replace(triple.source, values=truth),
    }
    pictures = {role: entry.draw() for role, entry in entries.items()}
    names: dict[str, Any] = {}

    def place(shown: str, suffix: str = ".png") -> Path:
        names[shown] = f"{shown}/{triple.name}{suffix}"
        return files.add(names[shown])

    for role, picture in pictures.items():
        write_image(place(role), picture.rgb)
    for role, picture in pictures.items():
        write_image(place(f"{role}_iuv"), iuv_pixels(picture.iuv))
    changed = (pictures["source"].rgb != pictures["truth"].rgb).any(axis=-1)
    write_image(place("mask"), np.where(changed, 255, 0).astype(np.uint8))
    write_keypoints(place("truth_pose", ".txt"), openpose_keypoints(pictures["truth"], "limbs"))
    line = {"kind": triple.kind, "source_name": triple.source.name, "reference_name": triple.other.name}
    scenes = {f"{role}_scene": entry.values for role, entry in entries.items()}
    return {"line": {**names, **line, "size": triple.source.size}, "scenes": scenes}


def _write_lists(out: Path, triples: Sequence[Triple]) -> None:
    """Write the lists of all triples that are done, in order."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    with writing(out / "triples.jsonl") as lines:
        for path in filter(Path.is_file, (out / triple.record for triple in triples)):
            record = json.loads(path.read_bytes())
            writer.writerow(record["line"])
            lines.write(json_line({**record["line"], **record["scenes"]}))
    write_text(out / "triples.csv", text.getvalue())
