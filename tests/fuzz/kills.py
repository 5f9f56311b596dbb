"""Jobs that are killed at random moments and started again leave the same files as jobs that nobody disturbed.

    python tests/fuzz/kills.py                         12 kills of each job, some twenty minutes
    python tests/fuzz/kills.py --kills 3 --jobs fit    less

``fit`` writes with ``TMPDIR`` on another file system where there is one (/dev/shm).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "configs"
QUIET = ("--data.num_workers=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu")


class Job(NamedTuple):
    """A command, and what it leaves."""

    words: Callable[[Path], list[str]]
    """The command that writes to a folder, or goes on there."""
    results: Callable[[Path], dict[str, bytes]]
    """What has to be the same, by name."""


def main() -> int:
    """Kill every job; 1 if any result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="of each job [12]")
    parser.add_argument("--jobs", default="", help="names joined by commas [all]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    harm = 0
    with tempfile.TemporaryDirectory(prefix="pgpis-kills-") as temporary:
        jobs = make_jobs(Path(temporary))
        for name in options.jobs.split(",") if options.jobs else jobs:
            rng = random.Random(f"{options.seed}/{name}")
            harm += disturb(name, jobs[name], Path(temporary) / "runs" / name, options.kills, rng)
    return 1 if harm else 0


def disturb(name: str, job: Job, folder: Path, kills: int, rng: random.Random) -> int:
    """Run a job undisturbed, then as often as it takes to kill it so many times; return how many runs differ."""
    start = time.monotonic()
    code = start_job(job, folder / "undisturbed").wait()
    log = (folder / "undisturbed.log").read_text()
    assert code in (0, 3), f"{name}: the undisturbed run failed: {log[-2000:]}"  # 3: weights are missing
    length = time.monotonic() - start
    expected = job.results(folder / "undisturbed")
    assert expected, f"{name} left nothing"
    done = differing = runs = 0
    while done < kills:
        runs += 1
        out = folder / str(runs)
        for _ in range(6):  # then it is left alone
            process = start_job(job, out)
            try:
                process.wait(timeout=length * rng.uniform(0.15, 0.75) if done < kills else None)
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
        else:
            process = start_job(job, out)
            process.wait()
        results = job.results(out) if process.returncode == code else {}
        wrong = sorted(key for key in expected.keys() | results.keys() if expected.get(key) != results.get(key))
        if wrong:
            differing += 1
            told = out.with_name(f"{out.name}.log").read_text()[-1500:]
            print(f"{name}, run {runs}: exit {process.returncode}, differs in {wrong[:5]}\n{told}", flush=True)
    print(f"{name}: {done} kills in {runs} runs of {length:.0f} s, {differing} differ", flush=True)
    return differing


def start_job(job: Job, out: Path) -> subprocess.Popen:
    """Start a job as a group of processes of its own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = Path("/dev/shm")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if elsewhere.is_dir() and elsewhere.stat().st_dev != out.parent.stat().st_dev:
        environment["TMPDIR"] = str(elsewhere)
    words = [sys.executable, "-W", "ignore", "-m", "pgpis", *job.words(out)]
    with out.with_name(f"{out.name}.log").open("w") as log:
        return subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)


def make_jobs(folder: Path) -> dict[str, Job]:
    """Make what the jobs work on."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from pgpis.synth.files.dataset import make_dataset
    from pgpis.synth.files.options import DatasetOptions
    from tiny_fpdm import tiny_pipeline
    from tiny_models import write_all

    root = folder / "data"
    make_dataset(root, DatasetOptions(4, 3, (128, 88), seed=0, test_share=0.5, textures="none"))
    tiny_pipeline().save_pretrained(folder / "pipeline")
    weights = write_all(folder / "weights")
    for name, pattern in (("sources", "img/**/*.jpg"), ("poses", "pose/**/*.txt")):
        (folder / name).mkdir()
        for number, path in enumerate(sorted(root.glob(pattern))[:5]):
            shutil.copy(path, folder / name / f"{number}{path.suffix}")
    roots = [f"--data.{split}.init_args.root={root}" for split in ("train", "val", "test")]
    recipe = ["--config=smoke/fpdm.yaml", f"--config={CONFIGS / 'tiny.yaml'}"]
    steps = folder / "steps.yaml"
    steps.write_text(
        "trainer:\n  max_steps: 40\n  limit_val_batches: 1\n  callbacks:\n"
        "    - class_path: ModelCheckpoint\n"
        "      init_args: {save_last: true, every_n_train_steps: 1, save_top_k: 1, monitor: null}\n"
        "    - {class_path: pgpis.tasks.callbacks.ExportModel}\n"
    )

    def fit(out: Path) -> list[str]:
        words = ["fit", *recipe, f"--config={steps}", *roots, *QUIET, f"--trainer.default_root_dir={out}"]
        return words + (["--ckpt_path=last"] if list(out.glob("checkpoints/last*.ckpt")) else [])

    def prepare(out: Path) -> list[str]:
        if not out.is_dir():
            shutil.copytree(folder / "sources", out / "photos")
        return ["prepare", str(out / "photos"), "--weights", str(weights), "--workers", "2"]

    def evaluate(out: Path) -> list[str]:
        if not out.is_dir():
            (out / "images").mkdir(parents=True)
            for pair in json.loads((root / "test_pairs_data.json").read_text()):
                names = [pair[key].removeprefix("./img/").replace("/", "") for key in ("source_image", "target_image")]
                shutil.copy(root / pair["source_image"], out / "copy.jpg")
                from PIL import Image

                Image.open(out / "copy.jpg").save(out / "images" / f"{names[0]}_2_{names[1]}.png")
            (out / "copy.jpg").unlink()
        return ["evaluate", "--generated", str(out / "images"), "--reference", str(root)]

    folders = [f"--sources={folder / 'sources'}", f"--poses={folder / 'poses'}"]
    predict = ["predict", *recipe, f"--pipeline={folder / 'pipeline'}", *folders, "--batch-size=1", "--steps=2", *QUIET]
    cache = ["cache", *recipe, *roots, "--batch-size", "1", "--data.num_workers=0"]
    synth = ["synth", "--people", "8", "--views", "3", "--seed", "3", "--workers", "2"]
    return {
        "synth": Job(lambda out: [*synth, "--out", str(out)], every_file),
        "prepare": Job(prepare, every_file),
        "cache": Job(lambda out: [*cache, "--out", str(out)], every_file),
        "fit": Job(fit, weights_of),
        "predict": Job(lambda out: [*predict, f"--out={out}"], every_file),
        "evaluate": Job(evaluate, every_file),
    }


def every_file(out: Path) -> dict[str, bytes]:
    """Return what lies in a folder; paths and seconds differ from run to run."""
    contents = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and path.name != ".pgpis.lock":
            content = path.read_bytes()
            if path.name == "predictions.csv":
                rows = list(csv.DictReader(content.decode().splitlines()))
                content = json.dumps([{**row, "seconds": ""} for row in rows]).encode()
            contents[name] = content.replace(str(out).encode(), b"OUT")
    return contents


def weights_of(out: Path) -> dict[str, bytes]:
    """Return the weights that ``fit`` exported, and those of its last checkpoint."""
    import torch

    contents = {
        path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("pipeline/**/*.safetensors"))
    }
    last = torch.load(out / "checkpoints/last.ckpt", weights_only=True)
    return contents | {name: value.numpy().tobytes() for name, value in last["state_dict"].items()}


if __name__ == "__main__":
    sys.exit(main())
