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
import functools
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pgpis.errors import PgpisError, check_range
from pgpis.files import locked, write_bytes, writing
from pgpis.jobs import Failure, run_units
from pgpis.synth.dataset import FORMAT, is_done, open_folder
from pgpis.synth.deepfashion import openpose_keypoints, pose_text
from pgpis.synth.edit import isolated, with_fabrics, with_identity, with_outfit, with_paint, with_pose
from pgpis.synth.files import json_line, write_image, write_iuv, write_json
from pgpis.synth.manifest import MANIFEST, Entry, plain, read_manifest
from pgpis.synth.sampling import VIEWS
from pgpis.synth.scene import Scene

Kind = Literal["outfit", "fabric", "identity", "paint", "pose"]
KINDS: tuple[Kind, ...] = ("outfit", "fabric", "identity", "paint", "pose")
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

    def scenes(self) -> tuple[Scene, Scene]:
        """Return the scenes of source and truth."""
        source, other = self.source.scene, self.other.scene
        if self.kind in GEOMETRY:
            source = isolated(source)
        match self.kind:
            case "outfit":
                return source, with_outfit(source, other.outfit)
            case "fabric":
                return source, with_fabrics(source, other.outfit)
            case "identity":
                return source, with_identity(source, other.identity)
            case "paint":
                return source, with_paint(source, other.identity)
            case "pose":
                return source, with_pose(source, other.pose)


@dataclass(frozen=True)
class TriplesReport:
    """What a run did."""

    drawn: int
    kept: int
    failures: tuple[Failure, ...]


def make_triples(
    root: Path,
    out: Path,
    kinds: Sequence[Kind],
    pictures: int = 100,
    seed: int = 0,
    split: str = "test",
    workers: int = 1,
) -> TriplesReport:
    """Write the triples of a data set, or what is missing of them.

    Args:
        root: Folder of a data set in the deepfashion layout.
        out: Folder to write to. One begun with fewer pictures is extended; other options are refused.
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
    triples = [triple for kind in KINDS if kind in kinds for triple in choose(entries, kind, pictures, seed)]
    options = {"format": FORMAT, "from": str(root.resolve()), "kind": sorted(kinds), "pictures": pictures}
    with locked(out):
        open_folder(out, {**options, "seed": seed, "split": split}, growing="pictures")
        missing = [triple for triple in triples if not is_done(out, record_path(out, triple))]
        failures = run_units(missing, functools.partial(make_triple, out), workers)
        write_lists(out, triples)
    return TriplesReport(len(missing) - len(failures), len(triples) - len(missing), tuple(failures))


def choose(entries: Sequence[Entry], kind: Kind, pictures: int, seed: int) -> list[Triple]:
    """Choose sources at random, each once before any comes again, and for each another person to take from.

    The other person is of the same sex where there is one. Their picture has the same view for garments, is a front
    for identities, and has the same framing for poses, so that the limbs stay in the picture.
    """
    people: dict[int, list[Entry]] = {}
    for entry in entries:
        people.setdefault(entry.person, []).append(entry)
    female = {number: views[0].scene.identity.female for number, views in people.items()}
    sources = [entry for entry in entries if kind not in FACIAL or _view(entry)[0] != "3_back"]
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
        alike = [entry for entry in views if _view(entry)[2] == _view(source)[2]]
    else:
        alike = [entry for entry in views if entry.view == source.view]
    chosen = list(alike or views)
    return chosen[int(rng.integers(len(chosen)))]


def _view(entry: Entry) -> tuple[str, str, str]:
    return VIEWS[entry.view % len(VIEWS)]


def record_path(out: Path, triple: Triple) -> Path:
    """Return the file that tells that a triple is done."""
    return out / "records" / f"{triple.name}.json"


def make_triple(out: Path, triple: Triple) -> None:
    """Draw one triple; its record is written last, and tells that it is done."""
    record = record_path(out, triple)
    record.unlink(missing_ok=True)
    source, truth = (plain(scene) for scene in triple.scenes())
    entries = {
        "source": replace(triple.source, values=source),
        "reference": triple.other,
        "truth": replace(triple.source, values=truth),
    }
    pictures = {role: entry.draw() for role, entry in entries.items()}
    files = _files(triple)
    for role, picture in pictures.items():
        write_image(out / files[role], picture.rgb)
        write_iuv(out / files[f"{role}_iuv"], picture.iuv)
    changed = (pictures["source"].rgb != pictures["truth"].rgb).any(axis=-1)
    write_image(out / files["mask"], np.where(changed, 255, 0).astype(np.uint8))
    pose = pose_text(openpose_keypoints(pictures["truth"], "limbs"))
    write_bytes(out / files["truth_pose"], pose.encode())
    names = {"source_name": triple.source.name, "reference_name": triple.other.name}
    line = {"kind": triple.kind, **names, "size": triple.source.size}
    scenes = {f"{role}_scene": entry.values for role, entry in entries.items()}
    write_json(record, {"files": list(files.values()), "line": {**files, **line}, "scenes": scenes})


def _files(triple: Triple) -> dict[str, str]:
    """Return the files of a triple by what they show."""
    pictures = {role: f"{role}/{triple.name}.png" for role in (*ROLES, *(f"{role}_iuv" for role in ROLES), "mask")}
    return {**pictures, "truth_pose": f"truth_pose/{triple.name}.txt"}


def write_lists(out: Path, triples: Sequence[Triple]) -> None:
    """Write the lists of all triples that are done, in order."""
    records = [path for path in (record_path(out, triple) for triple in triples) if path.is_file()]
    with writing(out / "triples.csv") as table, writing(out / "triples.jsonl") as lines:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for path in records:
            record = json.loads(path.read_bytes())
            writer.writerow(record["line"])
            lines.write(json_line({**record["line"], **record["scenes"]}))
        table.write(text.getvalue().encode())
