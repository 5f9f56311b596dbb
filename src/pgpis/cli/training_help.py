"""``pgpis fit --help`` and its like: what most runs need, and where the rest is listed."""

from __future__ import annotations

import inspect

from pgpis.cli.options import documentation
from pgpis.data import PoseTransferDataModule
from pgpis.methods import load_methods
from pgpis.tasks.base import PersonImageTask

LINKED = ("seed", "input_specs", "frozen_features")
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


def short_help(verb: str) -> str:
    """Return the help of a verb of the config system."""
    load_methods()
    verb_does = {"fit": "Train a model from a recipe", "test": "Generate the test pairs and score them"}
    resumes = "go on from a checkpoint" if verb == "fit" else "take the weights of a checkpoint"
    run = {
        "--config RECIPE": "required; 'pgpis configs' lists them. Given again, the later one is laid over the earlier",
        "--ckpt_path FILE|last": f"{resumes}; last: the newest of this run's folder",
        "--seed_everything N": "seed of all random numbers [0]",
        "--print_config": "print the configuration that the words make, and run nothing",
    }
    model = {
        "--model CLASS": ", ".join(sorted(_names(PersonImageTask))) + ", or module.Class of your own",
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
        f"{verb_does.get(verb, 'Compute the validation loss and draw sample grids')}.\n\n"
        + "\n\n".join(parts)
        + f"\n\n'pgpis {verb} --help-all' lists every key of Lightning's trainer too. "
        "Documentation: docs/train-your-own.md, docs/cli.md\n"
    )


def _names(base: type) -> set[str]:
    subclasses: list[type] = base.__subclasses__()
    own = {base.__name__} if not inspect.isabstract(base) else set()
    return own.union(*(_names(each) for each in subclasses))
