"""Module paths of earlier versions: ``model_index.json`` names modules, and what moves keeps its old name here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

MOVED = {
    "pgpis.models.fpdm": "pgpis.methods.fpdm.conditioner",
    "pgpis.models.fusion": "pgpis.methods.fpdm.prior",
    "pgpis.models.mcld": "pgpis.methods.mcld.conditioner",
    "pgpis.models.multifocal": "pgpis.denoiser.unet",
    "pgpis.denoiser.multifocal": "pgpis.denoiser.unet",
    "pgpis.models.reference": "pgpis.methods.mcld.reference",
    "pgpis.models.unet": "pgpis.denoiser.unet",
    "pgpis.pipelines.fpdm": "pgpis.methods.fpdm.pipeline",
    "pgpis.pipelines.mcld": "pgpis.methods.mcld.pipeline",
}
"""From the path that earlier versions wrote to today's."""

CLASSES = {"MultiFocalUNet": "ConditionedUNet", "PoseUNet": "ConditionedUNet"}
"""From the class that earlier versions wrote to today's."""

RENAMED = {
    "pgpis.pipelines.FPDMPipeline": "pgpis.methods.fpdm.pipeline",
    "pgpis.pipelines.MCLDPipeline": "pgpis.methods.mcld.pipeline",
    "pgpis.tasks.FPDMTask": "pgpis.methods.fpdm.task",
    "pgpis.tasks.FusionPriorTask": "pgpis.methods.fpdm.prior_task",
    "pgpis.tasks.MCLDTask": "pgpis.methods.mcld.task",
}
"""Names of packages that documents of earlier versions import, and the modules that hold them today."""


def earlier_names(package: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package (PEP 562) whose earlier names keep resolving."""

    def get(name: str) -> Any:
        home = RENAMED.get(f"{package}.{name}")
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home), name)

    return get


def with_current_paths(index: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a ``model_index.json`` with the components' modules and classes under today's names."""

    def current(value: Any) -> Any:
        if not (isinstance(value, list) and len(value) == 2 and all(isinstance(entry, str) for entry in value)):
            return value
        module, name = value
        is_ours = module.startswith("pgpis.")
        return [MOVED.get(module, module), CLASSES.get(name, name) if is_ours else name]

    return {part: current(value) for part, value in index.items()}
