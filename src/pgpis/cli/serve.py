"""``pgpis serve``: pictures over HTTP."""

from __future__ import annotations

import os
from dataclasses import replace

from pgpis.cli.models import load_task, recipe_of_pipeline
from pgpis.lazy import optional_module
from pgpis.service.settings import INSTALL, KEY_VARIABLE, ServiceSettings

NEEDED = ("litserve", "prometheus_client", "python_multipart")


def serve(settings: ServiceSettings) -> int:
    """Serve pictures over HTTP: POST /v1/pictures takes a form with files, and answers with a PNG or JSON.

    /docs describes the form, /health and /metrics tell how the service does.

    Args:
        settings: Where it listens, and with which models.

    Returns:
        130 after Ctrl-C, 143 after SIGTERM; requests under way are finished before.

    Raises:
        PgpisError: An option is wrong, a model cannot be read, or a package is missing.
    """
    if settings.api_key is None:
        settings = replace(settings, api_key=os.environ.get(KEY_VARIABLE))
    settings.check()
    for module in NEEDED:
        optional_module(module, "pgpis serve needs LitServe", INSTALL)
    for pipeline in settings.models().values():
        recipe_of_pipeline(pipeline)  # workers would tell it in a traceback
    from pgpis.service.server import run  # loads torch

    return run(settings, load_task)
