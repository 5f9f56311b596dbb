"""A pipeline's task outside of fit, test and predict: for benchmarks, the page and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgpis.cli.predict import recipe_of_pipeline

if TYPE_CHECKING:  # loads torch
    from pgpis.tasks.predicting import PictureTask


def load_task(pipeline: str) -> PictureTask:
    """Build the task of a pipeline, with the steps and guidance that it names or, shipped ones, their recipe.

    Args:
        pipeline: Folder, hub id, bundle, or the name of a model that ships with pgpis.

    Raises:
        PgpisError: It cannot be read, or is not of a model that pgpis knows.
    """
    from pgpis.cli import lightning

    own = {"model": {"init_args": {"pipeline": pipeline}}, "trainer": {"logger": False}}
    task: Any = lightning.run(None, [], [recipe_of_pipeline(pipeline), own]).model
    return task.eval()
