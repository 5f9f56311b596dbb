"""MCLD: multi-focal conditions for a latent diffusion model with a ReferenceNet (docs/models/mcld.md)."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.methods.mcld.conditioner import MCLDConditioner
    from pgpis.methods.mcld.convert import convert_mcld
    from pgpis.methods.mcld.pipeline import MCLDPipeline
    from pgpis.methods.mcld.reference import ReferenceNet
    from pgpis.methods.mcld.refiner import Refiner
    from pgpis.methods.mcld.refiner_task import RefinerTask
    from pgpis.methods.mcld.task import MCLDTask

__all__ = [
    "MCLDConditioner",
    "MCLDPipeline",
    "MCLDTask",
    "ReferenceNet",
    "Refiner",
    "RefinerTask",
    "convert_mcld",
]

__getattr__ = lazy_names(__name__, __file__)
