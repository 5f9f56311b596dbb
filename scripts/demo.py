"""The demo: held-out synthetic people in poses of their own, by both shipped models, beside the truth.

    python scripts/demo.py --out outputs/demo [--people 6]

Draws people that no shipped model has seen, predicts each in four poses with FPDM and MCLD, gives each another
one's identity and clothes with MCLD, compares with the exact truth, puts the people of two photographs into new poses
and each other's clothes, and writes ``index.html``.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pgpis.cli import main as pgpis
from pgpis.data import DeepFashion, Pair
from pgpis.errors import PgpisError
from pgpis.evaluate.baselines import warp
from pgpis.evaluate.exact import REGIONS, region_errors
from pgpis.evaluate.page import ImageCell, Section, Table, render_page
from pgpis.files import write_text
from pgpis.metrics import PSNR, SSIM
from pgpis.pictures.images import read_image, save_image
from pgpis.pictures.iuv import read_part_u_v
from pgpis.pictures.sheet import grid, strip, tile
from pgpis.synth.files.manifest import Entry, read_manifest
from pgpis.synth.scene.edit import with_identity, with_outfit
from pgpis.synth.scene.render import Picture, draw

VIEWS, SEED = 5, 2026
"""The benchmark's seed: none of the training people, whose seed is another."""
BACK = 2
"""View from behind."""
CLOTHES = ("upper", "lower", "feet")
EDITS = {"identity": with_identity, "clothes": with_outfit}
PHOTOGRAPHS = {
    "collins": ("skimage", "data/astronaut.png", "Eileen Collins, photograph by NASA, in scikit-image"),
    "hopper": (
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "Grace Hopper, photograph by the US Navy, in Matplotlib",
    ),
}
"""Public domain, and in packages: no download. Name, package and file, who it is."""
SEEN = ("pose", "densepose", "texture", "backdrop")
"""What is made of a photograph; the backdrop shows the silhouette."""
COLUMNS = ("ssim ↑", "psnr ↑", *(f"{name.replace('_', ' ')} ↓" for name in REGIONS))
MARK = ".pgpis-demo"
"""File by which a demo knows the folder that another one has made or begun."""
ERRORS = "Errors are mean absolute differences of colours, 0 to 255, where the truth shows it."


@dataclass(frozen=True)
class Row:
    """One picture to make: a person, by number, and the view whose pose it takes."""

    person: int
    view: int
    pair: Pair

    @property
    def name(self) -> str:
        """What ``pgpis predict`` calls the result."""
        return f"person{self.person}_2_person{self.person}_view{self.view}"


def run(*words: object, alone: bool = False) -> None:
    """Run a pgpis command as a user would, and stop the demo if it fails.

    ``alone`` gives it a process of its own: otherwise its workers would each import all that this script does.
    """
    command = [str(word) for word in words]
    print(f"\n$ pgpis {' '.join(command)}", flush=True)
    if alone:
        code = subprocess.run([sys.executable, "-m", "pgpis", *command], check=False).returncode
    else:
        code = pgpis(command)
    if code:
        sys.exit(code)


def edited(other: str) -> dict[str, tuple[tuple[str, str], str]]:
    """Return, by edit, its columns in a table of pairs, and how ``pgpis predict`` ends the names of its results."""
    stem = Path(other).stem
    return {
        "identity": ((other, ""), f"identity-{stem}"),
        "clothes": (
            ("", "|".join(f"{part}={other}" for part in CLOTHES)),
            "_".join(f"{part}-{stem}" for part in CLOTHES),
        ),
    }


def edit_results(person: int, people: int) -> dict[str, str]:
    """Return, by edit, where the picture of a drawn person with it is, by the next one of so many people."""
    ends = edited(f"person{(person + 1) % people}").items()
    return {name: f"mcld/person{person}_2_person{person}_{end}.png" for name, (_, end) in ends}


def count(rows: Sequence[Row]) -> int:
    """Return the number of people."""
    return len({row.person for row in rows})


def collect(data: Path, out: Path) -> list[Row]:
    """Copy what ``pgpis predict`` reads to one folder of each kind, as a user's own files would lie."""
    pairs: list[Pair] = []
    for split in ("train", "test"):  # no model was trained on either
        part = DeepFashion(data, split, layout="fpdm", self_pair_probability=0)
        part.setup()
        pairs += part.pairs
    rows: list[Row] = []
    for person, folder in enumerate(sorted({pair.source.parent for pair in pairs})):
        own = sorted((pair for pair in pairs if pair.source.parent == folder), key=lambda pair: pair.pair_id)
        first = min(pair.source for pair in own)
        chosen = [pair for pair in own if pair.source == first]
        shown = {"sources": first, "textures": chosen[0].file("texture"), "faces": chosen[0].file("face")}
        shown |= {f"sources_{kind}": chosen[0].file(kind) for kind in ("surface", "backdrop")}
        for kind, path in shown.items():
            assert path is not None, f"{first} has no {kind}"
            _copy(path, out / kind / f"person{person}{path.suffix}")
        itself = next(pair for pair in pairs if pair.target == first)
        _copy(_known(itself.file("iuv")), out / "maps" / f"person{person}.png")
        for view, pair in enumerate(chosen, start=1):
            _copy(_known(pair.pose), out / "poses" / f"person{person}_view{view}.txt")
            _copy(_known(pair.file("iuv")), out / "maps" / f"person{person}_view{view}.png")
            rows.append(Row(person, view, pair))
    return rows


def _known(path: Path | None) -> Path:
    assert path is not None
    return path


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def predict(out: Path, rows: Sequence[Row]) -> None:
    """Make all pictures with the two shipped models; MCLD also keeps each person's pose, with and without edits."""
    people = count(rows)
    _table(out / "fpdm.csv", [(f"person{r.person}.jpg", f"person{r.person}_view{r.view}.txt", "", "") for r in rows])
    others = [(f"person{n}.jpg", f"person{n}.png", f"person{(n + 1) % people}.jpg") for n in range(people)]
    mcld_rows = [(f"person{r.person}.jpg", f"person{r.person}_view{r.view}.png", "", "") for r in rows]
    kept = [(source, pose, "", "") for source, pose, _ in others]
    edits = [(source, pose, *columns) for source, pose, other in others for columns, _ in edited(other).values()]
    _table(out / "mcld.csv", [*mcld_rows, *kept, *edits])
    sources, poses, maps = out / "sources", out / "poses", out / "maps"
    run("predict", "--sources", sources, "--poses", poses, "--pairs", out / "fpdm.csv", "--out", out / "fpdm")
    mcld = ("predict", "--pipeline", "synth-mcld", "--sources", sources, "--poses", maps)
    mcld = (*mcld, "--textures", out / "textures", "--faces", out / "faces")
    run(*mcld, "--pairs", out / "mcld.csv", "--out", out / "mcld")


def _table(path: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "pose", "identity", "clothes"])
        writer.writerows(rows)


def photographs(out: Path, rows: Sequence[Row]) -> list[str]:
    """Put the people of photographs into poses of drawn ones, with nothing but what ships; return the poses' names."""
    for name, (package, file, _) in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"{package} is not installed"
        path = Path(str(spec.origin)).parent / file
        _copy(path, out / "photographs" / f"{name}{path.suffix}")
    # of a back, a photograph from the front shows nothing
    chosen = sorted(range(count(rows)), key=lambda person: 1 + person % (VIEWS - 1) == BACK)[:3]
    views = {1 + person % (VIEWS - 1): person for person in chosen}
    for row in rows:
        if views.get(row.view) == row.person:
            _copy(_known(row.pair.target), out / "dancers" / f"person{row.person}.jpg")
    folders = ("--sources", out / "photographs", "--driving", out / "dancers")
    run("prepare", out / "photographs", "--conditions", ",".join(SEEN), "--preview")
    run("predict", *folders, "--out", out / "photographs_fpdm")
    mcld = ("--pipeline", "synth-mcld", "--missing-face", "drop")
    poses = sorted(path.stem for path in (out / "dancers").iterdir())
    files = sorted(path.name for path in (out / "photographs").iterdir() if path.stem in PHOTOGRAPHS)
    table = [(own, f"{pose}.jpg", "", "") for own in files for pose in poses]
    for own, other in zip(files, reversed(files), strict=True):
        table += [(own, f"{poses[0]}.jpg", *columns) for columns, _ in edited(other).values()]
    _table(out / "photographs.csv", table)
    run("predict", *mcld, *folders, "--pairs", out / "photographs.csv", "--out", out / "photographs_mcld")
    return poses


def photograph_section(poses: Sequence[str]) -> Section:
    """Show the photographs, what was seen in them, and the results."""
    lines: list[list[str | ImageCell]] = [["what was seen", ImageCell("photographs_preview/sheet-0001.jpg")]]
    lines.append(["poses", *(ImageCell(f"dancers/{pose}.jpg") for pose in poses)])
    for name in PHOTOGRAPHS:
        for model in ("fpdm", "mcld"):
            files = [f"photographs_{model}/{name}_2_{pose}.png" for pose in poses]
            lines.append([f"{name}, {model.upper()}", *map(ImageCell, files)])
    for name, other in zip(PHOTOGRAPHS, reversed(PHOTOGRAPHS), strict=True):
        files = [f"photographs_mcld/{name}_2_{poses[0]}_{end}.png" for _, end in edited(other).values()]
        lines.append([f"{name}, MCLD: the other's head; the other's clothes", *map(ImageCell, files)])
    about = "; ".join(words for _, _, words in PHOTOGRAPHS.values())
    text = f"{about}. The nets that see them ship with pgpis; both models know drawn people alone."
    return Section("Photographs", text, tables=[Table((), lines, pictures=True)])


def paint(out: Path, rows: Sequence[Row]) -> None:
    """Paint the source's surface onto the target's: what can be done without a model."""
    for row in rows:
        source_map, target_map = (
            read_part_u_v(out / f"maps/person{row.person}{end}.png") for end in ("", f"_view{row.view}")
        )
        painted = warp(np.asarray(read_image(row.pair.source)), source_map, target_map)
        save_image(Image.fromarray(painted), out / "painted" / f"{row.name}.png")


def scores(pictures: Sequence[Image.Image], truths: Sequence[Picture]) -> list[float]:
    """Return the means of all columns."""
    ssim, psnr = SSIM("gaussian"), PSNR()
    errors: dict[str, list[float]] = {name: [] for name in REGIONS}
    for picture, truth in zip(pictures, truths, strict=True):
        ours = np.asarray(picture.resize((truth.rgb.shape[1], truth.rgb.shape[0])))
        both = [torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] for image in (ours, truth.rgb)]
        ssim.update(*both)
        psnr.update(*both)
        for name, value in region_errors(ours, truth).items():
            errors[name].append(value)
    return [float(ssim.compute()), float(psnr.compute()), *(float(np.nanmean(values)) for values in errors.values())]


def page(
    out: Path,
    rows: Sequence[Row],
    tables: Mapping[str, Mapping[str, Sequence[float]]],
    poses: Sequence[str],
    seconds: float,
) -> Path:
    """Write ``index.html``."""
    people = count(rows)
    about = "The first picture is all that a model is shown of a person; MCLD also gets a face embedding."
    sections = [Section(text=f"{about} All people are drawn. Made in {seconds:.0f} s.")]
    for person in range(people):
        own = [row for row in rows if row.person == person]
        files = {
            "pose": [f"fpdm/poses/{row.name}.png" for row in own],
            "truth": [os.path.relpath(_known(row.pair.target), out) for row in own],
            "FPDM": [f"fpdm/{row.name}.png" for row in own],
            "MCLD": [f"mcld/{row.name}.png" for row in own],
        }
        sources = [ImageCell(f"sources/person{person}.jpg"), "", "", ""]
        lines = [[first, name, *map(ImageCell, files[name])] for first, name in zip(sources, files, strict=True)]
        sections.append(Section(f"Person {person + 1}", tables=[Table((), lines, pictures=True)]))
    sections.append(photograph_section(poses))
    edits = []
    for person in range(people):
        names = [f"sources/person{person}.jpg", f"sources/person{(person + 1) % people}.jpg"]
        for edit, result in edit_results(person, people).items():
            names += [result, f"truth/{edit}{person}.png"]
        edits.append([ImageCell(name) for name in names])
    head = ("source", "other", "identity", "truth", "clothes", "truth")
    title = "MCLD: another one's identity, another one's clothes"
    sections.append(Section(title, tables=[Table(head, edits, pictures=True)]))
    for title, table in tables.items():
        cells = [[name, *(f"{value:.3f}" for value in values)] for name, values in table.items()]
        sections.append(Section(title, ERRORS, [Table(("", *COLUMNS), cells)]))
    text = render_page(f"pgpis: {people} people whom the models have never seen", sections)
    write_text(out / "index.html", text)
    return out / "index.html"


def sheet(out: Path, rows: Sequence[Row]) -> None:
    """Write ``sheet.jpg``: of each person the source and one pose, FPDM, MCLD, truth; two people side by side."""
    height, people = 192, count(rows)
    strips = []
    for person in range(people):
        row = next(row for row in rows if row.person == person and row.view == 1 + person % (VIEWS - 1))
        files = [row.pair.source, *(out / folder / f"{row.name}.png" for folder in ("fpdm/poses", "fpdm", "mcld"))]
        strips.append(strip([tile(read_image(path), height, height) for path in [*files, _known(row.pair.target)]]))
    width = max(image.width for image in strips)
    save_image(grid(strips, people, (height, width), across=2, gap=24), out / "sheet.jpg")


def photograph_sheet(out: Path, poses: Sequence[str]) -> None:
    """Write ``photographs.jpg``: each photograph, and for each pose who drives it, FPDM, MCLD."""
    height, strips = 256, []
    for name in PHOTOGRAPHS:
        (photograph,) = (out / "photographs").glob(f"{name}.*")
        tiles = [tile(read_image(photograph), height, height)]
        for pose in poses:
            results = [out / f"photographs_{model}/{name}_2_{pose}.png" for model in ("fpdm", "mcld")]
            tiles += [tile(read_image(path), height, height) for path in (out / f"dancers/{pose}.jpg", *results)]
        strips.append(strip(tiles))
    save_image(
        grid(strips, len(strips), (height, max(image.width for image in strips)), across=1), out / "photographs.jpg"
    )


def evaluate(out: Path, data: Path, rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Score everything against exact drawings."""
    entries: dict[Path, Entry] = {data / entry.name: entry for entry in read_manifest(data)}
    truths = [entries[_known(row.pair.target)].draw() for row in rows]
    pictures = {
        "the source as it is": [read_image(row.pair.source) for row in rows],
        "the source painted onto the target's exact surface": _read(out / "painted", rows),
        "FPDM": _read(out / "fpdm", rows),
        "MCLD": _read(out / "mcld", rows),
    }
    tables = {f"{len(rows)} pairs": {name: scores(files, truths) for name, files in pictures.items()}}
    firsts = [entries[row.pair.source] for row in rows if row.view == 1]
    stems = [f"person{person}_2_person{person}" for person in range(len(firsts))]
    before = [read_image(out / f"sources/person{person}.jpg") for person in range(len(firsts))]
    for name, change in EDITS.items():
        truths = []
        for person, entry in enumerate(firsts):
            other = firsts[(person + 1) % len(firsts)].scene
            scene = change(entry.scene, other.identity if name == "identity" else other.outfit)
            truths.append(draw(scene, *entry.size))
            save_image(Image.fromarray(truths[-1].rgb), out / "truth" / f"{name}{person}.png")
        edits = {
            "the source as it is": before,
            "MCLD without the edit": [read_image(out / "mcld" / f"{stem}.png") for stem in stems],
            "MCLD with the edit": [
                read_image(out / edit_results(person, len(stems))[name]) for person in range(len(stems))
            ],
        }
        tables[f"Another one's {name}: {len(firsts)} edits"] = {
            row: scores(files, truths) for row, files in edits.items()
        }
    return tables


def _read(folder: Path, rows: Sequence[Row]) -> list[Image.Image]:
    return [read_image(folder / f"{row.name}.png") for row in rows]


def clear(out: Path) -> None:
    """Empty a folder that an earlier demo made or began, and mark it as this one's.

    Raises:
        PgpisError: It is something else, which stays as it is.
    """
    marks = ((MARK,), ("index.html", "data/job.json"))  # the latter of earlier versions
    if not out.is_dir():
        is_free = not (out.exists() or out.is_symlink())
    else:
        is_free = not any(out.iterdir()) or any(all((out / name).is_file() for name in each) for each in marks)
    if not is_free:
        message = f"--out {out} is neither a new or empty folder nor one that a demo has made: nothing of it is removed"
        raise PgpisError(message, hint=f"--out {out / 'demo'}" if out.is_dir() else "--out outputs/demo")
    if out.is_dir():
        for path in out.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--people", type=int, default=6, help="at least two, each is edited with the next one [6]")
    options = parser.parse_args()
    if options.people < 2:
        parser.error("--people: expected at least 2")
    out: Path = options.out
    start = time.monotonic()
    try:
        clear(out)
    except PgpisError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    data = out / "data"
    # holes of textures are filled the fast way, with which MCLD scores the same (docs/benchmark.md)
    drawn = ("--people", options.people, "--views", VIEWS, "--seed", SEED, "--test-share", 0.5)
    run("synth", "--out", data, *drawn, "--textures", "seen", "--inpaint", "fast", alone=True)
    rows = collect(data, out)
    predict(out, rows)
    paint(out, rows)
    tables = evaluate(out, data, rows)
    poses = photographs(out, rows)
    sheet(out, rows)
    photograph_sheet(out, poses)
    index = page(out, rows, tables, poses, time.monotonic() - start)
    for title, table in tables.items():
        print(f"\n{title}: {', '.join(COLUMNS)}")
        for name, values in table.items():
            print(f"  {name:52} {' '.join(f'{value:8.3f}' for value in values)}")
    print(f"\nDone in {time.monotonic() - start:.0f} s. Open {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
