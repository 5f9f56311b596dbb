"""FPDM: fusion embedding for pose-guided person image synthesis with a diffusion model (docs/models/fpdm.md)."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.methods.fpdm.conditioner import FPDMConditioner, KeepMasks, encode_pair
    from pgpis.methods.fpdm.convert import convert_fpdm
    from pgpis.methods.fpdm.pipeline import FPDMPipeline
    from pgpis.methods.fpdm.prior import Combiner, FusionEmbedder, TripletEmbeddings
    from pgpis.methods.fpdm.prior_task import FusionPriorTask
    from pgpis.methods.fpdm.refiner import SourceRefiner
    from pgpis.methods.fpdm.refiner_task import SourceRefinerTask
    from pgpis.methods.fpdm.task import FPDMTask

__all__ = [
    "Combiner",
    "FPDMConditioner",
    "FPDMPipeline",
    "FPDMTask",
    "FusionEmbedder",
    "FusionPriorTask",
    "KeepMasks",
    "SourceRefiner",
    "SourceRefinerTask",
    "TripletEmbeddings",
    "convert_fpdm",
    "encode_pair",
]

__getattr__ = lazy_names(__name__, __file__)
