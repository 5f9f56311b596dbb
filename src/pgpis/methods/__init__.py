"""One folder per published method, and nothing of a method anywhere else.

A method's tasks are the classes of its modules ``task`` and ``*_task``; recipes name them by their short names. Another
package offers methods of its own by the entry point group ``pgpis.methods``, each entry a module that defines tasks
and, where it reads any of its own, registers kinds of files.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from importlib.metadata import entry_points

GROUP = "pgpis.methods"

log = logging.getLogger(__name__)


def load_methods() -> None:
    """Import the tasks of all methods, so that their short names are known; errors as :func:`load_packages`."""
    for method in pkgutil.iter_modules(__path__):
        package = importlib.import_module(f"{__name__}.{method.name}")
        for module in pkgutil.iter_modules(package.__path__):
            if module.name == "task" or module.name.endswith("_task"):
                importlib.import_module(f"{package.__name__}.{module.name}")
    load_packages()


def load_packages() -> None:
    """Import the methods of other packages, with the kinds of files that they register; one that cannot be is named.

    Where no package offers any, this imports nothing.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001  a package of somebody else may raise anything
            log.warning("the method '%s' of %s cannot be imported: %s", entry.name, entry.value, error)
