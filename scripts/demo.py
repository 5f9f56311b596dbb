"""The demo: draw synthetic people, train the smoke recipes on it, make pictures with the result.

``python scripts/demo.py --out outputs/demo``. No trained weights ship with pgpis yet, so the demo trains its own tiny
model on its own synthetic people; it shows the whole path, not what the methods can do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from pgpis.cli import main as pgpis

PEOPLE, VIEWS = 40, 4


def run(*words: object) -> None:
    """Run a pgpis command as a user would, and stop the demo if it fails."""
    command = [str(word) for word in words]
    print(f"\n$ pgpis {' '.join(command)}", flush=True)
    code = pgpis(command)
    if code:
        sys.exit(code)


def inputs_from(data: Path, out: Path) -> None:
    """Copy two held-out people and four poses to the folders that ``pgpis predict`` reads."""
    for folder in ("sources", "poses"):
        (out / folder).mkdir(parents=True)
    poses = sorted((data / "pose").rglob("*.txt"))
    for number, pose in enumerate(poses[:4]):
        shutil.copy(pose, out / "poses" / f"pose{number}.txt")
    listed = json.loads((data / "test_pairs_data.json").read_text(encoding="utf-8"))
    held_out = sorted({pair["source_image"].rsplit("/", 1)[0] for pair in listed})[:2]
    for number, folder in enumerate(held_out):
        shutil.copy(min((data / folder).glob("*.jpg")), out / "sources" / f"person{number}.jpg")


def train(out: Path, data: Path, steps: int) -> None:
    """Train the autoencoder, the prior and the diffusion model with the smoke recipes."""
    vae, prior, model = out / "autoencoder", out / "fusion", out / "fpdm"
    sets = [f"--data.{split}.init_args.root={data}" for split in ("train", "val")]
    tested = [*sets, f"--data.test.init_args.root={data}"]
    root = "--trainer.default_root_dir={}".format
    run("fit", "--config", "smoke/autoencoder.yaml", *sets, root(vae), "--trainer.max_steps=800")
    run("fit", "--config", "smoke/fusion.yaml", *tested, root(prior))
    run("test", "--config", "smoke/fusion.yaml", *tested, root(prior), "--ckpt_path", prior / "checkpoints/last.ckpt")
    parts = [f"--model.init_args.vae={vae}/vae", f"--model.init_args.fusion_embedder={prior}/fusion_embedder"]
    run("fit", "--config", "smoke/fpdm.yaml", *tested, *parts, root(model), f"--trainer.max_steps={steps}")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--steps", type=int, default=400, help="training steps of the diffusion model")
    options = parser.parse_args()
    start = time.monotonic()
    out: Path = options.out
    shutil.rmtree(out, ignore_errors=True)
    run("synth", "--out", out / "data", "--people", PEOPLE, "--views", VIEWS, "--seed", 0, "--textures", "exact")
    inputs_from(out / "data", out)
    run("data", "check", out / "data")
    train(out, out / "data", options.steps)
    use = ["--config", "smoke/fpdm.yaml", "--pipeline", out / "fpdm/pipeline"]
    run("predict", *use, "--sources", out / "sources", "--poses", out / "poses", "--out", out / "predictions")
    print(
        f"\nDone in {time.monotonic() - start:.0f} s. Look at {out}/predictions/contact_sheet.jpg\n"
        "It comes from a tiny model, trained for minutes on drawn people: it shows that everything runs, "
        "not what the methods can do."
    )


if __name__ == "__main__":
    main()
