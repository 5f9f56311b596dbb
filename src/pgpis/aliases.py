"""Names of earlier versions: ``model_index.json`` names modules and classes, and what moves keeps its old name here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    **{
        f"pgpis.{name}": f"pgpis.pictures.{name}"
        for name in (
            "arrays", "colour_profiles", "drawing", "images", "keypoint_files", "keypoints", "plausibility", "retarget",
            "uv_texture", "videos",
        )
    },
    "pgpis.callbacks": "pgpis.tasks.callbacks",
    "pgpis.diffusion": "pgpis.denoiser.diffusion",
    "pgpis.picture_files": "pgpis.pictures.decoding",
    "pgpis.synth.deepfashion": "pgpis.synth.files.deepfashion",
    "pgpis.synth.render": "pgpis.synth.scene.render",
    "pgpis.synth.sampling": "pgpis.synth.scene.sampling",
    "pgpis.denoiser.multifocal.MultiFocalUNet": "pgpis.denoiser.unet.ConditionedUNet",
    "pgpis.denoiser.unet.PoseUNet": "pgpis.denoiser.unet.ConditionedUNet",
    "pgpis.models.fpdm": "pgpis.methods.fpdm.conditioner",
    "pgpis.models.fusion": "pgpis.methods.fpdm.prior",
    "pgpis.models.mcld": "pgpis.methods.mcld.conditioner",
    "pgpis.models.multifocal.MultiFocalUNet": "pgpis.denoiser.unet.ConditionedUNet",
    "pgpis.models.reference": "pgpis.methods.mcld.reference",
    "pgpis.models.unet.PoseUNet": "pgpis.denoiser.unet.ConditionedUNet",
    "pgpis.pipelines.FPDMPipeline": "pgpis.methods.fpdm.pipeline.FPDMPipeline",
    "pgpis.pipelines.MCLDPipeline": "pgpis.methods.mcld.pipeline.MCLDPipeline",
    "pgpis.pipelines.fpdm": "pgpis.methods.fpdm.pipeline",
    "pgpis.pipelines.mcld": "pgpis.methods.mcld.pipeline",
    "pgpis.tasks.FPDMTask": "pgpis.methods.fpdm.task.FPDMTask",
    "pgpis.tasks.FusionPriorTask": "pgpis.methods.fpdm.prior_task.FusionPriorTask",
    "pgpis.tasks.MCLDTask": "pgpis.methods.mcld.task.MCLDTask",
    "pgpis.tasks.fpdm": "pgpis.methods.fpdm.task",
    "pgpis.tasks.fusion": "pgpis.methods.fpdm.prior_task",
    "pgpis.tasks.mcld": "pgpis.methods.mcld.task",
}  # fmt: skip
"""From the dotted name of a module or class that earlier versions wrote, to that of today; the name of a class counts
before that of its module."""


class EarlierModules(MetaPathFinder, Loader):
    """Imports a module that has moved by its earlier name: it is the same module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find what has moved; what is there under the name itself was found before."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module by today's name."""
        module = importlib.import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is, its own name included."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let earlier names of modules be imported."""
    if not any(isinstance(finder, EarlierModules) for finder in sys.meta_path):
        sys.meta_path.append(EarlierModules())


def current_class(module: str, name: str) -> tuple[str, str]:
    """Return module and name of a class today."""
    moved = MOVED.get(f"{module}.{name}")
    if moved is not None:
        module, _, name = moved.rpartition(".")
    return MOVED.get(module, module), name


def earlier_names(package: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package (PEP 562) whose earlier names keep resolving."""

    def get(name: str) -> Any:
        if f"{package}.{name}" not in MOVED:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, own = current_class(package, name)
        return getattr(importlib.import_module(home), own)

    return get


def with_current_names(index: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a ``model_index.json`` with the components' modules and classes under today's names.

    What a file of unknown origin holds beside ``[module, class]`` is checked elsewhere.
    """
    return {
        part: list(current_class(*value)) if isinstance(value, list) and [*map(type, value)] == [str, str] else value
        for part, value in index.items()
    }
