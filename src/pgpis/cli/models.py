"""The recipe that belongs to a pipeline; tasks outside of fit, test and predict: of benchmarks, page and service."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pgpis.cli.recipes import find_recipes
from pgpis.errors import PgpisError, manual
from pgpis.pipelines.shipped import SHIPPED, refuse_unknown

if TYPE_CHECKING:  # these load torch
    from pgpis.cli.lightning import PGPISCLI
    from pgpis.tasks.predicting import PictureTask


OLDER = {"FPDMPipeline": "fpdm.yaml", "MCLDPipeline": "mcld.yaml"}
"""By the class in ``model_index.json``: the recipe for a pipeline that does not say how it samples."""
SAMPLING = ("height", "width", "output_size", "num_inference_steps", "guidance_scale", "pose_guidance_scale")
DRAWING = ("pose_canvas", "stick_width", "pose_skeleton")

PIPELINE_WORDS = ("--model.init_args.pipeline", "--model.pipeline")
MODEL_WORDS = ("--ckpt_path", "--model", "--model.class_path", *PIPELINE_WORDS)
"""Keys of a recipe that say which model is meant."""

log = logging.getLogger(__name__)


def pipeline_in(words: Sequence[str]) -> str | None:
    """Return the pipeline that keys of a recipe name, as ``KEY=VALUE`` or ``KEY VALUE``; the last one counts."""
    pipeline = None
    for word, following in pairwise([*words, None]):
        key, has_value, value = str(word).partition("=")
        if key in PIPELINE_WORDS:
            pipeline = value if has_value else following
    return pipeline


def names_model(words: Sequence[str]) -> bool:
    """Whether keys of a recipe say which model is meant."""
    return any(word.split("=")[0] in MODEL_WORDS for word in words)


def recipe_of_pipeline(name: str) -> str | dict[str, Any]:
    """Return the name of the recipe that belongs to a pipeline, or the recipe itself.

    Args:
        name: Folder, hub id, bundle, or the name of a model that ships with pgpis.

    Raises:
        PgpisError: It cannot be read, or is not of a model that pgpis knows.
    """
    if name in SHIPPED:
        return SHIPPED[name].recipe
    refuse_unknown(name)
    from pgpis.pipelines.bundle import read_pipeline_index  # loads torch

    index = read_pipeline_index(name)
    kind = str(index["_class_name"])
    tasks = tasks_of_pipelines()
    if kind not in tasks:
        raise PgpisError(
            f"--pipeline: '{name}' is a {kind}, and pgpis does not know its task",
            hint="--config RECIPE beside it, the one that it was trained with; or install a package whose entry point "
            f"names its task's module, see {manual('adding-a-model')}; known are {', '.join(sorted(tasks))}",
        )
    task, recipe = tasks[kind], OLDER.get(kind)
    if "height" not in index and recipe is not None:
        log.warning("%s does not say how it samples (an older export): size, steps and guidance of %s", name, recipe)
        return recipe
    sampling = {key: index[key] for key in SAMPLING if index.get(key) is not None}
    drawing = {key: index[key] for key in DRAWING if index.get(key) is not None}
    return {"model": {"class_path": task, "init_args": {"sampling": sampling}}, "data": drawing}


def tasks_of_pipelines() -> dict[str, str]:
    """Return the import path of each method's task, by the name of the pipeline that it exports.

    A task that derives from another one and has its pipeline does not take its place, nor does that of a package take
    the place of one of pgpis.
    """
    from pgpis.cli.renamed import subclasses  # these load torch
    from pgpis.methods import load_methods
    from pgpis.tasks.diffusion import DiffusionTask

    load_methods()
    tasks = [task for task in subclasses(DiffusionTask) if "pipeline_class" in vars(task)]
    tasks.sort(key=lambda task: task.__module__.startswith("pgpis."))  # the last one counts
    return {vars(task)["pipeline_class"].__name__: f"{task.__module__}.{task.__qualname__}" for task in tasks}


def load_task(pipeline: str, sampling: Mapping[str, Any] | None = None) -> PictureTask:
    """Build the task of a pipeline, with the steps and guidance that it names or, shipped ones, their recipe.

    Args:
        pipeline: Folder, hub id, bundle, or the name of a model that ships with pgpis.
        sampling: Keys of ``sampling`` that take the place of these.

    Raises:
        PgpisError: It cannot be read, or is not of a model that pgpis knows.
    """
    from pgpis.cli import lightning  # these load torch
    from pgpis.cli.quiet import only_warnings

    model = {"pipeline": pipeline} | ({"sampling": dict(sampling)} if sampling else {})
    own = {"model": {"init_args": model}, "trainer": {"logger": False}}
    with only_warnings("lightning.pytorch", "lightning.fabric"):  # its trainer draws nothing
        task: Any = lightning.run(None, [], [recipe_of_pipeline(pipeline), own]).model
    return task.eval()


def build(
    config: Sequence[str],
    pipeline: str | None,
    words: Sequence[str],
    more: Mapping[str, Any] | None = None,
    *,
    sizes_only: AbstractContextManager[Any] | None = None,
) -> PGPISCLI:
    """Build the task, data and trainer of a recipe, with random weights where they are not at hand.

    Args:
        config: Recipes.
        pipeline: Takes the place of their model; without a recipe, its own one is taken.
        words: Keys of the recipe.
        more: Further options of the task.
        sizes_only: In which weights get sizes and no content: a model of published size is built in it, unless some of
            its weights are at hand, which libraries do not read into models without content. None: all get content.

    Raises:
        PgpisError: Neither is given, or anything is wrong with them.
    """
    if pipeline is None and not config:
        raise PgpisError("--config or --pipeline is missing", hint="--config mcld.yaml; 'pgpis configs' lists them")
    find_recipes(config)
    recipes: list[Any] = [*config] or [recipe_of_pipeline(str(pipeline))]
    init_args = dict(more or {}) | ({} if pipeline is None else {"pipeline": pipeline})
    recipes += [{"model": {"init_args": init_args}}] if init_args else []
    from pgpis.cli import lightning  # loads torch
    from pgpis.speed.random_weights import names_weights, use_random_weights

    with ExitStack() as stack:

        def adapt(config: Any) -> None:
            module, _, name = config["model"]["class_path"].rpartition(".")
            options = config["model"]["init_args"]
            if replaced := use_random_weights(options, getattr(importlib.import_module(module), name)):
                log.info("random weights of the size of %s", ", ".join(replaced))
                if sizes_only is not None and not names_weights(options):
                    stack.enter_context(sizes_only)

        return lightning.run(None, [*words, "--trainer.logger=false"], recipes, adapt)
