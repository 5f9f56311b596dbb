"""``pgpis fit``, ``validate`` and ``test``: their words are keys of a recipe and, of ``test``, how it draws."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pgpis.cli import VERBS
from pgpis.cli.drawing import DrawingSettings
from pgpis.cli.options import described_in, parser_of
from pgpis.cli.recipes import TOP_LEVEL, packaged_recipes, resolve_configs, strays_in
from pgpis.errors import PgpisError, manual, nearest

LINKED = ("seed", "input_specs", "loss_specs", "frozen_features")
"""What the DataModule takes from the seed and the model."""
CONFIG = "--config="
"""Before the name of a recipe."""
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
    drawing = DrawingSettings()
    if verb == "test":
        flags, words = parser_of(DrawingSettings, "pgpis test").parse_known_args(words)
        drawing = DrawingSettings(**vars(flags))
        drawing.check()
        if not any(word.startswith("--print_config") for word in words):
            drawing.check_gpu()
    words = ["--help" if word == "--help-all" else word for word in words]
    if strays := strays_in(word for word in words if word != "--help"):
        key = strays[0].removeprefix("--").partition("=")[0]
        hint = f"'pgpis {verb} --help' shows what can be given, 'pgpis {verb} --help-all' every key"
        if key == "pipeline":
            hint = "--model.init_args.pipeline FOLDER, beside --config RECIPE; --pipeline belongs to pgpis predict"
        elif key.endswith(".yaml"):
            hint = f"a recipe is named by --config: pgpis {verb} --config {key}"
        known = (*TOP_LEVEL, *(flag.partition(" ")[0].removeprefix("--") for flag in _flags(verb)))
        raise PgpisError(f"no such key '{key}'{nearest(key, known)}", hint=hint)
    given = {word.partition("=")[0].partition(".")[0] for word in words}
    recipe = drawing.recipe()
    suffices = ("--config", "-c", "--print_config", "--help", *(() if "model" in recipe else ("--model",)))
    if given.isdisjoint(suffices):
        hint = f"name a recipe: pgpis {verb} --config fpdm.yaml; 'pgpis configs' lists them"
        raise PgpisError("--config is missing", hint=hint)
    words = resolve_configs(words)
    recipes: list[str | dict[str, Any]] = []
    if recipe:  # it lies over the recipes, and keys lie over it
        recipes = [*(word.removeprefix(CONFIG) for word in words if word.startswith(CONFIG)), recipe]
        words = [word for word in words if not word.startswith(CONFIG)]
    from pgpis.cli import lightning  # loads torch

    return lightning.run(verb, words, recipes).exit_code


def short_help(verb: str) -> str:
    """Return what most runs need, and where the rest is listed; nothing is imported for it, which would take long."""
    resumes = "go on from a checkpoint" if verb == "fit" else "take the weights of a checkpoint"
    run = {
        "--config RECIPE": "required; 'pgpis configs' lists them. Given again, the later one is laid over the earlier",
        "--ckpt_path FILE|last": f"{resumes}; last: the newest of this run's folder",
        "--seed_everything N": "seed of all random numbers [0]",
        "--print_config": "print the configuration that the words make, and run nothing",
    }
    model = {
        "--model CLASS": ", ".join(tasks_of_recipes()) + ", or module.Class of your own",
        "--model.init_args.KEY VALUE": f"an option of it; 'pgpis {verb} --model.help CLASS' lists them",
    }
    data = {name: text.partition(". ")[0] for name, text in data_options().items() if name not in LINKED}
    groups = {
        "run": run,
        "model": model,
        **({"memory and time": flags} if (flags := _flags(verb)) else {}),
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
        f"More: {manual('train-your-own', 'cli')}\n"
    )


def _flags(verb: str) -> dict[str, str]:
    """Return the options of a verb that are not keys of a recipe, with their values, and what they mean."""
    flags = {}
    for action in parser_of(DrawingSettings, verb)._actions if verb == "test" else ():  # noqa: SLF001  told nowhere else
        values = (action.metavar,) if isinstance(action.metavar, str) else action.metavar or ()
        if action.dest != "help":
            flags[" ".join((action.option_strings[0], *values))] = str(action.help).partition(". ")[0]
    return flags


def tasks_of_recipes() -> list[str]:
    """Return the names of the tasks that the recipes of the package train."""
    texts = (path.read_text(encoding="utf-8") for path in packaged_recipes().values())
    return sorted({name for text in texts for name in re.findall(r"^  class_path: (\w+Task)$", text, re.MULTILINE)})


def data_options() -> dict[str, str]:
    """Return what the arguments of the DataModule mean, as its source says."""
    spec = find_spec("pgpis.data.datamodule")
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    (module,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == "PoseTransferDataModule")
    return described_in(ast.get_docstring(module) or "")
