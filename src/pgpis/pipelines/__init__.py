"""Pipelines: what an end user calls, with ``save_pretrained`` and ``from_pretrained``."""

from pgpis.pipelines.fpdm import FPDMPipeline, FPDMPipelineOutput
from pgpis.pipelines.mcld import MCLDPipeline, MCLDPipelineOutput

__all__ = ["FPDMPipeline", "FPDMPipelineOutput", "MCLDPipeline", "MCLDPipelineOutput"]
