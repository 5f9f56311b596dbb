"""Pipelines: what an end user calls, with ``save_pretrained`` and ``from_pretrained``."""

from typing import TYPE_CHECKING

from pgpis.lazy import lazy_names

if TYPE_CHECKING:
    from pgpis.pipelines.fpdm import FPDMPipeline, FPDMPipelineOutput
    from pgpis.pipelines.mcld import MCLDPipeline, MCLDPipelineOutput

__all__ = ["FPDMPipeline", "FPDMPipelineOutput", "MCLDPipeline", "MCLDPipelineOutput"]

__getattr__ = lazy_names(__name__, __file__)
