"""Which of its conditions does a model use? The denoising loss, with one input at a time taken from another pair.

    python scripts/probe_conditions.py --root DATA --out FOLDER [--pairs 128] [--models NAME=PIPELINE ...]

Writes ``conditions.md``. DATA as for ``pgpis bench synth``. Noise and time steps are the same in every column, so an
input that changes nothing is one that the model does not read.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pgpis.cli.bench import MODELS, batches, load_task
from pgpis.data import DeepFashion
from pgpis.evaluate.synth_benchmark import spread_pairs
from pgpis.files import write_text
from pgpis.jobs import meter
from pgpis.tasks.diffusion import DiffusionTask

KEPT = ("target_image", "pair_id", "index")
DRAWS = 4
"""Time steps drawn per pair."""


def probe(task: DiffusionTask, test: DeepFashion) -> dict[str, float]:
    """Return the mean loss with all inputs right, then with each of another pair."""
    task.sampling = replace(task.sampling, refine=False)  # what a refiner reads is not the denoiser's
    losses: dict[str, list[float]] = {}
    with meter(type(task).__name__, len(test)) as advance, torch.inference_mode():
        for number, batch in enumerate(batches(test, task)):
            entries: dict[str, Any] = dict(batch)
            swapped = [name for name, value in entries.items() if torch.is_tensor(value) and name not in KEPT]
            for name in (None, *swapped):
                mixed: Any = entries if name is None else {**entries, name: entries[name].roll(1, dims=0)}
                for draw in range(DRAWS):
                    generator = torch.Generator().manual_seed(number * DRAWS + draw)
                    loss = float(task.loss(mixed, generator, train=False)["loss"])
                    losses.setdefault(name or "all right", []).append(loss)
            advance(len(batch["pair_id"]))
    return {name: float(np.mean(values)) for name, values in losses.items()}


def main() -> int:
    """Probe all models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="data set of pgpis synth, with textures")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--pairs", type=int, default=128, help="test pairs, spread over the list")
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME=PIPELINE", help="models to probe")
    options = parser.parse_args()
    logging.getLogger("pgpis").setLevel(logging.INFO)
    logging.basicConfig(format="%(message)s")
    test = spread_pairs(options.root, "test", options.pairs)
    lines = ["| model | input of another pair | loss | times that of the right one |", "| --- | --- | --- | --- |"]
    for name, _, pipeline in (word.partition("=") for word in options.models):
        losses = probe(load_task(pipeline), test)
        right = losses["all right"]
        lines += [f"| {name} | {key} | {loss:.4f} | {loss / right:.3f} |" for key, loss in losses.items()]
    write_text(options.out / "conditions.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
