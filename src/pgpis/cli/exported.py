"""What a pipeline says of itself, as words of the config system: its task, and how it was exported to sample."""

from __future__ import annotations

import json
import logging

from pgpis.errors import PgpisError
from pgpis.pipelines.shipped import SHIPPED

OLDER = {"FPDMPipeline": "fpdm.yaml", "MCLDPipeline": "mcld.yaml"}
"""By the class in ``model_index.json``: the recipe for a pipeline that does not say how it samples."""
SAMPLING = ("height", "width", "output_size", "num_inference_steps", "guidance_scale", "pose_guidance_scale")
OPTIONS = {
    **{name: f"model.init_args.sampling.{name}" for name in SAMPLING},
    "pose_canvas": "data.pose_canvas",
    "stick_width": "data.stick_width",
}
"""By the key in ``model_index.json``: the option that it stands for."""

log = logging.getLogger(__name__)


def words_of_pipeline(name: str) -> list[str]:
    """Return the words that stand in for a recipe.

    Args:
        name: Folder, hub id, bundle, or the name of a model that ships with pgpis.

    Raises:
        PgpisError: It cannot be read, or is not of a model that pgpis knows.
    """
    if name in SHIPPED:
        return [f"--config={SHIPPED[name].recipe}"]
    from pgpis.methods import tasks_of_pipelines  # these load torch
    from pgpis.pipelines.bundle import read_pipeline_index

    index = read_pipeline_index(name)
    kind = str(index["_class_name"])
    tasks = tasks_of_pipelines()
    if kind not in tasks:
        raise PgpisError(
            f"--pipeline: '{name}' is a {kind}, and pgpis does not know its task",
            hint="--config RECIPE, the one that it was trained with; known are " + ", ".join(sorted(tasks)),
        )
    task, recipe = tasks[kind], OLDER.get(kind)
    if "height" not in index and recipe is not None:
        log.warning("%s does not say how it samples (an older export): size, steps and guidance of %s", name, recipe)
        return [f"--config={recipe}"]
    settings = {option: index[key] for key, option in OPTIONS.items() if index.get(key) is not None}
    return [f"--model={task}", *(f"--{option}={json.dumps(value)}" for option, value in settings.items())]
