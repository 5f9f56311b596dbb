"""``pgpis fit``, ``validate`` and ``test``: their words are keys of a recipe."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

from pgpis.cli import VERBS
from pgpis.cli.options import documentation

LINKED = ("seed", "input_specs", "loss_specs", "frozen_features")
"""What the DataModule takes from the seed and the model."""
TRAINER = {
    "default_root_dir": "folder of the run: checkpoints, curves, exported model, results",
    "max_steps": "optimiser steps; -1: no limit",
    "max_epochs": "passes over the training pairs; -1: no limit",
    "accelerator": "auto, gpu, cpu, ...",
    "devices": "how many, or which",
    "precision": "32, bf16-mixed, 16-mixed, ...",
    "accumulate_grad_batches": "batches per optimiser step",
    "gradient_clip_val": "largest norm of the gradients",
    "overfit_batches": "train on the first batches only, to see whether a model learns",
    "logger": "class, e.g. CSVLogger with .init_args.save_dir; false: none",
    "callbacks": "list of classes; --trainer.callbacks+=CLASS adds one",
}


def fit(*words: str) -> int:
    """Train a model from a recipe."""
    return _run("fit", words)


def validate(*words: str) -> int:
    """Compute the validation loss and draw sample grids."""
    return _run("validate", words)


def test(*words: str) -> int:
    """Generate the test pairs and score them."""
    return _run("test", words)


def _run(verb: str, words: Sequence[str]) -> int:
    if any(word in ("-h", "--help") for word in words):
        sys.stdout.write(short_help(verb))
        return 0
    from pgpis.cli import lightning  # loads torch

    return lightning.run(verb, ["--help" if word == "--help-all" else word for word in words]).exit_code


def short_help(verb: str) -> str:
    """Return what most runs need, and where the rest is listed."""
    from pgpis.cli.renamed import subclasses  # these load torch
    from pgpis.data import PoseTransferDataModule
    from pgpis.methods import load_methods
    from pgpis.tasks.base import PersonImageTask

    load_methods()
    tasks = sorted({task.__name__ for task in subclasses(PersonImageTask) if not inspect.isabstract(task)})
    resumes = "go on from a checkpoint" if verb == "fit" else "take the weights of a checkpoint"
    run = {
        "--config RECIPE": "required; 'pgpis configs' lists them. Given again, the later one is laid over the earlier",
        "--ckpt_path FILE|last": f"{resumes}; last: the newest of this run's folder",
        "--seed_everything N": "seed of all random numbers [0]",
        "--print_config": "print the configuration that the words make, and run nothing",
    }
    model = {
        "--model CLASS": ", ".join(tasks) + ", or module.Class of your own",
        "--model.init_args.KEY VALUE": f"an option of it; 'pgpis {verb} --model.help CLASS' lists them",
    }
    described = documentation(PoseTransferDataModule)
    data = {name: text.partition(". ")[0] for name, text in described.items() if name not in LINKED}
    groups = {
        "run": run,
        "model": model,
        "data": {f"--data.{name} VALUE": text for name, text in data.items()},
        "trainer": {f"--trainer.{name} VALUE": text for name, text in TRAINER.items()},
    }
    width = max(len(option) for group in groups.values() for option in group)
    parts = [
        f"{name}:\n" + "\n".join(f"  {option:<{width}}  {text}" for option, text in group.items())
        for name, group in groups.items()
    ]
    return (
        f"usage: pgpis {verb} --config RECIPE [--KEY VALUE ...]\n\n"
        f"{VERBS[verb][1].capitalize()}.\n\n"
        + "\n\n".join(parts)
        + f"\n\n'pgpis {verb} --help-all' lists every key of Lightning's trainer too. "
        "Documentation: docs/train-your-own.md, docs/cli.md\n"
    )
