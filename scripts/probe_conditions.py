"""Which of its conditions does a model use? The denoising loss, with one input at a time taken from another pair.

    python scripts/probe_conditions.py --root DATA --out FOLDER [--pairs 128] [--models NAME=PIPELINE ...]

Writes ``conditions.md``. DATA as for ``pgpis bench synth``. Noise and time steps are the same in every column, so an
input that changes nothing is one that the model does not read. The other pair shows another person.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pgpis.cli.bench import MODELS, batches, load_task
from pgpis.data import DeepFashion, Pair
from pgpis.errors import PgpisError
from pgpis.evaluate.naming import identities
from pgpis.evaluate.synth_benchmark import spread_pairs
from pgpis.files import write_text
from pgpis.jobs import meter
from pgpis.tasks.diffusion import DiffusionTask

KEPT = ("target_image", "pair_id", "index")
DRAWS = 4
"""Time steps drawn per pair."""


def partners(pairs: Sequence[Pair]) -> list[Pair]:
    """Return for each pair one that shows another person; every pair is taken once.

    Raises:
        PgpisError: More than half of the pairs show one person.
    """
    people = [identities(pair.pair_id)[0][:3] for pair in pairs]
    by_person = sorted(range(len(pairs)), key=lambda index: people[index])
    step = max(Counter(people).values())  # as far as this, nobody is met again
    if 2 * step > len(pairs):
        raise PgpisError(
            f"{step} of {len(pairs)} pairs show one person: expected at most half of them", hint="other --pairs"
        )
    found = dict(zip(by_person, by_person[step:] + by_person[:step], strict=True))
    return [pairs[found[index]] for index in range(len(pairs))]


def probe(task: DiffusionTask, test: DeepFashion) -> dict[str, float]:
    """Return the mean loss of the pairs with all inputs right, then with each of another person's pair."""
    task.sampling = replace(task.sampling, refine=False)  # what a refiner reads is not the denoiser's
    others = test.with_pairs(partners(test.pairs))
    losses: dict[str, list[float]] = {}
    sizes = []
    with meter(type(task).__name__, len(test)) as advance, torch.inference_mode():
        for number, (batch, other) in enumerate(zip(batches(test, task), batches(others, task), strict=True)):
            entries, theirs = (dict[str, Any](each) for each in (batch, other))
            swapped = [name for name, value in entries.items() if torch.is_tensor(value) and name not in KEPT]
            for name in (None, *swapped):
                mixed: Any = entries if name is None else {**entries, name: theirs[name]}
                for draw in range(DRAWS):
                    generator = torch.Generator().manual_seed(number * DRAWS + draw)
                    loss = float(task.loss(mixed, generator, train=False)["loss"])
                    losses.setdefault(name or "all right", []).append(loss)
            sizes += [len(batch["pair_id"])] * DRAWS
            advance(len(batch["pair_id"]))
    return {name: float(np.average(values, weights=sizes)) for name, values in losses.items()}


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
    partners(test.pairs)  # before a model is loaded
    lines = [
        "| model | input of another person's pair | loss | times that of the right one |",
        "| --- | --- | --- | --- |",
    ]
    for name, _, pipeline in (word.partition("=") for word in options.models):
        losses = probe(load_task(pipeline), test)
        right = losses["all right"]
        lines += [f"| {name} | {key} | {loss:.4f} | {loss / right:.3f} |" for key, loss in losses.items()]
    write_text(options.out / "conditions.md", "\n".join(lines) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PgpisError as error:
        sys.stderr.write(f"probe_conditions: {error}\n")
        sys.exit(error.exit_code)
