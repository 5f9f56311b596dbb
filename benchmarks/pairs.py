"""Time the bookkeeping of `pgpis predict` for a large table of pairs: how long to the first picture, how much memory.

The table names all pairs of equally many sources and poses, which are copies of one drawn person. Each run is stopped
once a picture more is there; "cold" starts in an empty folder, "resumed" in one that holds the pictures of so many
pairs. What the pairs themselves cost is the difference from a table of ten.

    python benchmarks/pairs.py [--pairs 1000000] [--done 100000] [--seconds 10] [--more-megabytes 200]
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path

import psutil

from pgpis.synth.files.dataset import make_dataset
from pgpis.synth.files.options import DatasetOptions

FEW = 10
"""Pairs of the table that a large one is compared with."""
MOST_LINKS = 10_000
"""Names of one file: file systems allow few ten thousand."""
SECONDS_TO_START = 1800
Figures = tuple[float, float, float]


def make_folders(root: Path, pairs: int) -> None:
    """Draw a person, and write folders of sources and poses, and tables of few and of all pairs."""
    assert not make_dataset(root / "drawn", DatasetOptions(2, 2, test_share=0.5, textures="none")).failures
    count = math.isqrt(pairs - 1) + 1
    for folder, pattern in (("sources", "*.jpg"), ("poses", "*.txt")):
        (root / folder).mkdir()
        original = min((root / "drawn").rglob(pattern))
        for number in range(count):
            shutil.copyfile(original, root / folder / f"{folder[:-1]}_{number:05}{original.suffix}")
    names = [sorted(path.name for path in (root / folder).iterdir()) for folder in ("sources", "poses")]
    for name, length in (("few", FEW), ("all", pairs)):
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("source", "pose"), *islice(product(*names), length)])


def first_picture(root: Path, table: str, out: Path) -> Figures:
    """Start `pgpis predict`, and stop it once it has written a picture more.

    Returns:
        Seconds until then, seconds of a core that its first process has taken, and megabytes of all its processes, of
        which what they share counts once.
    """
    words = ["--pipeline", "synth-fpdm", "--sources", root / "sources", "--poses", root / "poses", "--pairs",
             root / f"{table}.csv", "--out", out, "--steps", "1", "--batch-size", "1",
             "--trainer.enable_progress_bar=false"]  # fmt: skip
    begin, started = time.perf_counter(), time.time()
    process = subprocess.Popen([sys.executable, "-m", "pgpis", "predict", *map(str, words)], stderr=subprocess.DEVNULL)
    records = out / ".parts" / "rank0.csv"
    while not (records.exists() and records.stat().st_mtime > started):
        if process.poll() is not None or time.perf_counter() - begin > SECONDS_TO_START:
            process.kill()
            raise SystemExit(f"pgpis predict ended with {process.returncode} before it had drawn anything")
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    running = psutil.Process(process.pid)
    times = running.cpu_times()
    megabytes = sum(each.memory_full_info().pss for each in (running, *running.children(recursive=True))) / 1e6
    process.terminate()
    process.wait()
    return seconds, times.user + times.system, megabytes


def finish(out: Path, root: Path, pairs: int) -> None:
    """Let a folder hold the pictures of the first pairs, links to the one that is there, and their table."""
    with (out / ".parts" / "rank0.csv").open(newline="") as file:
        names, first = list(csv.reader(file))[:2]
    row = dict(zip(names, first, strict=True))
    with (root / "all.csv").open(newline="") as file, (out / "predictions.csv").open("w", newline="") as table:
        lines = csv.DictReader(file)
        writer = csv.writer(table)
        writer.writerow(names)
        picture = out / row["image"]
        for number, line in enumerate(islice(lines, pairs)):
            pair = "_2_".join(Path(line[column]).stem for column in ("source", "pose"))
            copy = out / f"{pair}.png"
            if copy != picture and number % MOST_LINKS == 0:
                shutil.copyfile(picture, copy)
                picture = copy
            elif not copy.exists():
                copy.hardlink_to(picture)
            source, pose = (root / f"{column}s" / line[column] for column in ("source", "pose"))
            writer.writerow((row | {"pair_id": pair, "image": copy.name, "source": source, "pose": pose}).values())


def main() -> int:
    """Print seconds and megabytes; return 1 if either is too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10**6)
    parser.add_argument("--done", type=int, default=10**5, help="pairs that an earlier run has finished")
    parser.add_argument("--seconds", type=float, default=math.inf, help="most until the first picture of a cold start")
    parser.add_argument("--megabytes", type=float, default=math.inf, help="most at that moment")
    parser.add_argument(
        "--more-megabytes", type=float, default=math.inf, help=f"most of these beyond those of {FEW} pairs"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_folders(root, options.pairs)
        few = report("cold", FEW, first_picture(root, "few", root / "few"))
        cold = report("cold", options.pairs, first_picture(root, "all", root / "out"), few)
        finish(root / "out", root, options.done)
        report(f"resumed after {options.done:,}", options.pairs, first_picture(root, "all", root / "out"), few)
    more = cold[2] - few[2]
    return int(cold[0] > options.seconds or cold[2] > options.megabytes or more > options.more_megabytes)


def report(start: str, pairs: int, figures: Figures, few: Figures | None = None) -> Figures:
    """Print one line, and return its figures."""
    print(f"{start}, {pairs:,} pairs: {_line(figures)}", flush=True)
    if few is not None:
        print(f"  more than for {FEW}: {_line([large - small for large, small in zip(figures, few, strict=True)])}")
    return figures


def _line(figures: Sequence[float]) -> str:
    return "{:.1f} s, {:.1f} s of a core, {:.0f} MB".format(*figures)


if __name__ == "__main__":
    sys.exit(main())
