"""One folder per published method, and nothing of a method anywhere else.

A method's tasks are the classes of its modules ``task`` and ``*_task``; recipes name them by their short names. Another
package offers methods of its own by the entry point group ``pgpis.methods``, each entry a module that defines tasks.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from importlib.metadata import entry_points

GROUP = "pgpis.methods"

log = logging.getLogger(__name__)


def load_methods() -> None:
    """Import the tasks of all methods, so that their short names are known; one that cannot be imported is named."""
    for method in pkgutil.iter_modules(__path__):
        package = importlib.import_module(f"{__name__}.{method.name}")
        for module in pkgutil.iter_modules(package.__path__):
            if module.name == "task" or module.name.endswith("_task"):
                importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001  a package of somebody else may raise anything
            log.warning("the method '%s' of %s cannot be imported: %s", entry.name, entry.value, error)


def tasks_of_pipelines() -> dict[str, str]:
    """Return the name of the task of each method, by the name of the pipeline that it exports."""
    from pgpis.tasks.diffusion import DiffusionTask  # loads torch

    load_methods()
    tasks = [task for task in DiffusionTask.__subclasses__() if hasattr(task, "pipeline_class")]
    return {task.pipeline_class.__name__: task.__name__ for task in tasks}
