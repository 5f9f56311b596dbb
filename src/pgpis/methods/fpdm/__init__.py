"""FPDM: fusion embedding for pose-guided person image synthesis with a diffusion model (docs/models/fpdm.md)."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.methods.fpdm.conditioner import (
        EncodedPair,
        FPDMConditioner,
        KeepMasks,
        Ports,
        denoise,
        encode_pair,
        image_specs,
    )
    from pgpis.methods.fpdm.convert import convert_fpdm
    from pgpis.methods.fpdm.pipeline import FPDMPipeline, FPDMPipelineOutput
    from pgpis.methods.fpdm.prior import Combiner, FusionEmbedder, TripletEmbeddings
    from pgpis.methods.fpdm.prior_task import FusionPriorTask
    from pgpis.methods.fpdm.task import FPDMTask

__all__ = [
    "Combiner",
    "EncodedPair",
    "FPDMConditioner",
    "FPDMPipeline",
    "FPDMPipelineOutput",
    "FPDMTask",
    "FusionEmbedder",
    "FusionPriorTask",
    "KeepMasks",
    "Ports",
    "TripletEmbeddings",
    "convert_fpdm",
    "denoise",
    "encode_pair",
    "image_specs",
]

__getattr__ = lazy_names(__name__, __file__)
